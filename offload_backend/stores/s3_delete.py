"""Deleting objects of S3, in batches or one by one, with a boto3 client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from offload_backend.errors import BlobNotFoundError, OffloadError
from offload_backend.stores.deleting import failed_deletes
from offload_backend.stores.patience import Patience
from offload_backend.stores.s3_client import asked
from offload_backend.stores.s3_errors import code_and_status, grant, is_denied

__all__ = ["undeleted"]

_BATCH = 1000
_NO_BATCHES = frozenset({"NotImplemented", "MethodNotAllowed", "MissingContentMD5", "501", "405"})


class _NoBatchesError(Exception):
    """The store does not know DeleteObjects."""


def undeleted(client: Any, bucket: str, keys: Mapping[str, str], location: str, seconds: float) -> dict[str, str]:
    """Delete the objects: ``keys`` by name. The names that are still there, with the store's reason.

    ``seconds`` is the patience with each request.
    """

    def batch(names: Sequence[str]) -> dict[str, str]:
        wanted = {name: keys[name] for name in names}
        return _delete_batch(client, bucket, wanted, location, Patience(seconds))

    def one(names: Sequence[str]) -> dict[str, str]:
        try:
            call = partial(client.delete_object, Bucket=bucket, Key=keys[names[0]])
            asked(call, "DeleteObject", f"{location}/{names[0]}", Patience(seconds))
        except BlobNotFoundError:
            pass
        return {}

    try:
        return failed_deletes(tuple(keys), _BATCH, batch)
    except _NoBatchesError:
        return failed_deletes(tuple(keys), 1, one)


def _delete_batch(
    client: Any, bucket: str, keys: Mapping[str, str], location: str, patience: Patience
) -> dict[str, str]:
    objects = [{"Key": key} for key in keys.values()]
    try:
        call = partial(client.delete_objects, Bucket=bucket, Delete={"Objects": objects})
        answer = asked(call, "DeleteObjects", location, patience)
    except OffloadError as error:
        if code_and_status(error.__cause__)[0] in _NO_BATCHES:
            raise _NoBatchesError from error
        raise
    refused = {str(entry.get("Key")): str(entry.get("Code")) for entry in answer.get("Errors", ())}
    confirmed = {str(entry.get("Key")) for entry in answer.get("Deleted", ())}
    return {
        name: _reason(refused.get(key, "no word on this object"))
        for name, key in keys.items()
        if key in refused or key not in confirmed
    }


def _reason(code: str) -> str:
    missing = f"; {grant('DeleteObjects')}" if is_denied(code) else ""
    return f"S3 refused DeleteObjects: {code}{missing}"
