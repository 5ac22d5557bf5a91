"""What an operating system's refusal means for the caller."""

from __future__ import annotations

import errno

from offload_backend.errors import StoreError

__all__ = ["os_store_error"]

_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_MISPLACED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_BUSY = frozenset({errno.EMFILE, errno.ENFILE, errno.EBUSY, errno.EINTR, errno.EAGAIN})
_UNREACHABLE = frozenset(
    {
        errno.ESTALE,
        errno.EIO,
        errno.ETIMEDOUT,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENOTCONN,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.ECONNABORTED,
        errno.EPIPE,
    }
)


def os_store_error(error: OSError, doing: str, location: str) -> StoreError:
    """The :class:`StoreError` for an :class:`OSError`; ``doing`` is one of put, get, list and delete."""
    name = errno.errorcode.get(error.errno or 0, type(error).__name__)
    reason, retryable, hint = _judge(error.errno or 0)
    return StoreError(f"{doing} failed: {name}", reason=reason, retryable=retryable, hint=hint, location=location)


def _judge(number: int) -> tuple[str, bool, str]:
    if number in _FULL:
        return "full", False, "free space or raise the quota where [offload_backend] path points"
    if number in _DENIED:
        return "denied", False, "give the user of the worker the right to read and write [offload_backend] path"
    if number in _UNREACHABLE:
        return "unreachable", True, "check that the file system of [offload_backend] path is mounted and answers"
    if number in _MISPLACED:
        return "failed", False, "let [offload_backend] path name a directory that exists or can be made"
    return "failed", number in _BUSY, ""
