"""Blobs in S3, or in what speaks its language. Listing and deleting go through boto3, all else through a port."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from http import HTTPStatus
from itertools import chain
from typing import TYPE_CHECKING, Any

from offload_backend.blobstore import BlobInfo, Buffer, DeleteReport
from offload_backend.errors import BlobNotFoundError, ConfigError, OffloadError, StoreError
from offload_backend.location import checked_name, checked_prefix, parse_location
from offload_backend.settings import Settings
from offload_backend.stores.deleting import failed_deletes
from offload_backend.stores.parts import parts_of
from offload_backend.stores.s3_boto3 import Boto3Objects
from offload_backend.stores.s3_client import client_config
from offload_backend.stores.s3_errors import code_and_status, s3_error, s3_errors
from offload_backend.stores.s3_multipart import MultipartUpload
from offload_backend.stores.s3_objects import S3Objects, SentPart, Target
from offload_backend.stores.s3_read import Ask, fill_buffer, read_object

if TYPE_CHECKING:
    from botocore.config import Config

__all__ = ["S3BlobStore"]

_BATCH = 1000
_NO_BATCHES = frozenset({"NotImplemented", "MethodNotAllowed", "MissingContentMD5", "501", "405"})


class _NoBatchesError(Exception):
    """The store does not know DeleteObjects."""


class S3BlobStore:
    """A blob store in a bucket. It asks only for the rights that a method needs.

    ``put`` needs s3:PutObject and s3:AbortMultipartUpload, ``get`` s3:GetObject, ``delete``
    s3:DeleteObject, ``list`` s3:ListBucket. A blob that fits into one part is one request, as is a
    ``get``. ``make_client`` gets the botocore ``Config`` to build a client with; it is called once, at
    the first use. When the answer to the last request of a ``put`` is lost for good, ``put`` raises and
    yet the blob may be there.
    """

    def __init__(
        self,
        location: str,
        make_client: Callable[[Config], Any],
        settings: Settings,
        direct: Callable[[], S3Objects | None] = lambda: None,
    ) -> None:
        url = parse_location(location)
        self._location = location
        self._bucket = url.authority
        self._root = f"{url.path}/" if url.path else ""
        self._make_client = make_client
        self._direct = direct
        self._settings = settings
        self._client: Any = None
        self._objects: S3Objects | None = None
        self._lock = threading.Lock()

    @property
    def location(self) -> str:
        """See :class:`~offload_backend.blobstore.BlobStore`."""
        return self._location

    def put(self, name: str, chunks: Iterable[Buffer]) -> None:
        """See :class:`~offload_backend.blobstore.BlobStore`."""
        target = self._target(name)
        parts = parts_of(chunks, self._settings.part_size)
        first = next(parts, [])
        second = next(parts, None)
        objects = self._transport()
        if second is None:
            objects.put(target, first)
            return
        every_part = chain((first, second), parts)
        del first, second  # or this frame would hold two parts in memory until the last one is sent
        concurrency = self._settings.concurrency
        MultipartUpload(objects, target, concurrency=concurrency).run(
            partial(_upload, objects, target, part) for part in every_part
        )

    def get(self, name: str) -> Iterator[bytes]:
        """See :class:`~offload_backend.blobstore.BlobStore`."""
        target = self._target(name)
        yield from read_object(self._asking(target), target.location, attempts=self._settings.max_attempts)

    def get_range(self, name: str, start: int, length: int) -> bytes:
        """See :class:`~offload_backend.blobstore.BlobStore`."""
        if start < 0 or length < 0:
            raise ValueError("start and length are not negative")
        target = self._target(name)
        # HTTP has no empty range: one byte is asked for, so that a missing blob is noticed all the same.
        chunks = read_object(
            self._asking(target),
            target.location,
            attempts=self._settings.max_attempts,
            start=start,
            end=start + max(length, 1),
        )
        try:
            return b"".join(chunks)[:length]
        except StoreError as error:
            if code_and_status(error.__cause__)[1] == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                return b""
            raise

    def read_into(self, name: str, start: int, buffer: memoryview, total: int) -> None:
        """See :class:`~offload_backend.blobstore.BlobStore`."""
        if start < 0:
            raise ValueError("start is not negative")
        if not buffer and total:
            start, buffer = 0, memoryview(bytearray(1))  # HTTP has no empty range
        target, attempts = self._target(name), self._settings.max_attempts
        ask = self._asking(target)
        fill_buffer(ask, target.location, attempts=attempts, start=start, buffer=buffer, total=total)

    def list(self, prefix: str = "") -> Iterator[BlobInfo]:
        """See :class:`~offload_backend.blobstore.BlobStore`."""
        request = {"Bucket": self._bucket, "Prefix": f"{self._root}{checked_prefix(prefix)}"}
        client, token = self._connected(), ""
        while True:
            with s3_errors("ListObjectsV2", self._location):
                page = client.list_objects_v2(**request, **({"ContinuationToken": token} if token else {}))
            if not page.get("Name") and "KeyCount" not in page:
                # Whoever answered, a proxy perhaps, its page without blobs says nothing about the bucket.
                raise StoreError(
                    "the answer to ListObjectsV2 is no listing",
                    reason="failed",
                    retryable=True,
                    location=self._location,
                    hint="check endpoint_url and what stands between worker and store",
                )
            for found in page.get("Contents", ()):
                name = str(found["Key"]).removeprefix(self._root)
                yield BlobInfo(name, int(found["Size"]), found["LastModified"])
            if not page.get("IsTruncated"):
                return
            previous, token = token, str(page.get("NextContinuationToken", ""))
            if token in ("", previous):
                raise StoreError("the store cut its list short", reason="failed", location=self._location)

    def delete(self, names: Sequence[str]) -> DeleteReport:
        """See :class:`~offload_backend.blobstore.BlobStore`."""
        wanted = tuple(dict.fromkeys(map(checked_name, names)))
        if not wanted:
            return DeleteReport()
        client = self._connected()
        try:
            failed = failed_deletes(wanted, _BATCH, lambda batch: self._delete_batch(client, batch))
        except _NoBatchesError:
            failed = failed_deletes(wanted, 1, lambda batch: self._delete_one(client, batch))
        return DeleteReport(tuple(name for name in wanted if name not in failed), failed)

    def _delete_batch(self, client: Any, names: Sequence[str]) -> dict[str, str]:
        """Delete up to 1,000 names. Those that are still there, with the store's reason."""
        objects = [{"Key": self._key(name)} for name in names]
        try:
            with s3_errors("DeleteObjects", self._location):
                answer = client.delete_objects(Bucket=self._bucket, Delete={"Objects": objects})
        except OffloadError as error:
            if code_and_status(error.__cause__)[0] in _NO_BATCHES:
                raise _NoBatchesError from error
            raise
        refused = {str(entry.get("Key")): str(entry.get("Code")) for entry in answer.get("Errors", ())}
        confirmed = {str(entry.get("Key")) for entry in answer.get("Deleted", ())}
        return {
            name: f"S3 refused DeleteObjects: {refused.get(key, 'no word on this object')}"
            for name in names
            if (key := self._key(name)) in refused or key not in confirmed
        }

    def _delete_one(self, client: Any, names: Sequence[str]) -> dict[str, str]:
        """Delete one name, for stores without DeleteObjects."""
        try:
            with s3_errors("DeleteObject", self._place(names[0])):
                client.delete_object(Bucket=self._bucket, Key=self._key(names[0]))
        except BlobNotFoundError:
            pass
        return {}

    def _asking(self, target: Target) -> Ask:
        return partial(self._transport().get, target)

    def _transport(self) -> S3Objects:
        """What sends the requests of the hot path."""
        if self._objects is None:
            self._objects = self._direct() or Boto3Objects(self._connected(), self._bucket)
        return self._objects

    def _connected(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = self._connect()
            return self._client

    def _connect(self) -> Any:
        config = client_config(self._settings)  # tells what to install, where botocore is missing
        from botocore.exceptions import BotoCoreError, ClientError

        # The causes are left out below: they quote values, which might be secrets in the wrong place.
        try:
            return self._make_client(config)
        except OffloadError:
            raise
        except (BotoCoreError, ClientError) as error:
            raise s3_error(error, "connecting", self._location) from None
        except ValueError:
            raise ConfigError(
                "the S3 client cannot be used: a value is malformed",
                location=self._location,
                hint="correct endpoint_url, with its http:// or https://, and region_name",
            ) from None

    def _key(self, name: str) -> str:
        return f"{self._root}{checked_name(name)}"

    def _place(self, name: str) -> str:
        return f"{self._location}/{name}"

    def _target(self, name: str) -> Target:
        return Target(self._key(name), self._place(name))


def _upload(objects: S3Objects, target: Target, part: Sequence[Buffer], upload_id: str, number: int) -> SentPart:
    return objects.send_part(target, upload_id, number, part)
