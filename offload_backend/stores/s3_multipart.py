"""A multipart upload: whole or aborted."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeAlias

from offload_backend.errors import OffloadError, StoreError
from offload_backend.stores.patience import MOMENT, Patience
from offload_backend.stores.s3_errors import answer_was_lost, code_and_status
from offload_backend.stores.s3_objects import S3Objects, SentPart, Target

__all__ = ["MultipartUpload", "SendPart", "told"]

ABORT_SECONDS = 10.0
_STAYS_BEHIND = (
    "an unfinished multipart upload stays behind, which a lifecycle rule with "
    "AbortIncompleteMultipartUpload would remove"
)
_log = logging.getLogger(__name__)

SendPart: TypeAlias = Callable[[str, int, Patience], SentPart]
"""Sends one part, or has it copied: it gets the upload's id, the part's number, and how long it may take."""


def told(value: str, name: str, operation: str, target: Target) -> str:
    """The value that an answer has to hold; :class:`StoreError` where it is empty: a proxy's page, perhaps."""
    if not value:
        raise StoreError(
            f"the answer to {operation} holds no {name}",
            reason="failed",
            retryable=True,
            location=target.location,
            hint="check endpoint_url and what stands between worker and store",
        )
    return value


class MultipartUpload:
    """The upload of one blob in parts, ``concurrency`` of them in flight at a time.

    ``seconds`` is the patience with each request.
    """

    def __init__(self, objects: S3Objects, target: Target, *, concurrency: int, seconds: float) -> None:
        self._objects = objects
        self._target = target
        self._concurrency = concurrency
        self._seconds = seconds
        self._in_flight: dict[int, tuple[Patience, threading.Thread]] = {}
        self._given_up = False

    def run(self, parts: Iterable[SendPart]) -> str:
        """Send the parts and complete: the blob's ETag, or empty. Whatever is raised, also by ``parts``, the
        upload is aborted.

        What is in flight then is broken off, or has its answer within ``ABORT_SECONDS``, or a fifth of ``seconds``
        if that is less: so long, at most, the store is waited for, and the upload's threads live on.
        """
        upload_id = ""
        pool = ThreadPoolExecutor(self._concurrency, thread_name_prefix="offload-part")
        sending: list[Future[SentPart]] = []
        try:
            upload_id = self._objects.create(self._target, Patience(self._seconds))
            told(upload_id, "UploadId", "CreateMultipartUpload", self._target)
            self._send_all(upload_id, parts, pool, sending)
            return self._complete(upload_id, [future.result() for future in sending])
        except BaseException:
            if upload_id:
                self._give_up(upload_id, pool, sending)
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _send_all(
        self,
        upload_id: str,
        parts: Iterable[SendPart],
        pool: ThreadPoolExecutor,
        sending: list[Future[SentPart]],
    ) -> None:
        """Send every part; ``sending`` also tells what is in flight when this raises."""
        for number, part in enumerate(parts, start=1):
            if number > self._concurrency:
                sending[-self._concurrency].result()
            sending.append(pool.submit(copy_context().run, self._send, upload_id, number, part))
        pool.shutdown()

    def _send(self, upload_id: str, number: int, part: SendPart) -> SentPart:
        patience = Patience(self._seconds)
        self._in_flight[number] = patience, threading.current_thread()
        if self._given_up:  # which may have been noted before this part was
            patience.cut(0)
        try:
            sent = part(upload_id, number, patience)
        finally:
            del self._in_flight[number]
        told(sent.etag, "ETag", "UploadPart", self._target)
        return sent

    def _complete(self, upload_id: str, sent: list[SentPart]) -> str:
        patience = Patience(self._seconds)
        try:
            return self._objects.complete(self._target, upload_id, sent, patience)
        except OffloadError as error:
            if not (answer_was_lost(error.__cause__) and self._is_there(patience)):
                raise
            return ""

    def _is_there(self, patience: Patience) -> bool:
        """Whether the blob exists. Its name is this upload's alone, and it appears whole or not at all."""
        try:
            self._objects.get(self._target, 0, 1, "", patience).close()
        except OffloadError:
            return False
        return True

    def _give_up(self, upload_id: str, pool: ThreadPoolExecutor, sending: list[Future[SentPart]]) -> None:
        """Abort, and let nothing of the upload go on."""
        self._given_up = True
        pool.shutdown(wait=False, cancel_futures=True)
        seconds = min(ABORT_SECONDS, self._seconds / 5)
        in_flight = list(self._in_flight.values())
        for patience, _ in in_flight:
            patience.cut(seconds / 2)
        # What interrupts the start of a thread leaves one that the pool does not know, and `sending` nothing of.
        threads = [thread for _, thread in in_flight]
        again = bool(threads) or not all(future.done() for future in sending)
        # A thread of its own: whoever interrupts a second time is obeyed at once, and yet the upload is aborted.
        thread = threading.Thread(
            target=self._abort_all, args=(upload_id, pool, threads, Patience(seconds), again), name="offload-abort"
        )
        thread.daemon = True
        thread.start()
        thread.join(seconds + MOMENT)
        if thread.is_alive():
            _log.warning("the store has not answered %.1f s after an upload failed: %s", seconds, _STAYS_BEHIND)

    def _abort_all(
        self,
        upload_id: str,
        pool: ThreadPoolExecutor,
        threads: list[threading.Thread],
        patience: Patience,
        again: bool,
    ) -> None:
        self._abort(upload_id, patience)
        pool.shutdown()
        for thread in threads:
            thread.join()
        if again:
            # S3 may keep a part that arrives after the abort.
            self._abort(upload_id, patience)

    def _abort(self, upload_id: str, patience: Patience) -> None:
        try:
            self._objects.abort(self._target, upload_id, patience)
        except OffloadError as error:
            if code_and_status(error.__cause__)[0] != "NoSuchUpload":
                _log.warning("%s: %s", _STAYS_BEHIND, error)
