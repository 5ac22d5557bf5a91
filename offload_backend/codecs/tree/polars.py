"""Polars' frames and series, as Arrow IPC streams, one for each slice of some rows.

Polars writes and reads the streams itself, so pyarrow need not be installed, and its own types come back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO, RawIOBase
from typing import Any

import polars as pl

from offload_backend.codecs.tree.arrow_stream import check_stream
from offload_backend.codecs.tree.facts import exactly
from offload_backend.codecs.tree.kinds import Json, Kind, Pieces, Reader, Writer

__all__ = ["KINDS"]

SLICE = 32 * 1024 * 1024
"""Bytes of a slice, about: what it takes in memory, beside the frame, to write one or to read one."""

_NEWEST = pl.CompatLevel.newest()


class FrameKind:
    """``polars.DataFrame``. That a column is sorted is not told; ``LazyFrame`` is refused."""

    tag = "polars.dataframe"
    version = 1
    module = "polars"
    needs = "polars"

    def accepts(self, value: object) -> bool:
        """What is refused with a hint, too."""
        return isinstance(value, pl.DataFrame | pl.LazyFrame)

    def encode(self, value: Any, writer: Writer) -> Json:
        """The ``buffer`` with the streams, and the bytes of each."""
        if isinstance(value, pl.LazyFrame):
            writer.refuse("a LazyFrame is a plan of work, not data", "store value.collect()")
        if type(value) is not pl.DataFrame:
            writer.refuse(f"{type(value).__name__} is a subclass of DataFrame", "store polars.DataFrame(value)")
        if not value.width and value.height:
            writer.refuse("a frame with rows and no columns", "store the number of its rows: value.height")
        return _facts(value, writer)

    def decode(self, facts: Json, version: int, reader: Reader) -> Any:
        return _frame(facts, reader)


class SeriesKind:
    """``polars.Series``, as a frame of one column."""

    tag = "polars.series"
    version = 1
    module = "polars"
    needs = "polars"

    def accepts(self, value: object) -> bool:
        return isinstance(value, pl.Series)

    def encode(self, value: Any, writer: Writer) -> Json:
        """See :class:`FrameKind`."""
        if type(value) is not pl.Series:
            writer.refuse(f"{type(value).__name__} is a subclass of Series", "store polars.Series(value)")
        return _facts(value.to_frame(), writer)

    def decode(self, facts: Json, version: int, reader: Reader) -> Any:
        frame = _frame(facts, reader)
        if frame.width != 1:
            raise ValueError("no series")
        return frame.to_series()


class _Count(RawIOBase):
    """Takes bytes and keeps only their number."""

    size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.size += len(data)
        return len(data)


def _facts(frame: Any, writer: Writer) -> dict[str, Json]:
    if not _comes_back(frame.clear()):
        writer.refuse(
            f"polars cannot store the types {list(map(str, frame.dtypes))} exactly",
            "convert the columns of objects and of extension types, column.cast(...), or store lists",
        )
    sizes = []
    for part in _slices(frame):
        count = _Count()
        part.write_ipc_stream(count, compat_level=_NEWEST)
        sizes.append(count.size)
    return {"buffer": writer.buffer(Pieces(sum(sizes), lambda: map(_stream, _slices(frame)))), "streams": sizes}


def _slices(frame: Any) -> Iterator[Any]:
    rows = max(1, frame.height * SLICE // max(1, frame.estimated_size()))
    return (frame.slice(start, rows) for start in range(0, max(1, frame.height), rows))


def _stream(frame: Any) -> memoryview:
    sink = BytesIO()
    frame.write_ipc_stream(sink, compat_level=_NEWEST)
    return sink.getbuffer()


def _comes_back(empty: Any) -> bool:
    try:
        with _panics_told():
            back: bool = pl.read_ipc_stream(bytes(_stream(empty))).schema == empty.schema
            return back
    except ValueError:
        return False


def _frame(facts: Json, reader: Reader) -> Any:
    found = exactly(facts, dict)
    memory, start, frames = reader.buffer(exactly(found["buffer"], int)), 0, list[Any]()
    for size in exactly(found["streams"], list):
        if type(size) is not int or not 0 < size <= len(memory) - start:
            raise ValueError("a stream is not as long as said")
        check_stream(memory[start : start + size])
        with _panics_told():
            frames.append(pl.read_ipc_stream(bytes(memory[start : start + size])))
        start += size
    if start != len(memory) or not frames:
        raise ValueError("no frame")
    with _panics_told():
        return pl.concat(frames, rechunk=False) if len(frames) > 1 else frames[0]


@contextmanager
def _panics_told() -> Iterator[None]:
    """Polars panics at some damage; its panic is no ``Exception`` and would stop a worker."""
    try:
        yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OverflowError) as error:
        raise ValueError("no Arrow stream of polars") from error


KINDS: Sequence[Kind] = (FrameKind(), SeriesKind())
