"""What is found out about one offload or resolve while it runs, noted by whoever finds it out."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeVar

from offload_backend.ref import BlobRef, PeerRef

if TYPE_CHECKING:
    from offload_backend.address import StateAddress

__all__ = ["Operation", "current", "note_copied", "note_retry", "noted"]

_LONGEST = 64
_Ref = TypeVar("_Ref", bound=BlobRef | PeerRef)


@dataclass(slots=True)
class Operation:
    """One ``offload`` or ``resolve``, as far as it has come.

    ``ref`` is that of its blob, and ``None`` for a value that stays in its row, whose text has ``row`` characters.
    ``copied`` are bytes of the blob that were copied inside the store, and not sent; ``retries`` tells what each
    request had met with that was then sent again. ``error`` is the name of the exception's class. A ``resolve``
    does not know its ``address``.
    """

    verb: Literal["offload", "resolve"]
    address: StateAddress | None = None
    row: int = 0
    ref: BlobRef | PeerRef | None = None
    copied: int = 0
    retries: list[str] = field(default_factory=list)
    seconds: float = 0.0
    error: str = ""


current: ContextVar[Operation | None] = ContextVar("offload_backend.operation", default=None)
"""The operation that the calling thread works for; threads that help it are started with its context."""


def noted(ref: _Ref) -> _Ref:
    """The ref: it is that of the operation's blob."""
    operation = current.get()
    if operation is not None:
        operation.ref = ref
    return ref


def note_copied(size: int) -> None:
    """So many bytes of the blob were copied inside the store."""
    operation = current.get()
    if operation is not None:
        operation.copied = size


def note_retry(met: str) -> None:
    """A request is sent again, for what the one before ``met``, in a server's words. Any thread may say so."""
    operation = current.get()
    if operation is not None:
        operation.retries.append(met[:_LONGEST])
