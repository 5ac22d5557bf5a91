"""S3's hot path through boto3: for everything that is configured in an unusual way, or where it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from offload_backend.blobstore import Buffer
from offload_backend.stores.parts import size_of
from offload_backend.stores.patience import Patience
from offload_backend.stores.s3_client import LeftAloneError, asked, one_try
from offload_backend.stores.s3_objects import CopySource, SentPart, Target

__all__ = ["Boto3Objects"]

_CHECKSUMS = frozenset({"ChecksumCRC32", "ChecksumCRC32C", "ChecksumCRC64NVME", "ChecksumSHA1", "ChecksumSHA256"})
_COPIED = 1024 * 1024
"""Bytes that are read at a time: urllib3 makes bytes of its own of as many as it is asked for, and copies them."""


class Boto3Objects:
    """The objects of a bucket; see :class:`~offload_backend.stores.s3_objects.S3Objects`.

    ``client`` gives the boto3 client of this process; ``encryption`` is what it says of each new object.
    """

    def __init__(self, client: Callable[[], Any], bucket: str, encryption: Mapping[str, Any]) -> None:
        self._client = client
        self._bucket = bucket
        self._encryption = encryption

    def put(self, target: Target, body: Sequence[Buffer], patience: Patience) -> str:
        """PutObject."""
        client = self._made(patience)
        request = {**self._named(target), **self._encryption, "Body": _joined(body)}
        patience.allow(size_of(body))
        answer = asked(partial(client.put_object, **request), "PutObject", target.location, patience)
        return str(answer.get("ETag", ""))

    def get(self, target: Target, start: int, end: int | None, etag: str, patience: Patience) -> _Reader:
        """GetObject."""
        condition = {"IfMatch": etag} if etag else {}
        if start or end is not None:
            condition["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
        client = self._made(patience)
        request = {**self._named(target), **condition}
        answer = asked(partial(client.get_object, **request), "GetObject", target.location, patience)
        return _Reader(answer, patience)

    def create(self, target: Target, patience: Patience) -> str:
        """CreateMultipartUpload."""
        client = self._made(patience)
        call = partial(client.create_multipart_upload, **self._named(target), **self._encryption)
        answer = asked(call, "CreateMultipartUpload", target.location, patience)
        return str(answer.get("UploadId", ""))

    def send_part(
        self, target: Target, upload_id: str, number: int, body: Sequence[Buffer], patience: Patience
    ) -> SentPart:
        """UploadPart."""
        request = {**self._named(target), "UploadId": upload_id, "PartNumber": number, "Body": _joined(body)}
        client = self._made(patience)
        patience.allow(size_of(body))
        answer = asked(partial(client.upload_part, **request), "UploadPart", target.location, patience)
        return _sent(number, answer)

    def copy_part(
        self, target: Target, upload_id: str, number: int, source: CopySource, patience: Patience
    ) -> SentPart:
        """UploadPartCopy."""
        request = {
            **self._named(target),
            "UploadId": upload_id,
            "PartNumber": number,
            "CopySource": {"Bucket": self._bucket, "Key": source.key},
            "CopySourceIfMatch": source.etag,
            "CopySourceRange": f"bytes={source.start}-{source.end - 1}",
        }
        client = self._made(patience)
        answer = asked(partial(client.upload_part_copy, **request), "UploadPartCopy", target.location, patience)
        return _sent(number, answer.get("CopyPartResult") or {})

    def complete(self, target: Target, upload_id: str, parts: Sequence[SentPart], patience: Patience) -> str:
        """CompleteMultipartUpload."""
        sent = [{"PartNumber": part.number, "ETag": part.etag, **dict(part.checksums)} for part in parts]
        request = {**self._named(target), "UploadId": upload_id, "MultipartUpload": {"Parts": sent}}
        client = self._made(patience)
        call = partial(client.complete_multipart_upload, **request)
        answer = asked(call, "CompleteMultipartUpload", target.location, patience)
        return str(answer.get("ETag", ""))

    def abort(self, target: Target, upload_id: str, patience: Patience) -> None:
        """AbortMultipartUpload."""
        client = self._made(patience)
        call = partial(client.abort_multipart_upload, **self._named(target), UploadId=upload_id)
        asked(call, "AbortMultipartUpload", target.location, patience)

    def _made(self, patience: Patience) -> Any:
        """The client. What it takes to make one is no fault of the store."""
        left = patience.left
        client = self._client()
        patience.left = left
        return client

    def _named(self, target: Target) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": target.key}


class _Reader:
    def __init__(self, answer: dict[str, Any], patience: Patience) -> None:
        self._body = answer["Body"]
        self._patience = patience
        self._is_left = False
        self.etag = str(answer.get("ETag", ""))
        self.content_range = str(answer.get("ContentRange", ""))
        length = answer.get("ContentLength")
        self.length = None if length is None else int(length)

    def read(self, size: int) -> bytes:
        return bytes(self._tried(lambda: self._body.read(size)))

    def readinto(self, buffer: memoryview) -> int:
        return int(self._tried(lambda: self._body.readinto(buffer[:_COPIED])))

    def close(self) -> None:
        if not self._is_left:  # to close it would wait for what still reads from it
            self._body.close()

    def _tried(self, call: Callable[[], Any]) -> Any:
        try:
            return one_try(call, self._patience, self._body.close)
        except LeftAloneError:
            self._is_left = True
            # Without it, an answer that trickles would be read for ever. botocore does not hand out what can do it.
            with suppress(AttributeError, OSError, ValueError):
                self._body._raw_stream.shutdown()  # noqa: SLF001
            raise


def _joined(body: Sequence[Buffer]) -> bytes | bytearray:
    """One buffer that botocore takes: it knows no views, and no lists of buffers."""
    if len(body) == 1 and isinstance(body[0], bytes | bytearray):
        return body[0]
    return b"".join(body)


def _sent(number: int, answer: dict[str, Any]) -> SentPart:
    # Whichever checksum the client chose to send has to be repeated when completing.
    checksums = tuple((name, str(value)) for name, value in answer.items() if name in _CHECKSUMS)
    return SentPart(number, str(answer.get("ETag", "")), checksums)
