"""What can go wrong with a task's state, in the words of who writes the task."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from offload_backend.errors import CoreStoreError, StoreError
from offload_backend.testing.faults import FaultyBlobStore, Schedule

if TYPE_CHECKING:
    from offload_backend.blobstore import BlobStore

__all__ = ["Killed", "StateFaults"]


_HINT = "see what the test has asked of offload_faults"


class Killed(BaseException):
    """The attempt's process is gone, as after SIGKILL: nothing that would run at its end runs.

    No :class:`Exception`, so that the code under test does not take it for an error of its own.
    """


class StateFaults:
    """Each method says what the next calls meet; everything else works.

    ``times`` is how many calls, ``None`` for all of them; the first ``after`` calls are left alone. Only values
    that are offloaded meet the storage, which by default, in ``offload_settings``, are all of them. A fault that
    was asked for and did not happen fails the test.
    """

    Killed = Killed

    def __init__(self, store: BlobStore) -> None:
        self.blobs = FaultyBlobStore(store)
        self.rows = Schedule()

    def fail_upload(self, *, times: int | None = 1, after: int = 0) -> None:
        """``set`` raises :class:`StoreError`, retryable: the storage cannot be reached. Nothing is stored."""
        self.blobs.run_before("put", _unreachable, times, after=after)

    def deny_upload(self, *, times: int | None = None) -> None:
        """``set`` raises :class:`StoreError` with ``reason="denied"``: the credentials may not write."""
        self.blobs.run_before("put", _denied, times)

    def lose_upload_answer(self, *, times: int | None = 1, after: int = 0) -> None:
        """``set`` raises as by :meth:`fail_upload`, and yet the blob was stored. It is an orphan then."""
        self.blobs.run_after("put", _unreachable, times, after=after)

    def slow_upload(self, seconds: float, *, times: int | None = 1) -> None:
        """``set`` takes this much longer."""
        self.blobs.delay("put", seconds, times)

    def fail_download(self, *, times: int | None = 1, after: int = 0) -> None:
        """``get`` raises :class:`StoreError`, retryable: the storage cannot be reached."""
        self.blobs.run_before("read_into", _unreachable, times, after=after)

    def deny_download(self, *, times: int | None = None) -> None:
        """``get`` raises :class:`StoreError` with ``reason="denied"``: the credentials may not read."""
        self.blobs.run_before("read_into", _denied, times)

    def tear_download(self) -> None:
        """The next ``get`` raises :class:`StoreError`: the connection breaks after a few bytes."""
        self.blobs.tear(8, _store_error("unreachable"))

    def damage_download(self) -> None:
        """The next ``get`` raises :class:`BlobCorruptError`: one byte of what it reads is not what was written."""
        self.blobs.garble()

    def slow_download(self, seconds: float, *, times: int | None = 1) -> None:
        """``get`` takes this much longer."""
        self.blobs.delay("read_into", seconds, times)

    def refuse_row(self, *, times: int | None = 1, after: int = 0) -> None:
        """``set``, ``delete`` or ``clear`` reaches a database that refuses to change the row.

        Raised is :class:`CoreStoreError`; with Airflow's accessors, what they raise when the API server refuses.
        What ``set`` has uploaded is an orphan then.
        """
        self.rows.add("before", _refuse, times, after)

    def kill_before_upload(self, *, after: int = 0) -> None:
        """The process dies in ``set``, with nothing stored: :class:`Killed`."""
        self.blobs.run_before("put", _kill, after=after)

    def kill_before_row(self, *, after: int = 0) -> None:
        """The process dies in ``set``, with the blob stored and the row as it was. The blob is an orphan."""
        self.rows.add("before", _kill, 1, after)

    def kill_after_row(self, *, after: int = 0) -> None:
        """The process dies in ``set``, with the row written; the blob that it replaced may stay, an orphan."""
        self.rows.add("after", _kill, 1, after)

    def lose_blobs(self) -> None:
        """Every blob that is there is deleted, at once, as by a lifecycle rule of the bucket: refs dangle."""
        store = self.blobs.inner
        store.delete([info.name for info in store.list()])

    @property
    def pending(self) -> list[str]:
        """What was asked for and has not happened, or not as often."""
        names = {"put": "upload", "read_into": "download"}
        return [names[operation] for operation in self.blobs.pending] + ["row"] * len(self.rows.pending)


def _store_error(reason: str) -> StoreError:
    return StoreError("the test asked for this", reason=reason, retryable=reason == "unreachable", hint=_HINT)


def _unreachable() -> NoReturn:
    raise _store_error("unreachable")


def _denied() -> NoReturn:
    raise _store_error("denied")


def _refuse() -> NoReturn:
    raise CoreStoreError("the test asked for this", retryable=True, hint=_HINT)


def _kill() -> NoReturn:
    raise Killed("the test asked for this")
