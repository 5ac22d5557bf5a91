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

__all__ = ["CountingBlobStore", "FaultyBlobStore", "Operation"]

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


@dataclass
class _Fault:
    operation: Operation
    times: int
    act: Callable[[], None]


class FaultyBlobStore(WrappedBlobStore):
    """Fails, or takes its time, as often as it was told to; otherwise the inner store."""

    def __init__(self, inner: BlobStore) -> None:
        super().__init__(inner)
        self._lock = threading.Lock()
        self._faults_before: list[_Fault] = []
        self._faults_after: list[_Fault] = []
        self._cuts: list[tuple[int, BaseException]] = []
        self._tears: list[tuple[int, BaseException | None]] = []
        self._hidden: frozenset[str] = frozenset()

    def fail(self, operation: Operation, error: BaseException, times: int = 1) -> None:
        """The next calls raise before anything is done."""
        self._faults_before.append(_Fault(operation, times, _raiser(error)))

    def lose_answer(self, operation: Operation, error: BaseException, times: int = 1) -> None:
        """The next calls do all that was asked, and raise then."""
        self._faults_after.append(_Fault(operation, times, _raiser(error)))

    def delay(self, operation: Operation, seconds: float, times: int = 1) -> None:
        """The next calls wait first."""
        self._faults_before.append(_Fault(operation, times, lambda: time.sleep(seconds)))

    def run_before(self, operation: Operation, action: Callable[[], None], times: int = 1) -> None:
        """The next calls first run something, such as what another process would do at that moment."""
        self._faults_before.append(_Fault(operation, times, action))

    def run_after(self, operation: Operation, action: Callable[[], None], times: int = 1) -> None:
        """The next calls run something when they are done, before they return."""
        self._faults_after.append(_Fault(operation, times, action))

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

    def _before(self, operation: Operation, names: Sequence[str]) -> None:  # noqa: ARG002 - the wrapper's hook
        self._act(self._faults_before, operation)

    def _after(self, operation: Operation) -> None:
        self._act(self._faults_after, operation)

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

    def _act(self, faults: list[_Fault], operation: Operation) -> None:
        with self._lock:
            fault = next((fault for fault in faults if fault.operation == operation), None)
            if fault is None:
                return
            fault.times -= 1
            if fault.times == 0:
                faults.remove(fault)
        fault.act()


def _raiser(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act
