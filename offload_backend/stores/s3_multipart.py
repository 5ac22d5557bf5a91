"""A multipart upload: whole or aborted."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from offload_backend.errors import OffloadError, StoreError
from offload_backend.stores.s3_errors import code_and_status, s3_error, s3_errors

__all__ = ["MultipartUpload"]

ABORT_SECONDS = 10
_log = logging.getLogger(__name__)


class MultipartUpload:
    """The upload of one blob in parts, ``concurrency`` of them in flight at a time."""

    def __init__(self, client: Any, bucket: str, key: str, *, location: str, concurrency: int) -> None:
        self._client = client
        self._target = {"Bucket": bucket, "Key": key}
        self._location = location
        self._concurrency = concurrency

    def run(self, parts: Iterator[bytearray]) -> None:
        """Upload the parts and complete. Whatever is raised, also by ``parts``, the upload is aborted.

        A store that has stopped answering is waited for no longer than ``ABORT_SECONDS``, and then in
        the background.
        """
        upload_id = ""
        pool = ThreadPoolExecutor(self._concurrency, thread_name_prefix="offload-part")
        sending: list[Future[dict[str, Any]]] = []
        try:
            upload_id = self._create()
            self._send_all(upload_id, parts, pool, sending)
            self._complete(upload_id, [future.result() for future in sending])
        except BaseException:
            if upload_id:
                self._give_up(upload_id, pool, sending)
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _create(self) -> str:
        with s3_errors("CreateMultipartUpload", self._location):
            answer = self._client.create_multipart_upload(**self._target)
        return self._told(answer, "UploadId", "CreateMultipartUpload")

    def _send_all(
        self,
        upload_id: str,
        parts: Iterator[bytearray],
        pool: ThreadPoolExecutor,
        sending: list[Future[dict[str, Any]]],
    ) -> None:
        """Send every part; ``sending`` also tells what is in flight when this raises."""
        for number, part in enumerate(parts, start=1):
            if number > self._concurrency:
                sending[-self._concurrency].result()
            sending.append(pool.submit(self._send, upload_id, number, part))
        pool.shutdown()

    def _send(self, upload_id: str, number: int, part: bytearray) -> dict[str, Any]:
        with s3_errors("UploadPart", self._location):
            answer = self._client.upload_part(**self._target, UploadId=upload_id, PartNumber=number, Body=part)
        # Whichever checksum the client chose to send has to be repeated when completing.
        checksums = {name: value for name, value in answer.items() if name in _CHECKSUMS}
        return {"PartNumber": number, "ETag": self._told(answer, "ETag", "UploadPart"), **checksums}

    def _told(self, answer: dict[str, Any], name: str, operation: str) -> str:
        value = answer.get(name)
        if not value:
            raise StoreError(
                f"the answer to {operation} holds no {name}",
                reason="failed",
                retryable=True,
                location=self._location,
                hint="check endpoint_url and what stands between worker and store",
            )
        return str(value)

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

    def _give_up(self, upload_id: str, pool: ThreadPoolExecutor, sending: list[Future[dict[str, Any]]]) -> None:
        """Abort, waiting for it no longer than ``ABORT_SECONDS``."""
        pool.shutdown(wait=False, cancel_futures=True)
        in_flight = not all(future.done() for future in sending)
        # A thread of its own: whoever raised, a task's timeout perhaps, must not wait for every retry.
        thread = threading.Thread(
            target=self._abort_all, args=(upload_id, pool, in_flight), name="offload-abort", daemon=True
        )
        thread.start()
        thread.join(ABORT_SECONDS)
        if thread.is_alive():
            _log.warning("the store has not answered %d s after an upload failed: %s", ABORT_SECONDS, _STAYS_BEHIND)

    def _abort_all(self, upload_id: str, pool: ThreadPoolExecutor, in_flight: bool) -> None:
        self._abort(upload_id)
        if in_flight:
            # S3 may keep a part that arrives after the abort.
            pool.shutdown()
            self._abort(upload_id)

    def _abort(self, upload_id: str) -> None:
        try:
            with s3_errors("AbortMultipartUpload", self._location):
                self._client.abort_multipart_upload(**self._target, UploadId=upload_id)
        except OffloadError as error:
            if code_and_status(error.__cause__)[0] != "NoSuchUpload":
                _log.warning("%s: %s", _STAYS_BEHIND, error)


_STAYS_BEHIND = (
    "an unfinished multipart upload stays behind, which a lifecycle rule with "
    "AbortIncompleteMultipartUpload would remove"
)
_CHECKSUMS = frozenset({"ChecksumCRC32", "ChecksumCRC32C", "ChecksumCRC64NVME", "ChecksumSHA1", "ChecksumSHA256"})


def _answer_was_lost(error: Exception) -> bool:
    """Whether a repeated request met an upload that its first try had completed."""
    metadata = getattr(error, "response", {}).get("ResponseMetadata", {})
    return code_and_status(error)[0] == "NoSuchUpload" and metadata.get("RetryAttempts", 0) > 0
