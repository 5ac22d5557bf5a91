"""How far a long run has come: counts, rates and remaining time on stderr, while a person is watching."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console
from rich.progress import Progress, ProgressColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from offload_backend.blobstore import KeepsUnfinished
from offload_backend.cli.tables import span
from offload_backend.lifecycle.collector import DELETED, READ

if TYPE_CHECKING:
    from rich.progress import Task

    from offload_backend.address import StateAddress
    from offload_backend.blobstore import BlobInfo, BlobStore, Buffer, DeleteReport
    from offload_backend.rootsource import Hidden, Ledger, Origin, Root, RootSource

__all__ = ["watched"]

_T = TypeVar("_T")
_BATCH = 500
_CONTROL = "/_gc/"


@contextmanager
def watched(
    store: BlobStore, roots: RootSource
) -> Iterator[tuple[BlobStore, RootSource, Callable[[str, int], None]]]:
    """The same two; where stderr is a terminal, what passes through them is counted there.

    And what wants to hear how many of a thing are to come, so that the time that remains can be told.
    """
    if not sys.stderr.isatty():
        yield store, roots, lambda _what, _count: None
        return
    columns = SpinnerColumn(), TextColumn("{task.description}"), _Count(), TimeElapsedColumn()
    screen = Console(stderr=True)
    with Progress(*columns, console=screen, transient=True, redirect_stdout=False) as progress:
        counter = _Counter(progress)
        yield _watched_store(store, counter), _WatchedRoots(roots, counter), counter.expect


class _Count(ProgressColumn):
    """How many, and how many a second; of how many, and how long that will take, where it is known."""

    def render(self, task: Task) -> Text:
        rate = f"{task.speed or 0:,.0f}/s"
        if task.total is None:
            return Text(f"{task.completed:,.0f} ({rate})")
        left = f", {span(timedelta(seconds=task.time_remaining))} left" if task.time_remaining else ""
        return Text(f"{task.completed:,.0f} of {task.total:,.0f} ({rate}{left})")


class _Counter:
    """One line for each thing that is counted, from the moment on when there is one."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._lines: dict[str, TaskID] = {}

    def add(self, what: str, count: int) -> None:
        if what not in self._lines:
            self._lines[what] = self._progress.add_task(what, total=None)
        self._progress.advance(self._lines[what], count)

    def expect(self, what: str, count: int) -> None:
        self.add(what, 0)
        self._progress.update(self._lines[what], total=count)

    def passing(self, what: str, items: Iterable[_T]) -> Iterator[_T]:
        source = iter(items)
        while batch := list(islice(source, _BATCH)):
            self.add(what, len(batch))
            yield from batch


class _WatchedStore:
    def __init__(self, store: BlobStore, counter: _Counter) -> None:
        self._store, self._counter = store, counter

    @property
    def location(self) -> str:
        return self._store.location

    def put(self, name: str, chunks: Iterable[Buffer]) -> None:
        self._store.put(name, chunks)

    def get(self, name: str) -> Iterator[bytes]:
        if _CONTROL not in name:
            self._counter.add(READ, 1)
        return self._store.get(name)

    def get_range(self, name: str, start: int, length: int) -> bytes:
        return self._store.get_range(name, start, length)

    def read_into(self, name: str, start: int, buffer: memoryview, total: int) -> None:
        self._store.read_into(name, start, buffer, total)

    def list(self, prefix: str = "") -> Iterator[BlobInfo]:
        found = self._store.list(prefix)
        return found if _CONTROL in prefix else self._counter.passing("objects listed", found)

    def delete(self, names: Sequence[str]) -> DeleteReport:
        report = self._store.delete(names)
        self._counter.add(DELETED, len(report.deleted))
        return report


class _WatchedFiles(_WatchedStore):
    def __init__(self, store: BlobStore, files: KeepsUnfinished, counter: _Counter) -> None:
        super().__init__(store, counter)
        self.remove_unfinished = files.remove_unfinished


def _watched_store(store: BlobStore, counter: _Counter) -> BlobStore:
    if isinstance(store, KeepsUnfinished):
        return _WatchedFiles(store, store, counter)
    return _WatchedStore(store, counter)


class _WatchedRoots:
    def __init__(self, roots: RootSource, counter: _Counter) -> None:
        self._roots, self._counter = roots, counter

    def origin(self) -> Origin:
        return self._roots.origin()

    def ledger(self) -> Ledger | None:
        return self._roots.ledger()

    def record(self, ledger: Ledger) -> None:
        self._roots.record(ledger)

    def roots(self, addresses: Iterable[StateAddress]) -> Iterator[Root | Hidden]:
        return self._counter.passing("rows read", self._roots.roots(addresses))

    def close(self) -> None:
        self._roots.close()
