"""The first corpus: genuine bytes for each target, and what a person would try.

``python -m tests.hostile.seeds`` writes it anew beside what fuzzing found.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import struct
import zipfile
from pathlib import Path

import numpy as np
import orjson
import pandas as pd
import polars as pl
import pyarrow as pa
import zstandard

from offload_backend.codecs.tree.codec import TreeCodec
from offload_backend.row import TYPED, envelope
from tests.codecs.test_tree_round_trip import VALUES
from tests.codecs.trees import document_of, encoded
from tests.hostile import fuzz_targets as targets
from tests.hostile.fuzz_targets import HOME, ID, MARK, MODULE, SCOPE

CORPUS = Path(__file__).parent / "corpus"
PLANTED = {"$": ["dataclass", 1, [f"{MODULE}:Planted", {"x": MARK}, []]]}
FRAME = pl.DataFrame(
    {"a": [1, None], "b": ["x", "a text that is not short"], "c": pl.Series(["x", "y"], dtype=pl.Categorical)}
)
MANY = [
    np.arange(6).reshape(2, 3),
    np.ma.masked_array([1, 2], [True, False]),
    np.array(["a", None, MARK], object),
    np.random.default_rng(1),
    pd.DataFrame({"a": [1, 2], "b": ["x", MARK]}),
    pd.Series(pd.Categorical(["a", "b"])),
    pd.MultiIndex.from_product([[1, 2], ["a"]]),
    pd.arrays.SparseArray([0, 0, 1]),
    pd.Series(pd.interval_range(0, 3)),
    pa.table({"a": [1, 2]}),
    FRAME,
]


def seeds() -> dict[str, list[bytes]]:
    """The bytes for each target."""
    values = [value for value in VALUES if value is not None][::3]
    documents = [document_of(value) for value in [*values, *MANY]]
    stream = FRAME.write_ipc_stream(None, compat_level=pl.CompatLevel.newest()).getvalue()
    table = pa.BufferOutputStream()
    with pa.ipc.new_stream(table, MANY[9].schema) as writer:
        writer.write_table(MANY[9])
    good, raw, seal = targets.sealed([(targets.compressed_once(b"[1,2]"), 5)])
    digest = hashlib.sha256(good).hexdigest()
    facts = f"#offload=1&size=300&raw=1&seal=121&blake3={'0' * 64}&codec=json&frames=sealed"
    url = f"{HOME}/{SCOPE}/{ID}.json.zst"
    plain = json.dumps([MARK, {"a": 1.5}]).encode()
    inline = [TreeCodec().inline_text(value) or "" for value in values]
    return {
        "ref": [
            f"{url}{facts}".encode(),
            f"{url}{facts}&signer=s1&mac={digest}".encode(),
            f"{url}#offload=1&size=1&raw=1&sha256={digest}&codec=json&frames=zstd&about=list[2]".encode(),
            f"{HOME}/d/r/t/-1/k".encode(),
            b"file:///etc/passwd",
        ],
        "row": [envelope(text).encode() for text in [*inline[:6], "[1]", f"{url}{facts}", TYPED]],
        "typed": [
            *(text.removeprefix(TYPED).encode() for text in inline[:40]),
            json.dumps({"offload_tree": 1, "value": PLANTED, "buffers": []}).encode(),
        ],
        "tree": [*(encoded(value) for value in [*values[::4], *MANY])],
        "text": [plain, b"[" * 2000, b'{"a":' * 500, b"1e999", b'"\\ud800"', b"1" * 5000],
        "document": [
            *(b"\0BUFFER\0".join([orjson.dumps(structure), *buffers]) for structure, buffers in documents),
            orjson.dumps({"value": PLANTED}),
        ],
        "frame": [
            len(plain).to_bytes(3, "little") + zstandard.ZstdCompressor(write_checksum=True).compress(plain),
            len(plain).to_bytes(3, "little") + targets.compressed_once(plain),
            b"\0\0\x40" + b"\x28\xb5\x2f\xfd\xa0\0\0\x40\0" + (131072 << 3 | 2).to_bytes(3, "little") + b"x",
        ],
        "blob": [struct.pack("<IH", raw, seal) + good],
        "older": [(5).to_bytes(4, "little") + _older(b"[1,2]")],
        "peer": [
            plain,
            gzip.compress(plain, mtime=0),
            bz2.compress(plain),
            lzma.compress(plain),
            zstandard.compress(plain),
            _zipped(plain, zipfile.ZIP_DEFLATED),
            _zipped(plain, zipfile.ZIP_LZMA),
            _lz4(plain),
        ],
        "polars": [stream],
        "arrow": [table.getvalue().to_pybytes()],
    }


def _older(content: bytes) -> bytes:
    head = targets.skippable(json.dumps({"offload": 1, "id": ID}).encode())
    body = zstandard.ZstdCompressor(write_checksum=True).compress(content)
    table = struct.pack("<IIII", len(head), 0, len(body), len(content)) + struct.pack("<IBI", 2, 0, 0x8F92EAB1)
    return head + body + targets.skippable(table, 0x184D2A5E)


def _zipped(content: bytes, how: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", how) as archive:
        archive.writestr(zipfile.ZipInfo("x"), content, how)
    return file.getvalue()


def _lz4(content: bytes) -> bytes:
    import lz4.frame

    return lz4.frame.compress(content)


if __name__ == "__main__":
    for target, each in seeds().items():
        (CORPUS / target).mkdir(parents=True, exist_ok=True)
        for data in each:
            (CORPUS / target / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
        print(target, len(each))
