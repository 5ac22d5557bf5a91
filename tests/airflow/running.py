"""A task that runs: Airflow's accessors, context and listener manager; a supervisor that answers as the real one.

Answers come in the order of the questions and say nothing of them, as over the real connection, so that one
that is not waited for is taken for the next.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import listener
from airflow.sdk._shared.listeners.listener import ListenerManager
from airflow.sdk._shared.listeners.spec import lifecycle
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time import comms, context, task_runner

from tests import seam as seams


class TimedOutError(BaseException):
    """Airflow's AirflowTaskTimeout is a BaseException, too."""


@dataclass
class Supervisor(seams.Supervisor):
    """``superseded``: another attempt has taken over. ``failing``: kinds of messages the API server fails."""

    superseded: bool = False
    failing: set[str] = field(default_factory=set)
    interrupt: str = ""
    sent: Counter[str] = field(default_factory=Counter)
    unread: deque[Any] = field(default_factory=deque)

    def send(self, message: Any) -> Any:
        kind = type(message).__name__
        self.sent[kind] += 1
        self.unread.append(self._answer(kind, message))
        if kind == self.interrupt:
            self.interrupt = ""
            raise TimedOutError
        answer = self.unread.popleft()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _answer(self, kind: str, message: Any) -> Any:
        """As of 3.3.2: any 404 of a read is the missing key, any other trouble is an error."""
        if self.superseded and kind.endswith("TaskStateStore"):
            return _not_found(message) if kind.startswith("Get") else _refused(404)
        if kind in self.failing:
            return _refused(500)
        answer = super().send(message)
        if isinstance(answer, comms.ErrorResponse):
            return _not_found(message)
        return answer or comms.OKResponse(ok=True)


def _not_found(message: Any) -> comms.ErrorResponse:
    kind = "TASK" if "Task" in type(message).__name__ else "ASSET"
    return comms.ErrorResponse(error=ErrorType[f"{kind}_STORE_NOT_FOUND"], detail={"key": message.key})


def _refused(status: int) -> AirflowRuntimeError:
    return AirflowRuntimeError(
        comms.ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail={"status_code": status})
    )


@dataclass
class Running(seams.Seam):
    """A seam in which a task runs, in a process of its own; ``end`` is what Airflow does last in it."""

    supervisor: Supervisor

    def end(self) -> None:
        listener.get_listener_manager().hook.before_stopping(component=None)


@contextmanager
def in_a_trigger() -> Iterator[None]:
    """No task runs in this process, as Airflow tells it: only in one of a task is there a context."""
    running = list(context._CURRENT_CONTEXT)
    context._CURRENT_CONTEXT.clear()
    try:
        yield
    finally:
        context._CURRENT_CONTEXT.extend(running)


@contextmanager
def running_task(supervisor: Supervisor | None = None) -> Iterator[Running]:
    """The task of the seam, until the block ends; whoever ran around it goes on then."""
    from offload_backend.airflow import OffloadStateBackend

    running, backend, listeners = Running(supervisor or Supervisor()), OffloadStateBackend(), ListenerManager()
    listeners.add_hookspecs(lifecycle)
    ti = SimpleNamespace(id=seams.TASK, dag_id="d", run_id="r", task_id="t", map_index=-1)
    with pytest.MonkeyPatch.context() as patch, context.set_current_context({"ti": ti}):
        patch.setattr(task_runner, "SUPERVISOR_COMMS", running.supervisor, raising=False)
        patch.setattr(context, "_get_worker_state_store_backend", lambda: backend)
        patch.setattr(listener, "get_listener_manager", lambda: listeners)
        yield running
