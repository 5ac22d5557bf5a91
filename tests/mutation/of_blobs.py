"""Mutants of what a blob is made of, and of what is checked before any of it is believed."""

from __future__ import annotations

__all__ = ["BLOBS"]

_WRITING = ("tests/inner/test_blobfile.py",)
_READING = (
    "tests/inner/test_sealed_blobs.py",
    "tests/inner/test_damaged_blobs.py",
    "tests/inner/test_blobfile.py",
)
_OLDER = ("tests/inner/test_older_blobs.py", "tests/golden/test_golden.py")
_REFS = ("tests/inner/test_ref.py", "tests/inner/test_resolve.py")
_VERIFY = ("tests/lifecycle/test_verify.py",)

_GIVE_UP = """                    each.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
"""
"""Of the reader's ``fill``."""

BLOBS: dict[tuple[str, tuple[str, ...]], list[tuple[str, str, str]]] = {
    ("blobfile/frames.py", _READING): [
        ("    if len(text) > _LONGEST:\n", "    if False:\n", "a header is longer than readers take"),
        ("is_last = start + _BLOCK >= len(chunk)", "is_last = start + _BLOCK > len(chunk)", "no block is the last"),
        ("facts.content_size != raw", "False", "what a frame says to hold is not compared"),
        (" or facts.window_size > CHUNK", "", "windows of any size are opened"),
        ("(1 if kind == _RLE else size)", "size", "a repeated byte is stored as often as it is repeated"),
        ("bool(is_last) and end + 4", "end + 4", "a frame needs no last block"),
        (" + 4 * facts.has_checksum == len(frame)", " <= len(frame)", "bytes behind a frame are passed over"),
        (
            "if magic != HEADER_MAGIC or length > _LONGEST:",
            "if length > _LONGEST:",
            "any skippable frame is a header",
        ),
        ('if header["offload"] > newest:', "if False:", "a newer format is read as this one"),
    ],
    ("blobfile/seal.py", _READING): [
        (
            "if (found := digest_of((data,)).hex()) != blake3:",
            "if not (found := digest_of((data,)).hex()):",
            "the seal's digest is not compared",
        ),
        ("if sum(sizes) != size - len(data) or sum", "if sum", "stored sizes need not add up"),
        (" or sum(raws) != raw:", ":", "sizes after decompression need not add up"),
        ("if raws[0] or sizes", "if sizes", "a header has content"),
        (" or sizes[0] > MAX_HEADER", "", "a header of any length is fetched"),
        ("0 < size <= CHUNK", "size <= CHUNK", "frames of nothing hide stored bytes"),
        ("0 < size <= CHUNK", "0 < size", "frames of any size are allocated"),
        (
            "if any(most_stored_bytes(most) < stored for stored, most in entries):",
            "if False:",
            "a frame of any stored size is fetched",
        ),
        (
            "(2 * (raw // OWN_FRAME + 1) + 2)",
            "(raw // OWN_FRAME + 2)",
            "the most frames are those of views alone",
        ),
        ("magic != _SEEKABLE_MAGIC or flags", "flags", "any magic number ends a seal"),
        (" or flags or len", " or len", "a seek table has flags"),
        (
            " or len(data) != _AROUND + (_DIGEST + _ENTRY) * above:",
            ":",
            "a count is believed",
        ),
        (
            "if (index[:8], data[len(index) : len(index) + 8]) != heads or entries.pop()",
            "if entries.pop()",
            "heads inside the seal are not compared",
        ),
        (" or entries.pop() != (len(index), 0):", " or not entries.pop():", "the index's entry is not compared"),
    ],
    ("blobfile/reader.py", _READING): [
        (
            "if not 0 < seal <= min(size, most_sealed_bytes(raw)):",
            "if not 0 < seal <= size:",
            "a seal of any length is fetched",
        ),
        ("if start < 0 or length", "if length", "a stretch begins before the value"),
        (" or start + length > self.size:", ":", "a stretch goes beyond the value"),
        ("        self._require(start, length)\n        data", "        data", "memory comes before the check"),
        (
            _GIVE_UP,
            "                    each.result()\n            finally:\n                pass\n",
            "requests go on after an error",
        ),
        (
            'with ThreadPoolExecutor(min(self._threads, len(jobs)), "offload-read") as pool:',
            'if pool := ThreadPoolExecutor(self._threads, "offload-read"):',
            "threads stay",
        ),
        (
            _GIVE_UP,
            (
                "                    each.result()\n            except BaseException:\n"
                "                pool.shutdown(wait=False, cancel_futures=True)\n"
                "                pool._threads.clear()\n                raise\n"
            ),
            "targets are written to after an error",
        ),
        (
            "if not self._places or (targets and targets[0][0] == 0):",
            "if targets and targets[0][0] == 0:",
            "an empty value's header is not read",
        ),
        (
            "if not self._places or (targets and targets[0][0] == 0):",
            "if not self._places:",
            "the header is not read with the beginning",
        ),
        ("job.end != place.start or self._enough", "self._enough", "frames that are not neighbours are one run"),
        ("return job.size + place.size > FETCH", "return False", "one request fetches everything"),
        ("                verify(frame, place)\n", "", "frames are not compared with their digests"),
        (
            "        verify(frame, self._header)\n        header",
            "        header",
            "the header is not compared with its digest",
        ),
        ('if len(frame) != 8 + int.from_bytes(frame[4:8], "little"):', "if False:", "bytes hide behind the header"),
        ('if header.get("id") != self._blob_id:', "if False:", "another blob's header is taken"),
        ("self._is_held = size <= WHOLE", "self._is_held = False", "a small blob takes several requests"),
        ("            if at != number and pieces:\n", "            if pieces:\n", "each target is a frame's last"),
    ],
    ("blobfile/unpack.py", _READING): [
        ("        if holds(frame, place.raw):\n", "        if True:\n", "frames need not be one frame"),
        ("    if done != place.raw:\n", "    if False:\n", "a frame that ends early is filled up"),
        (
            '    except zstandard.ZstdError as error:\n        raise BlobCorruptError(f"the frame',
            '    except ImportError as error:\n        raise BlobCorruptError(f"the frame',
            "what does not decompress raises an error of zstandard's",
        ),
    ],
    ("blobfile/writer.py", _WRITING): [
        ("_WORTH = 0.87", "_WORTH = 1.5", "what grows by compression is kept"),
        ("if self._level == _ZLEVEL_OFF:", "if self._level < 0:", "level 0 compresses"),
        (
            "if len(chunk) >= _PROBED and not self._paid() and not _pays(compressor, chunk):",
            "if False:",
            "what does not compress is compressed to find out",
        ),
        (
            "bytes(memoryview(chunk)[max(0, middle",
            "bytes(memoryview(chunk)[:1][max(0, middle",
            "figures are taken for prose",
        ),
        ("bytes(chunk) if _may_change(chunk) else chunk", "chunk", "memory that changes is compressed in place"),
        (
            'b"".join(view[start : start + _SAMPLE] for start in starts)',
            "view[:_SAMPLE]",
            "one sample, of memory that changes",
        ),
        (
            "        if any(digest_of(frame.buffers) != frame.digest for frame in self._shared):\n",
            "        if False:\n",
            "a value that changed is stored",
        ),
        (
            "if any(_may_change(buffer) for buffer in frame.buffers):\n",
            "if True:\n",
            "all that is stored stays in memory",
        ),
        (
            "        del first, second  # held by nothing but what still needs them\n",
            "",
            "the first chunks stay in memory",
        ),
        ("if len(waiting) >= threads:", "if len(waiting) > 10 * threads:", "chunks wait without bound"),
        (
            "yield waiting.popleft().result()\n            while",
            "yield waiting.pop().result()\n            while",
            "frames are in no order",
        ),
        (
            "            self.raw += len(piece)\n            if self.raw > self._max_raw:\n",
            "            self.raw += len(piece)\n            if False:\n",
            "values have no limit",
        ),
        (
            "OWN_FRAME if type(piece) is memoryview else CHUNK",
            "CHUNK",
            "an array's frames depend on what precedes it",
        ),
        (" and type(piece) is not bytearray:", ":", "a producer's memory is stored as it is later"),
        (
            "    parts.clear()\n",
            "",
            "what precedes a view is stored twice",
        ),
        (
            "piece if type(piece) is bytes else bytes(piece)",
            "piece",
            "small views are stored as they are later",
        ),
        (
            "view, missing = memoryview(part), FLOW - held",
            "view, missing = memoryview(part), FLOW - held - 1",
            "chunks are not full",
        ),
        (
            "return type(buffer) is not bytes and not (type(buffer) is memoryview and type(buffer.obj) is bytes)",
            "return type(buffer) is not bytes",
            "views of bytes are copied and compared",
        ),
    ],
    ("blobfile/whole.py", _OLDER): [
        ("                if len(value) > raw:\n", "                if False:\n", "a bomb is decompressed"),
        ("    source.verify(sha256)\n    if len", "    if len", "the digest is not compared"),
        ("    if len(value) != raw:\n", "    if False:\n", "the size after decompression is not compared"),
        ('    if header.get("id") != blob_id:\n', "    if False:\n", "another blob's header is taken"),
        (
            "        source.verify(sha256)  # a flipped bit is not a newer format\n",
            "",
            "damage is called a newer format",
        ),
        ("        if self._got != self._size:\n", "        if False:\n", "the stored size is not compared"),
        (
            "        if self._sha256.hexdigest() != sha256:\n",
            "        if False:\n",
            "the digest is computed and not compared",
        ),
        ("                if self._got > self._size:\n", "                if False:\n", "an endless blob is read"),
        ("source.exactly(length if plausible else 0)", "source.exactly(length)", "a header of any length is read"),
        ("_MAX_WINDOW = 128 * 1024 * 1024", "_MAX_WINDOW = 2**31", "windows of any size are opened"),
        ("newest=1)", "newest=2)", "a sealed header is read in the older framing"),
    ],
    ("ref.py", _REFS): [
        (
            '"zstd": ("sha256",), "encrypted"',
            '"encrypted"',
            "older refs are not read",
        ),
        (
            "    if frames not in _PINS and _WORD.fullmatch(frames):\n",
            "    if False:\n",
            "a framing of a newer version is malformed",
        ),
        ("    if unknown and pins:\n", "    if False:\n", "unknown facts are ignored"),
        ("    if unknown and pins:\n", "    if unknown:\n", "a ref without framing is a newer one"),
        ("if pins and not missing else", "if pins else", "facts may be missing"),
        (
            '("size", "raw", "seal") if name in facts',
            '("size", "raw") if name in facts',
            "any text is a seal's length",
        ),
        (" or not _DIGEST.fullmatch(digest):", ":", "any text is a digest"),
        ("if len(facts) != len(pairs) or ", "if ", "a fact is stated twice"),
        ('seal=int(facts.get("seal", 0))', "seal=0", "the seal's length is lost"),
    ],
    ("lifecycle/contents.py", _VERIFY): [
        (
            '    if got != size:\n        return f"corrupt: expected {size} bytes, got {got}", got\n    if digest',
            "    if digest",
            "sizes of older blobs are not compared",
        ),
        ("    if digest.hexdigest() != sha256:\n", "    if False:\n", "digests of older blobs are not compared"),
        (
            "    if not 0 < seal <= min(size, most_sealed_bytes(raw)):\n",
            "    if not 0 < seal:\n",
            "a seal of any length is fetched",
        ),
        ("        if got > size:\n", "        if False:\n", "a blob that is too long is held in memory"),
        (
            "            if digest_of((memoryview(held)[: place.size],)) != place.digest:\n",
            "            if False:\n",
            "frames are not compared with their digests",
        ),
        (
            '    if got != size:\n        return f"corrupt: expected {size} bytes, got {got}", got\n    return',
            "    return",
            "a blob that ends early is whole",
        ),
        (
            'return ("" if held == end else',
            'return ("" if held is not None else',
            "another seal at the end is not noticed",
        ),
        (
            '    except BlobNotFoundError:\n        return "gone", 0\n',
            '    except ZeroDivisionError:\n        return "gone", 0\n',
            "a blob that goes meanwhile ends the run",
        ),
    ],
}
