"""Blobs in S3, or in what speaks its language. Lists and deletes go through boto3, the hot path through a port."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from offload_backend.blobstore import BlobInfo, Buffer, DeleteReport, Stretch
from offload_backend.errors import ConfigError, OffloadError, StoreError
from offload_backend.location import checked_name, checked_prefix, parse_location
from offload_backend.settings import Settings
from offload_backend.stores.patience import FOR_A_DELETE, Patience, allowed_seconds
from offload_backend.stores.s3_boto3 import Boto3Objects
from offload_backend.stores.s3_client import asked, client_config, refuse_user_in
from offload_backend.stores.s3_delete import undeleted
from offload_backend.stores.s3_errors import code_and_status, s3_error
from offload_backend.stores.s3_objects import ObjectReader, S3Objects, Target
from offload_backend.stores.s3_read import Ask, fill_buffer, read_object
from offload_backend.stores.s3_write import Copying, write_object

if TYPE_CHECKING:
    from botocore.config import Config

__all__ = ["S3BlobStore"]

_REMEMBERED = 64


class S3BlobStore:
    """A blob store in a bucket. It asks only for the rights that a method needs.

    ``put`` needs s3:PutObject and s3:AbortMultipartUpload, ``get`` s3:GetObject, ``delete``
    s3:DeleteObject, ``list`` s3:ListBucket. A blob that fits into one part is one request, as is a
    ``get``. When the answer to the last request of a ``put`` is lost for good, ``put`` raises and yet the
    blob may be there.

    Nothing is made before its first use: ``make_client`` builds a client with a botocore ``Config``, and
    ``direct`` what sends the requests of the hot path without one, or ``None`` where that cannot be.
    ``encryption`` is what boto3 says of each new object.
    """

    def __init__(
        self,
        location: str,
        make_client: Callable[[Config], Any],
        settings: Settings,
        direct: Callable[[], S3Objects | None] = lambda: None,
        *,
        encryption: Mapping[str, Any] | None = None,
    ) -> None:
        url = parse_location(location)
        self._location = location
        self._bucket = url.authority
        self._root = f"{url.path}/" if url.path else ""
        self._make_client = make_client
        self._direct = direct
        self._settings = settings
        self._encryption = encryption or {}
        self._etags: deque[tuple[str, str]] = deque(maxlen=_REMEMBERED)
        self._objects: S3Objects | None = None
        self._lock = threading.Lock()
        self._client: Any = None
        self._owner = os.getpid()

    @property
    def location(self) -> str:
        """See :class:`~offload_backend.blobstore.BlobStore`."""
        return self._location

    @property
    def client(self) -> Any:
        """The boto3 client of this process, for what is asked of the bucket and not about blobs."""
        return self._connected()

    def put(self, name: str, chunks: Iterable[Buffer]) -> None:
        """See :class:`~offload_backend.blobstore.BlobStore`."""
        target = self._target(name)
        self._remember(name, write_object(self._transport(), target, chunks, self._settings, self._seconds()))

    def put_with_copies(self, name: str, stretches: Iterable[Stretch], source: str) -> int:
        """See :class:`~offload_backend.blobstore.CopiesRanges`.

        Copies only from a blob that this store itself put or read lately, so that nothing has to be asked first.
        """
        target, key = self._target(name), self._key(source)
        etag = dict(self._etags.copy()).get(source, "")
        if not etag:
            self.put(name, (buffer for stretch in stretches for buffer in stretch.buffers))
            return 0
        copying = Copying(self._transport(), target, key, etag)
        self._remember(name, copying.write(stretches, self._settings, self._seconds()))
        return copying.copied

    def get(self, name: str) -> Iterator[bytes]:
        """See :class:`~offload_backend.blobstore.BlobStore`."""
        place, ask = self._place(name), self._asking(name)
        yield from read_object(ask, place, Patience(self._seconds()))

    def get_range(self, name: str, start: int, length: int) -> bytes:
        """See :class:`~offload_backend.blobstore.BlobStore`."""
        if start < 0 or length < 0:
            raise ValueError("start and length are not negative")
        # HTTP has no empty range: one byte is asked for, so that a missing blob is noticed all the same.
        chunks = read_object(
            self._asking(name),
            self._place(name),
            Patience(self._seconds()),
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
        ask, place, patience = self._asking(name), self._place(name), Patience(self._seconds())
        fill_buffer(ask, place, patience, start=start, buffer=buffer, total=total)

    def list(self, prefix: str = "") -> Iterator[BlobInfo]:
        """See :class:`~offload_backend.blobstore.BlobStore`."""
        request = {"Bucket": self._bucket, "Prefix": f"{self._root}{checked_prefix(prefix)}"}
        client, token = self._connected(), ""
        while True:
            call = partial(client.list_objects_v2, **request, **({"ContinuationToken": token} if token else {}))
            page = asked(call, "ListObjectsV2", self._location, Patience(self._seconds()))
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
        keys = {name: self._key(name) for name in names}
        if not keys:
            return DeleteReport()
        seconds = min(self._seconds(), FOR_A_DELETE)
        failed = undeleted(self._connected(), self._bucket, keys, self._location, seconds)
        return DeleteReport(tuple(name for name in keys if name not in failed), failed)

    def _asking(self, name: str) -> Ask:
        target, objects = self._target(name), self._transport()

        def ask(start: int, end: int | None, etag: str, patience: Patience) -> ObjectReader:
            reader = objects.get(target, start, end, etag, patience)
            self._remember(name, reader.etag)
            return reader

        return ask

    def _remember(self, name: str, etag: str) -> None:
        # Appending is atomic: a lock might be held by another thread at the moment of a fork, for good.
        if (name, etag) not in self._etags.copy():
            self._etags.append((name, etag))

    def _transport(self) -> S3Objects:
        """What sends the requests of the hot path."""
        if self._objects is None:
            self._objects = self._direct() or Boto3Objects(self._connected, self._bucket, self._encryption)
        return self._objects

    def _connected(self) -> Any:
        """The boto3 client of this process: an inherited one would share its connections with the parent."""
        if self._owner != os.getpid():
            self._lock, self._client, self._owner = threading.Lock(), None, os.getpid()
        with self._lock:
            if self._client is None:
                self._client = self._connect()
            return self._client

    def _connect(self) -> Any:
        config = client_config(self._settings)  # tells what to install, where botocore is missing
        from botocore.exceptions import BotoCoreError, ClientError

        # The causes are left out below: they quote values, which might be secrets in the wrong place.
        try:
            client = self._make_client(config)
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
        refuse_user_in(client.meta.endpoint_url)
        return client

    def _seconds(self) -> float:
        return allowed_seconds(self._settings.give_up_after.total_seconds())

    def _key(self, name: str) -> str:
        return f"{self._root}{checked_name(name)}"

    def _place(self, name: str) -> str:
        return f"{self._location}/{name}"

    def _target(self, name: str) -> Target:
        return Target(self._key(name), self._place(name))
