"""S3's hot path without an SDK: nothing worth mentioning to import, no copies, nothing that minds a fork.

Only what :mod:`~offload_backend.stores.s3_endpoint` understands completely comes here; boto3 serves the rest.
"""

from __future__ import annotations

import zlib
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from offload_backend.blobstore import Buffer
from offload_backend.settings import Settings
from offload_backend.stores.patience import Patience
from offload_backend.stores.s3_configured import configured
from offload_backend.stores.s3_credentials import credentials_of
from offload_backend.stores.s3_encryption import headers_for, told_of_encryption
from offload_backend.stores.s3_endpoint import endpoint_of
from offload_backend.stores.s3_http import Answer
from offload_backend.stores.s3_objects import CopySource, SentPart, Target
from offload_backend.stores.s3_requests import Request, Requests
from offload_backend.stores.s3_xml import complete_upload

__all__ = ["DirectObjects", "direct_objects"]


class DirectObjects:
    """The objects of ``bucket``, over HTTP; see :class:`~offload_backend.stores.s3_objects.S3Objects`.

    ``checksums``: every body goes with its CRC-32, which the store compares with what arrived. ``encryption``
    holds the headers that say how each new object is encrypted.
    """

    def __init__(self, bucket: str, requests: Requests, *, checksums: bool, encryption: Mapping[str, str]) -> None:
        self._bucket = bucket
        self._requests = requests
        self._checksums = checksums
        self._encryption = encryption

    def put(self, target: Target, body: Sequence[Buffer], patience: Patience) -> str:
        """PutObject."""
        headers = {**self._checksum(body), **self._encryption}
        request = Request("PutObject", "PUT", target, headers=headers, body=body)
        return self._requests.send(request, patience).etag

    def get(self, target: Target, start: int, end: int | None, etag: str, patience: Patience) -> Answer:
        """GetObject."""
        headers = {"if-match": etag} if etag else {}
        if start or end is not None:
            headers["range"] = f"bytes={start}-{'' if end is None else end - 1}"
        return self._requests.open(Request("GetObject", "GET", target, headers=headers), patience)

    def create(self, target: Target, patience: Patience) -> str:
        """CreateMultipartUpload."""
        headers = {**({"x-amz-checksum-algorithm": "CRC32"} if self._checksums else {}), **self._encryption}
        request = Request("CreateMultipartUpload", "POST", target, (("uploads", ""),), headers)
        return self._requests.send(request, patience).texts.get("UploadId", "")

    def send_part(
        self, target: Target, upload_id: str, number: int, body: Sequence[Buffer], patience: Patience
    ) -> SentPart:
        """UploadPart."""
        headers = self._checksum(body)
        request = Request("UploadPart", "PUT", target, _part(upload_id, number), headers, body)
        checksums = tuple(("ChecksumCRC32", value) for value in headers.values())
        return SentPart(number, self._requests.send(request, patience).etag, checksums)

    def copy_part(
        self, target: Target, upload_id: str, number: int, source: CopySource, patience: Patience
    ) -> SentPart:
        """UploadPartCopy."""
        headers = {
            "x-amz-copy-source": quote(f"{self._bucket}/{source.key}", safe="/~"),
            "x-amz-copy-source-if-match": source.etag,
            "x-amz-copy-source-range": f"bytes={source.start}-{source.end - 1}",
        }
        query = _part(upload_id, number)
        request = Request("UploadPartCopy", "PUT", target, query, headers, result="CopyPartResult")
        texts = self._requests.send(request, patience).texts
        checksum = texts.get("ChecksumCRC32", "")
        return SentPart(number, texts.get("ETag", ""), (("ChecksumCRC32", checksum),) if checksum else ())

    def complete(self, target: Target, upload_id: str, parts: Sequence[SentPart], patience: Patience) -> str:
        """CompleteMultipartUpload."""
        body, query = [complete_upload(parts)], (("uploadId", upload_id),)
        request = Request(
            "CompleteMultipartUpload", "POST", target, query, {}, body, result="CompleteMultipartUploadResult"
        )
        return self._requests.send(request, patience).texts.get("ETag", "")

    def abort(self, target: Target, upload_id: str, patience: Patience) -> None:
        """AbortMultipartUpload."""
        request = Request("AbortMultipartUpload", "DELETE", target, (("uploadId", upload_id),))
        self._requests.send(request, patience)

    def _checksum(self, body: Sequence[Buffer]) -> dict[str, str]:
        if not self._checksums:
            return {}
        checksum = 0
        for buffer in body:
            checksum = zlib.crc32(buffer, checksum)
        return {"x-amz-checksum-crc32": b64encode(checksum.to_bytes(4, "big")).decode()}


def _part(upload_id: str, number: int) -> tuple[tuple[str, str], ...]:
    return ("partNumber", str(number)), ("uploadId", upload_id)


def direct_objects(bucket: str, options: Mapping[str, Any], settings: Settings) -> DirectObjects | None:
    """The objects of a bucket, by ``storage_options``; ``None`` where only boto3 will do."""
    found = configured(options)
    endpoint = endpoint_of(bucket, found) if found else None
    if found is None or endpoint is None:
        return None
    requests = Requests(endpoint, credentials_of(found), settings)
    headers = headers_for(told_of_encryption(options))
    return DirectObjects(bucket, requests, checksums=found.checksums, encryption=headers)
