"""The steps that an operation takes: requests to the store, system calls, commits. One of them is struck."""

from __future__ import annotations

import os
import signal
import threading
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from tests.faults.kinds import BY_NAME, Fault

PATIENCE = 60
"""Seconds after which whatever has not come to an end hangs. Nothing takes a tenth of it."""
SHORT = 0.3
"""Seconds until an answer is no longer waited for, where none will come."""
_T = TypeVar("_T")


class Death(BaseException):
    """What a thread dies of."""


class Step(NamedTuple):
    """One step: the layer it belongs to, what is done, and the how manieth of this kind it is."""

    layer: str
    label: str
    number: int = 1


class Aim(NamedTuple):
    """Where a fault strikes, and in which of its two variants."""

    step: Step
    fault: str
    variant: str


@dataclass
class Steps:
    """``seen`` are all steps while it was armed; ``struck`` counts the fault."""

    aim: Aim | None = None
    armed: bool = False
    seen: list[Step] = field(default_factory=list)
    struck: int = 0
    in_child: Callable[[], None] = lambda: None
    cancel: Callable[[], None] = lambda: None
    forks: list[threading.Thread] = field(default_factory=list)
    children: list[int] = field(default_factory=list)
    _counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    _lock: Any = field(default_factory=threading.Lock)

    def take(self, layer: str, label: str) -> Fault | None:
        """A step is about to happen: the fault that strikes it, if any."""
        if not self.armed:
            return None
        with self._lock:
            self._counts[layer, label] += 1
            step = Step(layer, label, self._counts[layer, label])
            self.seen.append(step)
            if self.aim is None or step[:2] != self.aim.step[:2]:
                return None
            number = self.aim.step.number
            lasts = self.aim.variant == "for ever" and step.number >= number
            if not lasts and step.number != number:
                return None
            self.struck += 1
            return BY_NAME[self.aim.fault]

    def tries(self, usual: int) -> int:
        """How often the step was tried, after a fault that passes; an undisturbed run has so many of its kind."""
        if self.aim is None or self.aim.variant != "once":
            return 1
        return self.struck + max(0, self._counts[self.aim.step[:2]] - usual)

    def around(self, fault: Fault, do: Callable[[], _T]) -> _T:
        """Do the step, with what befalls the process before or after it."""
        before = self.aim is not None and self.aim.variant == "before"
        if before:
            self.strike(fault)
            return do()
        try:
            return do()
        finally:
            self.strike(fault)

    def strike(self, fault: Fault) -> None:
        """It befalls this process, or this thread of it."""
        if fault.name == "SIGKILL":
            signal.pthread_kill(threading.get_ident(), signal.SIGKILL)
        elif fault.name == "SIGSTOP":
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
        elif fault.name == "thread dies":
            raise Death
        elif fault.name == "cancelled":
            self.cancel()
        elif fault.name == "fork" and self.aim is not None and self.aim.step.layer == "rows":
            # In the middle of a transaction another thread forks; whoever has the transaction cannot wait for it.
            thread = threading.Thread(target=self.fork)
            thread.start()
            self.forks.append(thread)
        elif fault.name == "fork":
            self.fork()

    def fork(self) -> None:
        """A child that does something of its own, and ends."""
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                self.armed = False
                self.in_child()
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        self.children.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
