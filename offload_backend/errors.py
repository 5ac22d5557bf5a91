"""The error tree, grouped by what the caller can do about it.

::

    OffloadError                     .hint  .address  .key  .location
    ├── ConfigError                  (ValueError)   correct a setting
    ├── InvalidKeyError              (ValueError)   choose another key
    ├── UnsupportedValueError        (TypeError)    change the value; .path names the element
    ├── BlobNotFoundError            (LookupError)  the row names a blob that is gone
    ├── BlobCorruptError                            the blob is not the one that was written
    ├── ForeignRefError              (ValueError)   the ref may not be read here, or nobody with a key made it
    ├── UnreadableBlobError                         upgrade, or install or configure what the message names
    │   └── WrongKeyError                           give the key that the blob was encrypted with
    ├── StoreError                                  mend access or retry; .retryable tells which
    ├── CoreStoreError                              the same, for the database that holds the rows
    ├── CheckpointError              (LookupError)  go on from another checkpoint; .steps tells from which
    └── CollectorError                              nothing wrong was deleted; .refusals or .failed say why
        ├── RefusedError                            nothing was deleted at all; look, then accept or repair
        └── IncompleteError                         some deletes failed; run again

No message carries a credential, a signed URL or a value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

__all__ = [
    "BlobCorruptError",
    "BlobNotFoundError",
    "CheckpointError",
    "CollectorError",
    "ConfigError",
    "CoreStoreError",
    "ForeignRefError",
    "IncompleteError",
    "InvalidKeyError",
    "OffloadError",
    "RefusedError",
    "StoreError",
    "UnreadableBlobError",
    "UnsupportedValueError",
    "WrongKeyError",
]

_LONG_PATH = 200


class OffloadError(Exception):
    """Base of every error raised on purpose by this package.

    ``hint`` names the setting or the command that repairs the trouble; ``address``, ``key`` and
    ``location`` say which state it concerns, as far as they are known where it was raised.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        address: object | None = None,
        key: str | None = None,
        location: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.address = address
        self.key = key
        self.location = location

    def __str__(self) -> str:
        about = [
            f"{name}={value!s}" if name == "address" else f"{name}={value!r}"
            for name, value in (("address", self.address), ("key", self.key), ("location", self.location))
            if value is not None
        ]
        text = self.message + (f" [{', '.join(about)}]" if about else "")
        return f"{text}\nHint: {self.hint}" if self.hint else text

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions are pickled as their positional arguments; ours take more to build.
        return _restored, (type(self), self.args, vars(self))


def _restored(kind: type[OffloadError], args: tuple[Any, ...], state: dict[str, Any]) -> OffloadError:
    error = kind.__new__(kind, *args)
    vars(error).update(state)
    return error


class ConfigError(OffloadError, ValueError):
    """A setting is missing or cannot be used; the hint shows an accepted example."""


class InvalidKeyError(OffloadError, ValueError):
    """The key cannot be stored safely; choose another one."""


class UnsupportedValueError(OffloadError, TypeError):
    """The value cannot be stored so that ``get`` returns it type for type.

    ``path`` is the offending element as a Python expression, such as ``value["metrics"][3]``; the
    message shows the ends of a long one.
    """

    def __init__(self, message: str, *, path: str, hint: str = "", **about: str | None) -> None:
        shown = path if len(path) <= _LONG_PATH else f"{path[:120]}…{path[-60:]}"
        super().__init__(f"{shown}: {message}", hint=hint, **about)
        self.path = path


class BlobNotFoundError(OffloadError, LookupError):
    """A row refers to a blob that the store does not have (a dangling ref)."""


class BlobCorruptError(OffloadError):
    """The stored bytes are not those that were written: size, digest or frame is wrong."""


class ForeignRefError(OffloadError, ValueError):
    """A ref leads to what its row may not read (another place, deployment or state), or was not made here."""


class UnreadableBlobError(OffloadError):
    """The blob is whole but this installation cannot read it: newer format, unknown codec, missing extra or key."""


class WrongKeyError(UnreadableBlobError):
    """The blob was encrypted with another key than the one that now has its id."""


class StoreError(OffloadError):
    """The blob store refused or failed.

    ``reason`` is one of ``denied``, ``unreachable``, ``throttled``, ``no-credentials``,
    ``bucket-missing``, ``full`` and ``failed``. ``retryable`` says whether the same call may succeed
    later without anybody changing anything.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str,
        retryable: bool = False,
        hint: str = "",
        location: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint, location=location)
        self.reason = reason
        self.retryable = retryable


class CoreStoreError(OffloadError):
    """The core store refused or failed; whether a write was committed is then not known.

    ``retryable`` says whether the same call may succeed later without anybody changing anything.
    ``location`` holds neither user nor password.
    """

    def __init__(
        self,
        message: str,
        *,
        retryable: bool = False,
        hint: str = "",
        address: object | None = None,
        key: str | None = None,
        location: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint, address=address, key=key, location=location)
        self.retryable = retryable


class CheckpointError(OffloadError, LookupError):
    """A :class:`~offload_backend.checkpointer.Checkpointer` cannot have the checkpoint that it is to go on from.

    ``steps`` says after how many steps the others were saved, oldest first; each can be asked for.
    """

    def __init__(self, message: str, *, steps: Sequence[int] = (), hint: str = "", key: str | None = None) -> None:
        super().__init__(message, hint=hint, key=key)
        self.steps = tuple(steps)


class CollectorError(OffloadError):
    """The collector stopped, or could not finish; no live blob was deleted."""


@dataclass(frozen=True)
class Refusal:
    """One reason to delete nothing: what was ``measured``, the ``limit``, and how to override it."""

    rule: str
    measured: str
    limit: str
    override: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.measured} (limit: {self.limit}); {self.override}"


class RefusedError(CollectorError):
    """Nothing was deleted; ``refusals`` are the reasons, each with measured value, limit and override."""

    def __init__(self, refusals: Sequence[Refusal]) -> None:
        super().__init__("nothing was deleted:\n" + "\n".join(f"- {refusal}" for refusal in refusals))
        self.refusals = tuple(refusals)


class IncompleteError(CollectorError):
    """Some blobs could not be deleted; ``failed`` maps their names to the store's reasons."""

    def __init__(self, message: str, failed: Mapping[str, str]) -> None:
        super().__init__(message, hint="mend what the reasons say and run the command again")
        self.failed = dict(failed)


def may_be_gone(error: BlobNotFoundError | StoreError) -> bool:
    """Whether the blob may be gone. S3 calls one that is missing forbidden where s3:ListBucket is not granted."""
    return isinstance(error, BlobNotFoundError) or error.reason == "denied"


def without_text(error: Exception) -> Exception:
    """What tracebacks may show of an error that quotes a value: its type, and where it was raised."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    place = f" in {last.tb_frame.f_code.co_name}, line {last.tb_lineno}" if last is not None else ""
    return ValueError(f"{type(error).__name__}{place}")


@contextmanager
def concerning(
    address: object | None = None, key: str | None = None, location: str | None = None
) -> Iterator[None]:
    """Say in any error of ours, where it does not say so already, which state it concerns."""
    try:
        yield
    except OffloadError as error:
        error.address = error.address if error.address is not None else address
        error.key = error.key if error.key is not None else key
        error.location = error.location if error.location is not None else location
        raise
