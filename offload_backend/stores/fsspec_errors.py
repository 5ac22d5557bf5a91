"""What an exception out of an fsspec driver means for the caller: each driver has a tree of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from offload_backend.errors import BlobNotFoundError, ConfigError, OffloadError, StoreError
from offload_backend.stores.os_errors import os_store_error
from offload_backend.stores.s3_errors import code_and_status, s3_error

__all__ = ["fsspec_errors", "is_bucket_missing", "is_past_end", "never_answered", "opening_error"]

_S3_OPERATIONS = {
    "open": "GetObject",
    "put": "PutObject",
    "get": "GetObject",
    "list": "ListObjectsV2",
    "delete": "DeleteObject",
}
_GIVE_NO_CREDENTIALS = frozenset(
    {"ClientAuthenticationError", "CredentialUnavailableError", "DefaultCredentialsError", "RefreshError"}
)


@contextmanager
def fsspec_errors(doing: str, location: str) -> Iterator[None]:
    """Our errors for a driver's; ``doing`` is one of put, get, list and delete."""
    try:
        yield
    except OffloadError as error:
        error.location = error.location or location
        raise
    except ValueError as error:
        # A driver that is made at its first use quotes the option that it does not like, which might be a secret.
        raise _translated(error, doing, location) from None
    except Exception as error:  # drivers have no base class in common; nothing is swallowed
        raise _translated(error, doing, location) from error


def opening_error(error: Exception, scheme: str, location: str) -> OffloadError:
    """Our error for a driver that cannot be made; to be raised without it, whose text might repeat an option."""
    if not isinstance(error, (LookupError, TypeError, ValueError, FileNotFoundError)):
        return _translated(error, "open", location)
    return ConfigError(
        f"the driver of {scheme}:// refused its options: {type(error).__name__}",
        location=location,
        hint="correct [offload_backend] storage_options; they are the driver's own",
    )


def is_past_end(error: BaseException) -> bool:
    """Whether the error says that a range begins at or behind the end of an existing blob."""
    return any(_status(link) == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE for link in _chain(error))


def is_bucket_missing(error: BaseException) -> bool:
    """Whether Azure said so; of others, only S3's own clients tell that from a blob that is missing."""
    return any(getattr(link, "error_code", "") == "ContainerNotFound" for link in _chain(error))


def _translated(error: Exception, doing: str, location: str) -> OffloadError:
    for link in _chain(error):
        if any(code_and_status(link)) or type(link).__module__.partition(".")[0] == "botocore":
            return s3_error(link, _S3_OPERATIONS[doing], location)
    if is_bucket_missing(error):
        return _bucket_missing(doing, location)
    for link in _chain(error):
        found = _by_type(link, doing, location) or _by_status(link, doing, location)
        if found is not None:
            return found
    if isinstance(error, OSError):
        return os_store_error(error, doing, location)
    return StoreError(f"{doing} failed: {type(error).__name__}", reason="failed", location=location)


def _by_type(error: BaseException, doing: str, location: str) -> OffloadError | None:
    kind = type(error)
    if isinstance(error, FileNotFoundError):
        return _missing(doing, location)
    if isinstance(error, (IsADirectoryError, NotADirectoryError)) and doing != "put":
        return _missing(doing, location)
    # fsspec's timeout and asyncio's before Python 3.11 are not the built-in one.
    if isinstance(error, (TimeoutError, ConnectionError)) or kind.__name__ in ("FSTimeoutError", "TimeoutError"):
        return _unreachable(kind.__name__, doing, location)
    if kind.__module__.partition(".")[0] in ("aiohttp", "requests", "urllib3") and _status(error) == 0:
        return _unreachable(kind.__name__, doing, location)
    if kind.__name__ in _GIVE_NO_CREDENTIALS and _status(error) == 0:
        return _no_credentials(kind.__name__, doing, location)
    # gcsfs has no other mark for a 403.
    is_forbidden = kind is OSError and str(error).startswith("Forbidden")
    return _denied(kind.__name__, doing, location) if is_forbidden or isinstance(error, PermissionError) else None


def _by_status(error: BaseException, doing: str, location: str) -> OffloadError | None:
    status = _status(error)
    what = f"{type(error).__name__} {status}"
    if status == HTTPStatus.NOT_FOUND:
        return _missing(doing, location)
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return _denied(what, doing, location)
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        return StoreError(f"{doing} failed: {what}", reason="throttled", retryable=True, location=location)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.NOT_IMPLEMENTED:
        return _unreachable(what, doing, location)
    return None


def _missing(doing: str, location: str) -> OffloadError:
    if doing in ("put", "list"):
        return _bucket_missing(doing, location)
    return BlobNotFoundError("there is no such blob", location=location)


def _bucket_missing(doing: str, location: str) -> StoreError:
    return StoreError(
        f"{doing} failed: the bucket or folder does not exist",
        reason="bucket-missing",
        location=location,
        hint="create the bucket or correct [offload_backend] path",
    )


def _denied(what: str, doing: str, location: str) -> StoreError:
    hint = f"grant the right to {doing} to the credentials of [offload_backend] path"
    return StoreError(f"{doing} failed: {what}", reason="denied", location=location, hint=hint)


def _no_credentials(what: str, doing: str, location: str) -> StoreError:
    hint = (
        "give the driver of [offload_backend] path credentials: by an Airflow connection, storage_options or the "
        "environment"
    )
    return StoreError(f"{doing} failed: {what}", reason="no-credentials", location=location, hint=hint)


def never_answered(doing: str, seconds: float) -> StoreError:
    """The error for a driver that was given up."""
    return _unreachable(f"not done within {seconds:g} s", doing, "")


def _unreachable(what: str, doing: str, location: str) -> StoreError:
    hint = (
        "check the endpoint and the network between worker and store; to wait longer for a store that comes back, "
        "raise [offload_backend] give_up_after"
    )
    return StoreError(f"{doing} failed: {what}", reason="unreachable", retryable=True, location=location, hint=hint)


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__


def _status(error: BaseException) -> int:
    """The HTTP status that an error carries, under whichever name its driver keeps it; 0 if none."""
    from_s3 = code_and_status(error)[1]
    if from_s3:
        return from_s3
    for name in ("status_code", "status", "code"):
        value: Any = getattr(error, name, None)
        if isinstance(value, int) or (isinstance(value, str) and value.isdigit()):
            return int(value)
    return 0
