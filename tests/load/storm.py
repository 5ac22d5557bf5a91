"""Starts the workers, kills some and starts them again."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import Any

from demo.processes import wait_until
from tests.load.worker import Orders, work

PATIENCE = 300.0


@dataclass
class Storm:
    """The workers. ``kills`` counts those that were killed in the middle of their work."""

    orders: Orders
    processes: int
    seconds_between_kills: float
    kills: int = 0
    wrong_ends: int = 0

    def blow(self, dice: random.Random, seconds: float) -> None:
        """For so long from the moment that everybody is at work; returns when all have come home."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tests.load.worker"])
        start = lambda number: _started(context, self.orders, number, dice.randrange(2**32))  # noqa: E731
        crew = {number: start(number) for number in range(self.processes)}
        wait_until(self._all_at_work, "the workers", PATIENCE)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(min(dice.expovariate(1 / self.seconds_between_kills), seconds / 4))
            number = dice.choice(list(crew))
            if crew[number].is_alive():
                os.kill(crew[number].pid or 0, signal.SIGKILL)
                crew[number].join()
                self.kills += 1
                crew[number] = start(number)
        self.orders.over.touch()
        for process in crew.values():
            process.join(PATIENCE)
            self.wrong_ends += process.exitcode != 0
            process.kill()

    def _all_at_work(self) -> bool:
        return len(list(self.orders.folder.glob("*.journal"))) == self.processes * self.orders.threads


def _started(context: Any, orders: Orders, number: int, seed: int) -> BaseProcess:
    process: BaseProcess = context.Process(target=work, args=(orders, number, seed), daemon=True)
    process.start()
    return process
