"""Sets and gets in a task or a trigger, written down outside of Airflow, for a retry and the oracle to compare."""

from __future__ import annotations

import os
import random
import threading
import time
from pathlib import Path
from signal import SIGKILL
from typing import Any

from tests.load.journal import Journal, remembered
from tests.load.proofs import Claim, claim_of, proof

KEYS = ["checkpoint", "model", "notes"]
BRIEF = "brief"
"""A key that expires while the soak goes on."""
SHARED = [f"shared-{number}" for number in range(4)]
FOLDER, LARGEST = "SOAK_FOLDER", "SOAK_LARGEST"


def journal_of(folder: Path, writer: str) -> Path:
    return folder / f"{writer}.journal"


def writer_of(dag_id: str, run_id: str, task_id: str, map_index: int) -> str:
    return "~".join([dag_id, run_id, task_id, str(map_index)])


class WrongStateError(Exception):
    """The state is not what was last set."""


class Witness:
    """One writer: a task instance over all of its tries, or a trigger over all of its lives."""

    def __init__(self, writer: str) -> None:
        path = journal_of(Path(os.environ[FOLDER]), writer)
        self.writer, self.largest = writer, int(os.environ[LARGEST])
        self.memory = remembered(path, KEYS)
        self.journal = Journal(path)
        self.journal.write("again")

    def new(self, key: str, dice: random.Random, *, largest: int = 0) -> tuple[int, Any]:
        """The next value, and how many there were before."""
        count = self.memory.count + 1
        self.memory.count = count
        return count, proof(key, Claim(self.writer, count), dice, largest or self.largest)

    def begin(self, verb: str, key: str, count: int) -> float:
        self.journal.write("begin", verb, key, count)
        return time.monotonic()

    def end(self, verb: str, key: str, count: int, began: float) -> None:
        self.journal.write("end", verb, key, count, "done", time.monotonic() - began)
        self.memory.ends(verb, key, count, "done")

    def set(self, store: Any, key: str, dice: random.Random, **options: Any) -> None:
        count, value = self.new(key, dice)
        began = self.begin("set", key, count)
        store.set(key, value, **options)
        self.end("set", key, count, began)

    def delete(self, store: Any, key: str) -> None:
        began = self.begin("delete", key, self.memory.count)
        store.delete(key)
        self.end("delete", key, self.memory.count, began)

    def check(self, store: Any, key: str) -> None:
        """Own keys alone: what is got must be what was told to be written, or was being written at a kill."""
        began = time.monotonic()
        self.judge(key, store.get(key), time.monotonic() - began)

    def judge(self, key: str, value: Any, seconds: float) -> None:
        claim = None if value is None else claim_of(value, key)
        right = claim is None or claim.writer == self.writer
        if right and self.memory.keys[key].may_be(claim and claim.count):
            self.journal.write("got", key, claim, "", seconds)
        else:
            self.journal.write("loss", key, claim, str(self.memory.keys[key]))
            raise WrongStateError(f"{key} is {claim}, not {self.memory.keys[key]}")

    def check_shared(self, store: Any, key: str) -> None:
        began = time.monotonic()
        value = store.get(key)
        claim = None if value is None else claim_of(value, key)
        self.journal.write("got", key, claim, "", time.monotonic() - began)


def die_soon(dice: random.Random) -> None:
    """SIGKILL for this process, wherever it is then: most often in the middle of a set."""
    timer = threading.Timer(dice.uniform(0.0, 0.6), os.kill, (os.getpid(), SIGKILL))
    timer.daemon = True
    timer.start()
