"""Wrappers around any blob store that count its calls or make them fail."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from offload_backend.blobstore import BlobInfo, BlobStore, Buffer, DeleteReport

__all__ = ["CountingBlobStore", "FaultyBlobStore", "Operation", "Schedule"]

Operation = Literal["put", "get", "get_range", "read_into", "list", "delete"]


class WrappedBlobStore:
    """A store that passes every call on; ``around`` is what a wrapper adds to it."""

    def __init__(self, inner: BlobStore) -> None:
        self.inner = inner

    @property
    def location(self) -> str:
        """The inner store's."""
        return self.inner.location

    def put(self, name: str, chunks: Iterable[Buffer]) -> None:
        """See :class:`~offload_backend.blobstore.BlobStore`."""
        self._before("put", (name,))
        self.inner.put(name, chunks)
        self._after("put")

    def get(self, name: str) -> Iterator[bytes]:
        """See :class:`~offload_backend.blobstore.BlobStore`."""
        self._before("get", (name,))
        yield from self._chunks(self.inner.get(name))
        self._after("get")

    def get_range(self, name: str, start: int, length: int) -> bytes:
        """See :class:`~offload_backend.blobstore.BlobStore`."""
        self._before("get_range", (name,))
        data = self.inner.get_range(name, start, length)
        self._after("get_range")
        return data

    def read_into(self, name: str, start: int, buffer: memoryview, total: int) -> None:
        """See :class:`~offload_backend.blobstore.BlobStore`."""
        self._before("read_into", (name,))
        self.inner.read_into(name, start, buffer, total)
        self._filled(buffer)
        self._after("read_into")

    def list(self, prefix: str = "") -> Iterator[BlobInfo]:
        """See :class:`~offload_backend.blobstore.BlobStore`."""
        self._before("list", (prefix,))
        yield from self._infos(self.inner.list(prefix))
        self._after("list")

    def delete(self, names: Sequence[str]) -> DeleteReport:
        """See :class:`~offload_backend.blobstore.BlobStore`."""
        self._before("delete", names)
        report = self.inner.delete(names)
        self._after("delete")
        return report

    def _before(self, operation: Operation, names: Sequence[str]) -> None:
        """Run before the inner store is asked."""

    def _after(self, operation: Operation) -> None:
        """Run when the inner store has done what was asked."""

    def _chunks(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        return chunks

    def _filled(self, buffer: memoryview) -> None:
        """Run when the inner store has filled the buffer."""

    def _infos(self, infos: Iterator[BlobInfo]) -> Iterator[BlobInfo]:
        return infos


class CountingBlobStore(WrappedBlobStore):
    """Counts calls by operation in ``calls``, and keeps in ``names`` what each was asked about, in order."""

    def __init__(self, inner: BlobStore) -> None:
        super().__init__(inner)
        self.calls: Counter[Operation] = Counter()
        self.names: dict[Operation, list[str]] = {}
        self._lock = threading.Lock()

    def _before(self, operation: Operation, names: Sequence[str]) -> None:
        with self._lock:
            self.calls[operation] += 1
            self.names.setdefault(operation, []).extend(names)


@dataclass(eq=False)
class _Fault:
    operation: str
    act: Callable[[], None]
    times: int | None
    after: int


class Schedule:
    """What is to happen at which calls, in the order in which it was asked for. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[_Fault] = []
        self._happened: list[_Fault] = []

    def add(self, operation: str, act: Callable[[], None], times: int | None = 1, after: int = 0) -> None:
        """Have ``act`` run at ``times`` calls (``None``: at every one), the first ``after`` calls left alone."""
        self._faults.append(_Fault(operation, act, times, after))

    def act(self, operation: str) -> None:
        """It is called: what was asked for happens, and raises what it raises."""
        with self._lock:
            fault = next((fault for fault in self._faults if fault.operation == operation), None)
            if fault is None:
                return
            if fault.after > 0:
                fault.after -= 1
                return
            if fault.times is None:
                self._happened.append(fault)
            else:
                fault.times -= 1
                if fault.times == 0:
                    self._faults.remove(fault)
        fault.act()

    @property
    def pending(self) -> list[str]:
        """The operations of what was asked for and has not happened as often; of what is endless, not once."""
        with self._lock:
            return [fault.operation for fault in self._faults if fault not in self._happened]


class FaultyBlobStore(WrappedBlobStore):
    """Fails, or takes its time, as often as it was told to; otherwise the inner store."""

    def __init__(self, inner: BlobStore) -> None:
        super().__init__(inner)
        self._lock = threading.Lock()
        self._faults_before = Schedule()
        self._faults_after = Schedule()
        self._cuts: list[tuple[int, BaseException]] = []
        self._tears: list[tuple[int, BaseException | None]] = []
        self._hidden: frozenset[str] = frozenset()

    def fail(self, operation: Operation, error: BaseException, times: int = 1) -> None:
        """The next calls raise before anything is done."""
        self.run_before(operation, _raiser(error), times)

    def lose_answer(self, operation: Operation, error: BaseException, times: int = 1) -> None:
        """The next calls do all that was asked, and raise then."""
        self.run_after(operation, _raiser(error), times)

    def delay(self, operation: Operation, seconds: float, times: int | None = 1) -> None:
        """The next calls wait first."""
        self.run_before(operation, lambda: time.sleep(seconds), times)

    def run_before(
        self, operation: Operation, action: Callable[[], None], times: int | None = 1, *, after: int = 0
    ) -> None:
        """The next calls first run something, such as what another process would do at that moment.

        ``times`` and ``after`` as in :meth:`Schedule.add`.
        """
        self._faults_before.add(operation, action, times, after)

    def run_after(
        self, operation: Operation, action: Callable[[], None], times: int | None = 1, *, after: int = 0
    ) -> None:
        """The next calls run something when they are done, before they return."""
        self._faults_after.add(operation, action, times, after)

    def cut(self, chunks: int, error: BaseException) -> None:
        """The next ``get`` raises after that many chunks."""
        self._cuts.append((chunks, error))

    def tear(self, filled: int, error: BaseException) -> None:
        """The next ``read_into`` raises after so many bytes; the rest of the buffer holds nonsense."""
        self._tears.append((filled, error))

    def garble(self, position: int = 0) -> None:
        """The next ``read_into`` leaves one wrong byte at this position of the buffer, and says nothing."""
        self._tears.append((position, None))

    def hide(self, names: Iterable[str]) -> None:
        """Listings leave these names out from now on, as a stale one would."""
        self._hidden = frozenset(names)

    @property
    def pending(self) -> list[str]:
        """The operations of faults that were asked for and have not happened, or not as often."""
        with self._lock:
            reads = ["get"] * len(self._cuts) + ["read_into"] * len(self._tears)
        return [*self._faults_before.pending, *self._faults_after.pending, *reads]

    def _before(self, operation: Operation, names: Sequence[str]) -> None:  # noqa: ARG002 - the wrapper's hook
        self._faults_before.act(operation)

    def _after(self, operation: Operation) -> None:
        self._faults_after.act(operation)

    def _chunks(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        with self._lock:
            cut = self._cuts.pop(0) if self._cuts else None
        if cut is None:
            yield from chunks
            return
        yield from islice(chunks, cut[0])
        raise cut[1]

    def _filled(self, buffer: memoryview) -> None:
        with self._lock:
            position, error = self._tears.pop(0) if self._tears else (len(buffer), None)
        wrong = buffer[position:] if error is not None else buffer[position : position + 1]
        wrong[:] = bytes(byte ^ 0xFF for byte in wrong)
        if error is not None:
            raise error

    def _infos(self, infos: Iterator[BlobInfo]) -> Iterator[BlobInfo]:
        return (info for info in infos if info.name not in self._hidden)


def _raiser(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act
