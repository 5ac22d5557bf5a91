"""What is fuzzed: each target takes bytes of whoever can write rows, blobs or both, and sees what comes of them.

Everywhere the same holds: a value, or one of our errors, which quotes nothing of the bytes; nothing is read but
what the ref may name; no module is imported and no class is made that nobody has allowed. How much memory is taken
is for those to see who run the targets: libFuzzer with its limits, or the tests that replay the corpus.
"""

from __future__ import annotations

import hashlib
import json
import struct
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import blake3

from offload_backend.codecs.tree.layout import Tensor, pieces_of
from offload_backend.errors import OffloadError
from offload_backend.offloader import Offloader
from offload_backend.ref import BlobRef, format_ref
from offload_backend.row import TYPED, open_envelope
from offload_backend.settings import Settings
from offload_backend.stores.memory import MemoryBlobStore

MARK = "PLANTED CONTENT"
MODULE = "tests.hostile.planted"
HOME = "s3://bucket/prefix"
ID = "01999999-0000-7000-8000-000000000001"
SCOPE = "v1/default/task/d/r/t/-1/k"
HEADER = json.dumps({"offload": 2, "id": ID}).encode()
MOST = 2**24


class Recorded(MemoryBlobStore):
    """Holds what a target puts in, and knows what it was asked for."""

    def __init__(self) -> None:
        super().__init__(HOME)
        self.asked: set[str] = set()

    def get(self, name: str) -> Iterator[bytes]:
        self.asked.add(name)
        return super().get(name)

    def read_into(self, name: str, start: int, buffer: memoryview, total: int) -> None:
        self.asked.add(name)
        super().read_into(name, start, buffer, total)


def resolved(text: str, **blobs: bytes) -> Any:
    """What comes of the text of a row where these blobs are; ``None`` for an error of ours."""
    store = Recorded()
    for extension, data in blobs.items():
        store.put(f"{SCOPE}/{ID}.{extension}.zst", [data])
    offloader = Offloader(Settings.load({"path": HOME, "max_value_bytes": MOST}), lambda _: store)
    try:
        return offloader.resolve(text)
    except OffloadError as error:
        require_decent(error)
        return None
    finally:
        assert MODULE not in sys.modules, "a module was imported"
        for name in store.asked:
            assert not set(name.split("/")) & {"", ".", ".."}, name


def require_decent(error: OffloadError) -> None:
    """Neither it nor what a log shows with it quotes the value, and it comes to an end."""
    told = "".join(traceback.format_exception(error))
    if MARK in told or len(str(error)) > 3000:
        raise AssertionError(told)


def ref(data: bytes) -> None:
    """The text of a ref."""
    resolved(data.decode("utf-8", "replace"), json=sealed([(compressed_once(b"1"), 1)])[0])


def row(data: bytes) -> None:
    """A row as the database gives it: an envelope, JSON or neither."""
    try:
        text = open_envelope(json.loads(data))
    except (ValueError, RecursionError):
        return
    if text is not None:
        resolved(text)


def typed(data: bytes) -> None:
    """A typed value that stayed in its row."""
    resolved(TYPED + data.decode("utf-8", "replace"))


def tree(data: bytes) -> None:
    """The file of a tree, in a blob that is all right."""
    _content("tree", data)


def text(data: bytes) -> None:
    """The text of a JSON value, in a blob that is all right."""
    _content("json", data)


def document(data: bytes) -> None:
    """The structure of a tree up to a zero byte, its buffers after it, each up to the next one's mark."""
    structure, *buffers = data.split(b"\0BUFFER\0")
    tensors = [Tensor(f"t{n}", "U8", (len(each),), each) for n, each in enumerate(buffers)]
    tree(b"".join(pieces_of(structure, tensors)))


def frame(data: bytes) -> None:
    """One frame, of which the seal says that it holds so many bytes."""
    if len(data) > 3:
        _read("json", [(data[3:], int.from_bytes(data[:3], "little"))])


def blob(data: bytes) -> None:
    """A whole blob, of which the ref states the right size and digest: seal and header are the attacker's."""
    if len(data) > 6:
        raw, seal = struct.unpack("<IH", data[:6])
        _resolve_blob("json", data[6:], raw, seal)


