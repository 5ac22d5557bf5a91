"""What a bucket says about itself, asked with the credentials of its blobs. Only ``offload doctor`` asks."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any

from offload_backend.blobstore import BlobStore
from offload_backend.bucket import Identity, LifecycleRule, Upload
from offload_backend.errors import StoreError
from offload_backend.location import parse_location
from offload_backend.stores.patience import Patience
from offload_backend.stores.s3 import S3BlobStore
from offload_backend.stores.s3_client import asked
from offload_backend.stores.s3_errors import code_and_status

__all__ = ["S3Bucket", "bucket_of"]

_ARCHIVES = frozenset({"GLACIER", "DEEP_ARCHIVE"})
_AMAZON = ("amazonaws.com", "amazonaws.com.cn")
_ABSENT = "NoSuchLifecycleConfiguration"
_NO_UPLOAD = "NoSuchUpload"


def bucket_of(store: BlobStore, seconds: float) -> S3Bucket | None:
    """The bucket of a store that boto3 serves, ``None`` of any other; each question may take ``seconds``."""
    return S3Bucket(store, seconds) if isinstance(store, S3BlobStore) else None


class S3Bucket:
    """See :class:`~offload_backend.bucket.Bucket`."""

    def __init__(self, store: S3BlobStore, seconds: float) -> None:
        url = parse_location(store.location)
        self._store = store
        self._seconds = seconds
        self.name = url.authority
        self.prefix = f"{url.path}/" if url.path else ""

    def identity(self) -> Identity:
        """See :class:`~offload_backend.bucket.Bucket`. What is not Amazon's is asked at its own endpoint."""
        client = self._store.client
        credentials = client._request_signer._credentials  # noqa: SLF001 - no public way to those that sign
        source = str(getattr(credentials, "method", ""))
        if credentials is None:
            raise StoreError(
                "there are no credentials",
                reason="no-credentials",
                hint="name a connection in [offload_backend] path, or give the process AWS credentials",
            )
        answer = self._asked(lambda: _sts(client, credentials).get_caller_identity(), "GetCallerIdentity")
        return Identity(str(answer.get("Arn", "")), source)

    def versioning(self) -> str:
        """See :class:`~offload_backend.bucket.Bucket`."""
        call = partial(self._store.client.get_bucket_versioning, Bucket=self.name)
        return str(self._asked(call, "GetBucketVersioning").get("Status", ""))

    def rules(self) -> list[LifecycleRule]:
        """See :class:`~offload_backend.bucket.Bucket`."""
        call = partial(self._store.client.get_bucket_lifecycle_configuration, Bucket=self.name)
        try:
            found = self._asked(call, "GetBucketLifecycleConfiguration").get("Rules", ())
        except StoreError as error:
            if code_and_status(error.__cause__)[0] == _ABSENT:
                return []
            raise
        return [_rule(entry) for entry in found if entry.get("Status") == "Enabled"]

    def uploads(self, prefix: str) -> Iterator[Upload]:
        """See :class:`~offload_backend.bucket.Bucket`."""
        request: dict[str, Any] = {"Bucket": self.name, "Prefix": f"{self.prefix}{prefix}"}
        while True:
            call = partial(self._store.client.list_multipart_uploads, **request)
            page = self._asked(call, "ListMultipartUploads")
            for found in page.get("Uploads", ()):
                name = str(found["Key"]).removeprefix(self.prefix)
                yield Upload(name, str(found["UploadId"]), found["Initiated"])
            markers = page.get("NextKeyMarker", ""), page.get("NextUploadIdMarker", "")
            if not page.get("IsTruncated") or markers == (request.get("KeyMarker"), request.get("UploadIdMarker")):
                return
            request |= {"KeyMarker": markers[0], "UploadIdMarker": markers[1]}

    def uploaded(self, upload: Upload) -> int:
        """See :class:`~offload_backend.bucket.Bucket`; of more than a thousand parts, the first thousand."""
        call = partial(self._store.client.list_parts, **self._place(upload.name), UploadId=upload.id)
        return sum(int(part["Size"]) for part in self._asked(call, "ListParts").get("Parts", ()))

    def abort(self, upload: Upload) -> None:
        """See :class:`~offload_backend.bucket.Bucket`."""
        call = partial(self._store.client.abort_multipart_upload, **self._place(upload.name), UploadId=upload.id)
        try:
            self._asked(call, "AbortMultipartUpload")
        except StoreError as error:
            if code_and_status(error.__cause__)[0] != _NO_UPLOAD:
                raise

    def require_abort(self, name: str) -> None:
        """See :class:`~offload_backend.bucket.Bucket`. S3 judges the right before it looks for the upload."""
        self.abort(Upload(name, uuid.uuid4().hex, datetime.now(timezone.utc)))

    def now(self) -> datetime:
        """See :class:`~offload_backend.bucket.Bucket`: what the ``Date`` of an answer says, be it a refusal."""
        heard: list[str] = []

        def call() -> None:
            from botocore.exceptions import ClientError

            try:
                answer = self._store.client.head_bucket(Bucket=self.name)
            except ClientError as error:
                answer = error.response
            heard.append(str(answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")))

        self._asked(call, "HeadBucket")
        try:
            return parsedate_to_datetime(heard[-1]).astimezone(timezone.utc)
        except (TypeError, ValueError):
            raise StoreError("the store's answers have no date", reason="failed") from None

    def _place(self, name: str) -> dict[str, str]:
        return {"Bucket": self.name, "Key": f"{self.prefix}{name}"}

    def _asked(self, call: Callable[[], Any], operation: str) -> Any:
        return asked(call, operation, self._store.location, Patience(self._seconds))


def _sts(client: Any, credentials: Any) -> Any:
    """A client that says who has these credentials, where the client of the bucket would look."""
    from boto3.session import Session
    from botocore.config import Config

    frozen, own = credentials.get_frozen_credentials(), client.meta.config
    config = Config(
        connect_timeout=own.connect_timeout, read_timeout=own.read_timeout, retries={"total_max_attempts": 1}
    )
    host = client.meta.endpoint_url.partition("://")[2].partition("/")[0].partition(":")[0]
    session = Session(frozen.access_key, frozen.secret_key, frozen.token, region_name=client.meta.region_name)
    if host.endswith(_AMAZON) or "AWS_ENDPOINT_URL_STS" in os.environ:
        return session.client("sts", config=config)
    http = getattr(client._endpoint, "http_session", None)  # noqa: SLF001 - the same trust in the same endpoint
    verify = getattr(http, "_verify", None)
    return session.client("sts", endpoint_url=client.meta.endpoint_url, config=config, verify=verify)


def _rule(entry: dict[str, Any]) -> LifecycleRule:
    """A rule of either form: with a filter, or with a prefix alone as in the days before there were filters."""
    own = entry.get("Filter") or {}
    both = {**own, **(own.get("And") or {})}
    expiration = entry.get("Expiration") or {}
    days, date = expiration.get("Days"), expiration.get("Date")
    classes = [str(step.get("StorageClass")) for step in entry.get("Transitions", ())]
    archives = [name for name in classes if name in _ARCHIVES]
    return LifecycleRule(
        id=str(entry.get("ID", "")),
        prefix=str(both.get("Prefix", entry.get("Prefix", ""))),
        tagged=bool(both.get("Tag") or both.get("Tags")),
        sized=bool({"ObjectSizeGreaterThan", "ObjectSizeLessThan"} & both.keys()),
        expires=f"after {days} days" if days else f"on {date:%Y-%m-%d}" if date else "",
        expire_days=days,
        archives=archives[0] if archives else "",
        noncurrent_days=(entry.get("NoncurrentVersionExpiration") or {}).get("NoncurrentDays"),
        abort_days=(entry.get("AbortIncompleteMultipartUpload") or {}).get("DaysAfterInitiation"),
    )
