"""S3's hot path through boto3: for everything that is configured in an unusual way, or where it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from offload_backend.blobstore import Buffer
from offload_backend.stores.s3_errors import NoAnswerError, s3_errors
from offload_backend.stores.s3_objects import CopySource, SentPart, Target

__all__ = ["Boto3Objects"]

_CHECKSUMS = frozenset({"ChecksumCRC32", "ChecksumCRC32C", "ChecksumCRC64NVME", "ChecksumSHA1", "ChecksumSHA256"})
_COPIED = 1024 * 1024
"""Bytes that are read at a time: urllib3 makes bytes of its own of as many as it is asked for, and copies them."""


class Boto3Objects:
    """The objects of a bucket; see :class:`~offload_backend.stores.s3_objects.S3Objects`.

    ``client`` gives the boto3 client of this process.
    """

    def __init__(self, client: Callable[[], Any], bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def put(self, target: Target, body: Sequence[Buffer]) -> str:
        """PutObject."""
        client = self._client()
        with s3_errors("PutObject", target.location):
            answer = client.put_object(**self._named(target), Body=_joined(body))
        return str(answer.get("ETag", ""))

    def get(self, target: Target, start: int, end: int | None, etag: str) -> _Reader:
        """GetObject."""
        condition = {"IfMatch": etag} if etag else {}
        if start or end is not None:
            condition["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
        client = self._client()
        with s3_errors("GetObject", target.location):
            return _Reader(client.get_object(**self._named(target), **condition))

    def create(self, target: Target) -> str:
        """CreateMultipartUpload."""
        client = self._client()
        with s3_errors("CreateMultipartUpload", target.location):
            answer = client.create_multipart_upload(**self._named(target))
        return str(answer.get("UploadId", ""))

    def send_part(self, target: Target, upload_id: str, number: int, body: Sequence[Buffer]) -> SentPart:
        """UploadPart."""
        request = {**self._named(target), "UploadId": upload_id, "PartNumber": number}
        client = self._client()
        with s3_errors("UploadPart", target.location):
            answer = client.upload_part(**request, Body=_joined(body))
        return _sent(number, answer)

    def copy_part(self, target: Target, upload_id: str, number: int, source: CopySource) -> SentPart:
        """UploadPartCopy."""
        request = {
            **self._named(target),
            "UploadId": upload_id,
            "PartNumber": number,
            "CopySource": {"Bucket": self._bucket, "Key": source.key},
            "CopySourceIfMatch": source.etag,
            "CopySourceRange": f"bytes={source.start}-{source.end - 1}",
        }
        client = self._client()
        with s3_errors("UploadPartCopy", target.location):
            answer = client.upload_part_copy(**request)
        return _sent(number, answer.get("CopyPartResult") or {})

    def complete(self, target: Target, upload_id: str, parts: Sequence[SentPart]) -> str:
        """CompleteMultipartUpload."""
        sent = [{"PartNumber": part.number, "ETag": part.etag, **dict(part.checksums)} for part in parts]
        client = self._client()
        with s3_errors("CompleteMultipartUpload", target.location):
            answer = client.complete_multipart_upload(
                **self._named(target), UploadId=upload_id, MultipartUpload={"Parts": sent}
            )
        return str(answer.get("ETag", ""))

    def abort(self, target: Target, upload_id: str) -> None:
        """AbortMultipartUpload."""
        client = self._client()
        with s3_errors("AbortMultipartUpload", target.location):
            client.abort_multipart_upload(**self._named(target), UploadId=upload_id)

    def _named(self, target: Target) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": target.key}


class _Reader:
    def __init__(self, answer: dict[str, Any]) -> None:
        self._body = answer["Body"]
        self.etag = str(answer.get("ETag", ""))
        self.content_range = str(answer.get("ContentRange", ""))
        length = answer.get("ContentLength")
        self.length = None if length is None else int(length)

    def read(self, size: int) -> bytes:
        from botocore.exceptions import HTTPClientError, IncompleteReadError

        try:
            return bytes(self._body.read(size))
        except (HTTPClientError, IncompleteReadError, OSError) as error:
            raise NoAnswerError(type(error).__name__) from error

    def readinto(self, buffer: memoryview) -> int:
        from botocore.exceptions import HTTPClientError, IncompleteReadError

        try:
            return int(self._body.readinto(buffer[:_COPIED]))
        except (HTTPClientError, IncompleteReadError, OSError) as error:
            raise NoAnswerError(type(error).__name__) from error

    def close(self) -> None:
        self._body.close()


def _joined(body: Sequence[Buffer]) -> bytes | bytearray:
    """One buffer that botocore takes: it knows no views, and no lists of buffers."""
    if len(body) == 1 and isinstance(body[0], bytes | bytearray):
        return body[0]
    return b"".join(body)


def _sent(number: int, answer: dict[str, Any]) -> SentPart:
    # Whichever checksum the client chose to send has to be repeated when completing.
    checksums = tuple((name, str(value)) for name, value in answer.items() if name in _CHECKSUMS)
    return SentPart(number, str(answer.get("ETag", "")), checksums)
