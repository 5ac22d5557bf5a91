"""Deleting in batches, without waiting for a dead store once per batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from offload_backend.errors import OffloadError, StoreError

__all__ = ["failed_deletes"]

_LOST = frozenset({"unreachable", "throttled"})


def failed_deletes(
    names: Sequence[str], size: int, delete: Callable[[Sequence[str]], dict[str, str]]
) -> dict[str, str]:
    """Call ``delete`` with up to ``size`` names at a time. The names that are still there, each with the reason.

    ``delete`` returns the names that it failed to delete, or raises when all of them failed. Once it
    raises because the store is unreachable or throttles, the names that remain are not tried any more.
    """
    failed: dict[str, str] = {}
    for start in range(0, len(names), size):
        batch = names[start : start + size]
        try:
            failed |= delete(batch)
        except OffloadError as error:
            if isinstance(error, StoreError) and error.reason in _LOST:
                return failed | dict.fromkeys(names[start:], error.message)
            failed |= dict.fromkeys(batch, _reason(error))
    return failed


def _reason(error: OffloadError) -> str:
    """What went wrong; the right that is missing, too, since a report has no place for hints."""
    denied = isinstance(error, StoreError) and error.reason == "denied"
    return f"{error.message}; {error.hint}" if denied else error.message
