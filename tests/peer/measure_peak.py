"""Prints [peak bytes above the value while it is set, bytes of its JSON], in a process of its own."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest

from tests import seam

PAGE = os.sysconf("SC_PAGE_SIZE")


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def main() -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        worker = seam.start(monkeypatch, os.environ["AIRFLOW__WORKERS__STATE_STORE_BACKEND"])
        worker.task().set("warm-up", ["imports and connects"])
        value = [f"{n:08d}" + "x" * 90 for n in range(1_000_000)]
        before, peak, done = resident(), [0], threading.Event()

        def watch() -> None:
            while not done.is_set():
                peak[0] = max(peak[0], resident())
                time.sleep(0.002)

        watcher = threading.Thread(target=watch)
        watcher.start()
        worker.task().set("k", value)
        done.set()
        watcher.join()
        print(json.dumps([peak[0] - before, sum(map(len, value)) + 4 * len(value)]))


if __name__ == "__main__":
    main()