def older(data: bytes) -> None:
    """A whole blob of the first format, of which the ref states the right size and digest."""
    if len(data) > 4:
        stored, raw = data[4:], int.from_bytes(data[:4], "little")
        facts = {"size": len(stored), "raw": raw, "digest": hashlib.sha256(stored).hexdigest()}
        resolved(
            format_ref(BlobRef(f"{HOME}/{SCOPE}/{ID}.json.zst", codec="json", frames="zstd", **facts)), json=stored
        )


def peer(data: bytes) -> None:
    """A file of Airflow's own backend."""
    store = Recorded()
    store.put("d/r/t/-1/k", [data])
    offloader = Offloader(Settings.load({"path": HOME, "max_value_bytes": MOST}), lambda _: store)
    try:
        offloader.resolve(f"{HOME}/d/r/t/-1/k")
    except OffloadError as error:
        require_decent(error)


def polars(data: bytes) -> None:
    """An Arrow stream, which polars reads."""
    facts = {"buffer": 0, "streams": [len(data)]}
    _stream(["polars.dataframe", 1, facts], data)


def arrow(data: bytes) -> None:
    """An Arrow stream, which pyarrow reads."""
    _stream(["pyarrow.table", 1, 0], data)


TARGETS: dict[str, Callable[[bytes], None]] = {
    each.__name__: each for each in (ref, row, typed, tree, text, document, frame, blob, older, peer, polars, arrow)
}


def sealed(frames: list[tuple[bytes, int]]) -> tuple[bytes, int, int]:
    """A blob of these frames, under a seal that fits them; what it holds, and the bytes of its seal."""
    stored = [skippable(HEADER), *(data for data, _ in frames)]
    raws = [0, *(raw for _, raw in frames)]
    index = skippable(b"".join(blake3.blake3(each).digest() for each in stored), 0x184D2A51)
    entries = [*zip(map(len, stored), raws, strict=True), (len(index), 0)]
    table = b"".join(struct.pack("<II", *entry) for entry in entries)
    end = index + skippable(table + struct.pack("<IBI", len(entries), 0, 0x8F92EAB1), 0x184D2A5E)
    return b"".join(stored) + end, sum(raws), len(end)


def skippable(content: bytes, magic: int = 0x184D2A50) -> bytes:
    return struct.pack("<II", magic, len(content)) + content


def compressed_once(content: bytes) -> bytes:
    """A Zstandard frame that holds the content as it is."""
    blocks = [content[start : start + 131072] for start in range(0, len(content), 131072)]
    heads = [(len(each) << 3 | (n == len(blocks) - 1)).to_bytes(3, "little") for n, each in enumerate(blocks)]
    start = b"\x28\xb5\x2f\xfd\xa0" + struct.pack("<I", len(content))
    return start + b"".join(head + each for head, each in zip(heads, blocks, strict=True))


def _content(codec: str, data: bytes) -> None:
    pieces = [data[start : start + 2**20] for start in range(0, len(data), 2**20)]
    _read(codec, [(compressed_once(piece), len(piece)) for piece in pieces])


def _read(codec: str, frames: list[tuple[bytes, int]]) -> None:
    data, raw, seal = sealed(frames)
    _resolve_blob(codec, data, raw, seal)


def _resolve_blob(codec: str, data: bytes, raw: int, seal: int) -> None:
    digest = blake3.blake3(data[len(data) - seal :] if seal <= len(data) else b"").hexdigest()
    extension = {"json": "json", "tree": "safetensors"}[codec]
    url = f"{HOME}/{SCOPE}/{ID}.{extension}.zst"
    resolved(format_ref(BlobRef(url, len(data), raw, digest, codec, seal=seal)), **{extension: data})


def _stream(node: list[Any], data: bytes) -> None:
    structure = json.dumps({"value": {"$": node}}).encode()
    value = _tree_value(b"".join(pieces_of(structure, [Tensor("t", "U8", (len(data),), data)])))
    repr(value)


def _tree_value(data: bytes) -> Any:
    pieces = [data[start : start + 2**20] for start in range(0, len(data), 2**20)]
    stored, raw, seal = sealed([(compressed_once(piece), len(piece)) for piece in pieces])
    url = f"{HOME}/{SCOPE}/{ID}.safetensors.zst"
    digest = blake3.blake3(stored[len(stored) - seal :]).hexdigest()
    return resolved(format_ref(BlobRef(url, len(stored), raw, digest, "tree", seal=seal)), safetensors=stored)
