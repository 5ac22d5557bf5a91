"""A task under test: attempts of it, one after the other, over rows and blobs that outlive each attempt."""

from __future__ import annotations

import asyncio
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from offload_backend.address import StateAddress, TaskAddress
from offload_backend.corestores.memory import MemoryCoreStore
from offload_backend.offloader import Offloader
from offload_backend.settings import Settings
from offload_backend.stores.opening import open_store
from offload_backend.testing.leftovers import Leftovers, ids_in, leftovers

if TYPE_CHECKING:
    from datetime import datetime

    from offload_backend.blobstore import BlobStore
    from offload_backend.testing.state_faults import StateFaults

__all__ = ["FaultyRows", "StateUnderTest", "TaskUnderTest"]


class FaultyRows(MemoryCoreStore):
    """Rows in memory, which are refused when the test asks for it."""

    def __init__(self, faults: StateFaults) -> None:
        super().__init__()
        self._faults = faults.rows
        self._committed: set[str] = set()

    def set(self, address: StateAddress, key: str, text: str, *, expires_at: datetime | None) -> str | None:
        """See :class:`~offload_backend.corestore.CoreStore`."""
        with self._change():
            self._committed.update(ids_in(text))
            return super().set(address, key, text, expires_at=expires_at)

    def delete(self, address: StateAddress, key: str) -> str | None:
        """See :class:`~offload_backend.corestore.CoreStore`."""
        with self._change():
            return super().delete(address, key)

    def clear(self, address: StateAddress, *, all_map_indices: bool = False) -> list[str]:
        """See :class:`~offload_backend.corestore.CoreStore`."""
        with self._change():
            return super().clear(address, all_map_indices=all_map_indices)

    @property
    def committed(self) -> frozenset[str]:
        """The ids of all blobs that a row refers to, or did once."""
        return frozenset(self._committed)

    @contextmanager
    def _change(self) -> Iterator[None]:
        self._faults.act("before")
        yield
        self._faults.act("after")


class StateUnderTest(ABC):
    """Task and asset state for one test. ``rows`` are the database's, ``faults`` what goes wrong on the way."""

    def __init__(self, settings: Settings, faults: StateFaults) -> None:
        self.settings = settings
        self.faults = faults
        self.rows = FaultyRows(faults)

    def task(
        self,
        task_id: str = "task",
        *,
        dag_id: str = "dag",
        run_id: str = "run",
        map_index: int = -1,
        inlets: Sequence[Any] = (),
        outlets: Sequence[Any] = (),
    ) -> TaskUnderTest:
        """One task instance. Two calls with the same names are about the same one."""
        address = TaskAddress(dag_id, run_id, task_id, map_index)
        return TaskUnderTest(self, address, inlets, outlets)

    @abstractmethod
    def task_store(self, address: TaskAddress) -> Any:
        """The task's store as somebody sees it from outside, beside its attempts."""

    @abstractmethod
    def asset_store(self, *, name: str | None = None, uri: str | None = None) -> Any:
        """The store of the asset of this name, or of this uri, as somebody sees it from outside."""

    @abstractmethod
    def attempt(self, task: TaskUnderTest, more: dict[str, Any]) -> AbstractContextManager[dict[str, Any]]:
        """One attempt in a process of its own, as far as state can tell; see :meth:`TaskUnderTest.attempt`."""

    def leftovers(self) -> Leftovers:
        """What is wrong with rows and blobs at this moment. Faults do not count here."""
        store = self.faults.blobs.inner
        reading = Offloader(
            self.settings, lambda path: store if path == self.settings.path else self.open_store(path)
        )
        return leftovers(self.rows, store, reading, self.let_go())

    def let_go(self) -> Collection[str]:
        """The ids of blobs that no row refers to and that are none the less no orphans; none, unless overridden."""
        return ()

    def open_store(self, path: str) -> BlobStore:
        """The store of a configured path; of the one to write to, with the faults before it."""
        return self.faults.blobs if path == self.settings.path else open_store(path, self.settings)


class TaskUnderTest:
    """One task instance, which may be tried again and again; :meth:`StateUnderTest.task` makes it."""

    def __init__(
        self, state: StateUnderTest, address: TaskAddress, inlets: Sequence[Any], outlets: Sequence[Any]
    ) -> None:
        self.address = address
        self.inlets = list(inlets)
        self.outlets = list(outlets)
        self.try_number = 0
        self._state = state

    @property
    def store(self) -> Any:
        """Its state as somebody sees it who looks from outside: for what a test prepares and asserts."""
        return self._state.task_store(self.address)

    @contextmanager
    def attempt(self, **more: Any) -> Iterator[dict[str, Any]]:
        """The next attempt, as a block; gives the context of the task, with ``more`` in it.

        Leaving the block is the task's success, and clears its state where ``clear_on_success`` says so. An
        exception is a failure: the state stays, and the exception passes through. ``Killed`` is a process that is
        gone.
        """
        self.try_number += 1
        with self._state.attempt(self, more) as context:
            yield context

    def run(self, function: Callable[..., Any], /, **arguments: Any) -> Any:
        """Have the next attempt call the function; what it returns.

        As in Airflow, parameters that are called like entries of the context get them, and ``**context`` gets all.
        Of what ``@task`` has decorated, it is the function inside; a coroutine is run to its end.
        """
        body = getattr(function, "function", function)
        with self.attempt() as context:
            result = body(**{**_wanted(body, context), **arguments})
            return asyncio.run(result) if inspect.iscoroutine(result) else result


def _wanted(function: Callable[..., Any], context: dict[str, Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return dict(context)
    return {name: context[name] for name in parameters if name in context}
