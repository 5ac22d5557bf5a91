"""A task's process that forks after its first use of the backend, both sides going on; run by test_forks."""

from __future__ import annotations

import concurrent.futures
import json
import multiprocessing
import os
import sys
from typing import Any

from airflow.sdk.state import TaskScope

from offload_backend.airflow import OffloadStateBackend

SCOPE = TaskScope("d", "r", "t")
BIG = [{"id": n, "text": f"row {n}"} for n in range(4000)]


def store(backend: OffloadStateBackend, n: int) -> str:
    text = backend.serialize_task_state_store_to_ref(value=[n, BIG], key=f"k{n}", scope=SCOPE)
    assert backend.deserialize_task_state_store_from_ref(text) == [n, BIG]
    return str(text)


def child(backend: OffloadStateBackend | None, n: int, refs: list[str], answers: Any) -> None:
    backend = backend or OffloadStateBackend()  # forkserver and spawn inherit nothing
    for ref in refs:
        backend.deserialize_task_state_store_from_ref(ref)
    answers.put(store(backend, n))


def main(method: str) -> None:
    backend = OffloadStateBackend()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:  # connections are open, threads have been there
        refs = list(pool.map(lambda n: store(backend, n), range(4)))
        context = multiprocessing.get_context(method)
        answers = context.Queue()
        inherited = backend if method == "fork" else None
        children = [context.Process(target=child, args=(inherited, 10 + n, refs, answers)) for n in range(3)]
        for process in children:
            process.start()
        refs += list(pool.map(lambda n: store(backend, n), range(20, 24)))
        refs += [answers.get(timeout=60) for _ in children]
        for process in children:
            process.join(60)
    for ref in refs:
        backend.deserialize_task_state_store_from_ref(ref)
    print(json.dumps({"pid": os.getpid(), "exits": [p.exitcode for p in children], "refs": len(refs)}))


if __name__ == "__main__":
    main(sys.argv[1])
