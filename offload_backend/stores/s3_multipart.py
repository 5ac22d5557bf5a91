"""A multipart upload: whole or aborted."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from offload_backend.errors import OffloadError
from offload_backend.stores.s3_errors import code_and_status, s3_error, s3_errors

__all__ = ["MultipartUpload"]

_log = logging.getLogger(__name__)


class MultipartUpload:
    """The upload of one blob in parts, ``concurrency`` of them in flight at a time."""

    def __init__(self, client: Any, bucket: str, key: str, *, location: str, concurrency: int) -> None:
        self._client = client
        self._target = {"Bucket": bucket, "Key": key}
        self._location = location
        self._concurrency = concurrency

    def run(self, parts: Iterator[bytearray]) -> None:
        """Upload the parts and complete. Whatever is raised, also by ``parts``, the upload is aborted."""
        with s3_errors("CreateMultipartUpload", self._location):
            upload_id = self._client.create_multipart_upload(**self._target)["UploadId"]
        try:
            self._complete(upload_id, self._send_all(upload_id, parts))
        except BaseException:
            self._abort(upload_id)
            raise

    def _send_all(self, upload_id: str, parts: Iterator[bytearray]) -> list[dict[str, Any]]:
        """Send every part; none is in flight any more when this returns or raises."""
        sent: list[dict[str, Any]] = []
        in_flight: deque[Future[dict[str, Any]]] = deque()
        with ThreadPoolExecutor(self._concurrency, thread_name_prefix="offload-part") as pool:
            for number, part in enumerate(parts, start=1):
                if len(in_flight) == self._concurrency:
                    sent.append(in_flight.popleft().result())
                in_flight.append(pool.submit(self._send, upload_id, number, part))
            sent += [future.result() for future in in_flight]
        return sent

    def _send(self, upload_id: str, number: int, part: bytearray) -> dict[str, Any]:
        with s3_errors("UploadPart", self._location):
            answer = self._client.upload_part(**self._target, UploadId=upload_id, PartNumber=number, Body=part)
        # Whichever checksum the client chose to send has to be repeated when completing.
        checksums = {name: value for name, value in answer.items() if name in _CHECKSUMS}
        return {"PartNumber": number, "ETag": answer["ETag"], **checksums}

    def _complete(self, upload_id: str, sent: list[dict[str, Any]]) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self._client.complete_multipart_upload(
                **self._target, UploadId=upload_id, MultipartUpload={"Parts": sent}
            )
        except (BotoCoreError, ClientError) as error:
            if not (_answer_was_lost(error) and self._is_there()):
                raise s3_error(error, "CompleteMultipartUpload", self._location) from error

    def _is_there(self) -> bool:
        """Whether the blob exists. Its name is this upload's alone, and it appears whole or not at all."""
        try:
            with s3_errors("GetObject", self._location):
                self._client.get_object(**self._target, Range="bytes=0-0")["Body"].close()
        except OffloadError:
            return False
        return True

    def _abort(self, upload_id: str) -> None:
        try:
            with s3_errors("AbortMultipartUpload", self._location):
                self._client.abort_multipart_upload(**self._target, UploadId=upload_id)
        except OffloadError as error:
            _log.warning(
                "an unfinished multipart upload stays behind, which a lifecycle rule with "
                "AbortIncompleteMultipartUpload would remove: %s",
                error,
            )


_CHECKSUMS = frozenset({"ChecksumCRC32", "ChecksumCRC32C", "ChecksumCRC64NVME", "ChecksumSHA1", "ChecksumSHA256"})


def _answer_was_lost(error: Exception) -> bool:
    """Whether a repeated request met an upload that its first try had completed."""
    metadata = getattr(error, "response", {}).get("ResponseMetadata", {})
    return code_and_status(error)[0] == "NoSuchUpload" and metadata.get("RetryAttempts", 0) > 0
