"""Arrow's own types, as Arrow IPC streams: a published format, which other programs can read from the file.

The stream is made batch by batch from the value's own memory, and read in the memory that was read into.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from offload_backend.codecs.tree.arrow_stream import check_stream
from offload_backend.codecs.tree.kinds import Buffer, Json, Kind, Pieces, Reader, Writer

__all__ = ["KINDS"]

_Parts = tuple[Any, Sequence[Any]]
"""A schema and the record batches after it."""


class _ArrowKind:
    """A type that can be taken apart into a schema and batches, and put together again."""

    version = 1
    module = "pyarrow"
    needs = "pyarrow"
    type: type

    def accepts(self, value: object) -> bool:
        return isinstance(value, self.type)

    def encode(self, value: Any, writer: Writer) -> Json:
        """The number of the buffer with the stream. Types that a Python class defines are refused."""
        schema, batches = self.apart(value)
        foreign = next((name for field in schema for name in _foreign(field.type)), None)
        if foreign:
            writer.refuse(f"the Arrow type {foreign} is defined by a program", "store its storage: array.storage")
        try:
            if not pa.ipc.read_schema(schema.serialize()).equals(schema, check_metadata=True):
                writer.refuse("a schema that comes back as another", "remove the metadata ARROW:extension:name")
            for batch in batches:
                batch.validate(full=True)
            size = pa.MockOutputStream()
            _write(size, schema, batches)
        except (pa.ArrowException, NotImplementedError):
            writer.refuse(f"Arrow cannot store this {type(value).__name__}", "look at value.validate(full=True)")
        return writer.buffer(Pieces(size.size(), lambda: _written(schema, batches)))

    def decode(self, facts: Json, version: int, reader: Reader) -> Any:
        memory = reader.buffer(facts)  # type: ignore[arg-type]  # it looks
        check_stream(memory)
        try:
            with pa.ipc.open_stream(pa.py_buffer(memory)) as stream:
                schema, batches = stream.schema, list(stream)
            for batch in batches:
                batch.validate(full=True)
            return self.together(schema, batches)
        except (pa.ArrowException, OSError, KeyError, IndexError, TypeError) as error:
            raise ValueError("no Arrow stream of this type") from error

    def apart(self, value: Any) -> _Parts:
        raise NotImplementedError

    def together(self, schema: Any, batches: Sequence[Any]) -> Any:
        raise NotImplementedError


class TableKind(_ArrowKind):
    """``pyarrow.Table``; columns whose chunks differ come back in chunks that do not."""

    tag = "pyarrow.table"
    type = pa.Table

    def apart(self, value: Any) -> _Parts:
        return value.schema, value.to_batches()

    def together(self, schema: Any, batches: Sequence[Any]) -> Any:
        return pa.Table.from_batches(batches, schema)


class RecordBatchKind(_ArrowKind):
    """``pyarrow.RecordBatch``."""

    tag = "pyarrow.recordbatch"
    type = pa.RecordBatch

    def apart(self, value: Any) -> _Parts:
        return value.schema, [value]

    def together(self, schema: Any, batches: Sequence[Any]) -> Any:
        (batch,) = batches
        return batch


class ChunkedArrayKind(_ArrowKind):
    """``pyarrow.ChunkedArray``, with its chunks."""

    tag = "pyarrow.chunkedarray"
    type = pa.ChunkedArray

    def apart(self, value: Any) -> _Parts:
        schema = pa.schema([pa.field("", value.type)])
        return schema, [pa.RecordBatch.from_arrays([chunk], schema=schema) for chunk in value.chunks]

    def together(self, schema: Any, batches: Sequence[Any]) -> Any:
        (field,) = schema
        return pa.chunked_array([batch.column(0) for batch in batches], field.type)


class ArrayKind(_ArrowKind):
    """``pyarrow.Array`` and all that are derived from it."""

    tag = "pyarrow.array"
    type = pa.Array

    def apart(self, value: Any) -> _Parts:
        schema = pa.schema([pa.field("", value.type)])
        return schema, [pa.RecordBatch.from_arrays([value], schema=schema)]

    def together(self, schema: Any, batches: Sequence[Any]) -> Any:
        (batch,) = batches
        (array,) = batch.columns
        return array


class ScalarKind(ArrayKind):
    """``pyarrow.Scalar``, as an array of one."""

    tag = "pyarrow.scalar"
    type = pa.Scalar

    def apart(self, value: Any) -> _Parts:
        return super().apart(pa.repeat(value, 1))

    def together(self, schema: Any, batches: Sequence[Any]) -> Any:
        array = super().together(schema, batches)
        if len(array) != 1:
            raise ValueError("no scalar")
        return array[0]


class SchemaKind(_ArrowKind):
    """``pyarrow.Schema``, with its metadata."""

    tag = "pyarrow.schema"
    type = pa.Schema

    def apart(self, value: Any) -> _Parts:
        return value, []

    def together(self, schema: Any, batches: Sequence[Any]) -> Any:
        return schema


class FieldKind(_ArrowKind):
    """``pyarrow.Field``, with its metadata."""

    tag = "pyarrow.field"
    type = pa.Field

    def apart(self, value: Any) -> _Parts:
        return pa.schema([value]), []

    def together(self, schema: Any, batches: Sequence[Any]) -> Any:
        (field,) = schema
        return field


class DataTypeKind(FieldKind):
    """``pyarrow.DataType``."""

    tag = "pyarrow.datatype"
    type = pa.DataType

    def apart(self, value: Any) -> _Parts:
        return super().apart(pa.field("", value))

    def together(self, schema: Any, batches: Sequence[Any]) -> Any:
        return super().together(schema, batches).type


def _foreign(arrow: Any) -> Iterator[str]:
    """The types, within this one, that are made by a program's own class; what Arrow defines itself is not."""
    if isinstance(arrow, pa.ExtensionType | pa.UnknownExtensionType):
        yield arrow.extension_name
    elif isinstance(arrow, pa.DictionaryType):
        yield from _foreign(arrow.value_type)
    elif isinstance(arrow, pa.BaseExtensionType):
        yield from _foreign(arrow.storage_type)
    else:
        for number in range(arrow.num_fields):
            yield from _foreign(arrow.field(number).type)


class _Sink:
    """What a stream is written to: keeps the buffers, which are the value's own, until they are taken."""

    closed = False

    def __init__(self) -> None:
        self._buffers: list[Buffer] = []

    def write(self, data: Any) -> int:
        self._buffers.append(data if isinstance(data, bytes) else memoryview(data).cast("B"))
        return len(data)

    def take(self) -> list[Buffer]:
        taken, self._buffers = self._buffers, []
        return taken

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        self.closed = True


def _write(sink: Any, schema: Any, batches: Iterable[Any]) -> None:
    with pa.ipc.new_stream(sink, schema) as stream:
        for batch in batches:
            stream.write_batch(batch)


def _written(schema: Any, batches: Iterable[Any]) -> Iterator[Buffer]:
    sink = _Sink()
    with pa.ipc.new_stream(pa.PythonFile(sink, "w"), schema) as stream:
        for batch in batches:
            stream.write_batch(batch)
            yield from sink.take()
    yield from sink.take()


KINDS: Sequence[Kind] = (
    *(TableKind(), RecordBatchKind(), ChunkedArrayKind(), ArrayKind(), ScalarKind()),
    *(SchemaKind(), FieldKind(), DataTypeKind()),
)
