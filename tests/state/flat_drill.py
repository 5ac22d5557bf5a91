"""A process that sets, gets, looks into and deletes for long, and tells what it holds now and then.

Run by test_flat: ``python -m tests.state.flat_drill PATH FACE OPERATIONS``; its environment has the rest. It prints
one JSON object: ``samples`` of what the process holds after its warm-up, and how many ``operations`` and ``errors``
there were. A twentieth of the operations are to fail: values that cannot be stored, small and large, and rows whose
blob is gone.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import random
import sys
import tracemalloc
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

SIZES = (40, 3_000, 90_000, 400_000)
LARGE = 6 * 1024 * 1024
PART = 5 * 1024 * 1024
KEYS = 12
WARM = 0.3
SAMPLES = 8


def standalone(path: str, folder: str) -> Iterator[Any]:
    """The stand-alone accessors over SQLite."""
    from offload_backend import connect

    limits = {"inline_limit": 1000, "part_size": PART}
    with connect(path=path, core_store=f"sqlite:///{folder}/state.db", **limits) as stores:
        yield stores.task_store("d", run_id="r", task_id="t")


def in_airflow(path: str, _folder: str) -> Iterator[Any]:
    """Airflow's accessors, whose worker remembers what it may delete."""
    os.environ["AIRFLOW__OFFLOAD_BACKEND__PATH"] = path
    os.environ["AIRFLOW__OFFLOAD_BACKEND__INLINE_LIMIT"] = "1000"
    os.environ["AIRFLOW__OFFLOAD_BACKEND__PART_SIZE"] = str(PART)
    from tests.airflow.running import running_task

    with running_task() as task:
        yield task.task()


FACES = {"standalone": standalone, "airflow": in_airflow}


class Work:
    """One operation after the other, the same ones in every process."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self._random = random.Random(7)
        self._known: dict[str, int] = {}
        self.errors = 0

    def step(self, number: int) -> None:
        key = f"k{self._random.randrange(KEYS)}"
        if number % 20 == 19:
            self._fail(key, number // 20 % 3)
        elif number % 60 == 7:
            self._set(key, LARGE)
        elif key not in self._known or self._random.random() < 0.4:
            self._set(key, self._random.choice(SIZES))
        elif self._random.random() < 0.2:
            self._store.delete(key)
            del self._known[key]
        else:
            assert hash(self._store.get(key)[0]) == self._known[key]

    def _set(self, key: str, size: int) -> None:
        value = self._random.randbytes(min(size, 100_000) // 2).hex()
        self._known.pop(key, None)
        rest = [self._random.randbytes(size)] if size == LARGE or self._random.random() < 0.3 else []
        self._store.set(key, [value, *rest])
        self._known[key] = hash(value)  # to keep the values would hide what else is kept

    def _fail(self, key: str, how: int) -> None:
        with contextlib.suppress(Exception):
            if how == 0:
                self._store.set(key, ["x" * 5_000, object()])
            elif how == 1:
                self._store.set(key, [self._random.randbytes(LARGE), object()])
            else:
                self._lose(key)
            return
        self.errors += 1

    def _lose(self, key: str) -> None:
        """The row stays, and its blob reads as missing."""
        self._set(key, 3_000)
        self._known.pop(key)
        with without_blobs():
            self._store.get(key)


@contextlib.contextmanager
def without_blobs() -> Iterator[None]:
    """Every blob reads as missing meanwhile."""
    from offload_backend.errors import BlobNotFoundError
    from offload_backend.stores.local import LocalBlobStore
    from offload_backend.stores.s3 import S3BlobStore

    def missing(*_: Any) -> None:
        raise BlobNotFoundError("there is no such blob")

    with pytest.MonkeyPatch.context() as patch:
        for kind in (LocalBlobStore, S3BlobStore):
            patch.setattr(kind, "read_into", missing)
        yield


def sample(process: psutil.Process) -> dict[str, int]:
    gc.collect()
    traced = tracemalloc.get_traced_memory()[0] if tracemalloc.is_tracing() else 0
    return {
        "rss": process.memory_info().rss,
        "descriptors": process.num_fds(),
        "threads": process.num_threads(),
        "traced": traced,
    }


def main(path: str, face: str, operations: int, folder: str) -> dict[str, Any]:
    process, samples = psutil.Process(), list[dict[str, int]]()
    if os.environ.get("FLAT_TRACED"):
        tracemalloc.start()
    for store in FACES[face](path, folder):
        work = Work(store)
        warm = int(operations * WARM)
        every = max(1, (operations - warm) // SAMPLES)
        for number in range(operations):
            work.step(number)
            if number >= warm and (number - warm) % every == 0:
                samples.append(sample(process))
        samples.append(sample(process))
    return {"samples": samples, "operations": operations, "errors": work.errors}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])))
