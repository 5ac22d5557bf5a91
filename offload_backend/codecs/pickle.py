"""The pickle codec: whatever Python can pickle, where the deployment has chosen to trust who writes its blobs."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

from offload_backend.blobstore import Buffer
from offload_backend.codecs.source import Source
from offload_backend.errors import UnreadableBlobError, UnsupportedValueError

__all__ = ["PickleCodec"]

_PROTOCOL = 5


class PickleCodec:
    """Pickle, protocol 5. Reading one runs whatever code its writer chose: only with ``codec = pickle``."""

    name = "pickle"
    extension = "pickle"

    def encode(self, value: Any) -> Iterator[Buffer]:
        """The pickle, whole. Whether the value comes back equal is for its own class to know."""
        try:
            yield memoryview(pickle.dumps(value, _PROTOCOL))
        except Exception as error:
            raise UnsupportedValueError(
                f"it cannot be pickled: {type(error).__name__}", path="value", hint="store plain data"
            ) from error

    def decode(self, source: Source) -> Any:
        """The value, or :class:`UnreadableBlobError` for whatever its classes' own code raises."""
        try:
            return pickle.loads(source.read(0, source.size))  # noqa: S301 - opted into by name
        except Exception as error:
            raise UnreadableBlobError(
                f"the value cannot be unpickled: {type(error).__name__}",
                hint="install what it was pickled with where it is read, in the same versions",
            ) from error
