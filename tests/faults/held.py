"""Steps of a store in memory: each of its verbs. Only what befalls the process, or its memory, can befall it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from offload_backend.stores.memory import MemoryBlobStore
from tests.faults.steps import Aim, Steps

_VERBS = ("put", "get", "get_range", "read_into", "list", "delete")
_READS = ("get", "get_range", "read_into")


@contextmanager
def watched(steps: Steps) -> Iterator[None]:
    """Steps are taken and struck."""
    real = {verb: getattr(MemoryBlobStore, verb) for verb in _VERBS}

    def seen(verb: str) -> Any:
        def call(store: MemoryBlobStore, *args: Any) -> Any:
            fault = steps.take("memory", verb)
            do = lambda: real[verb](store, *args)  # noqa: E731
            if fault is None:
                return do()
            if fault.of_process:
                return steps.around(fault, do)
            return _damaged(store, args[0], fault.name, do)

        return call

    for verb in _VERBS:
        setattr(MemoryBlobStore, verb, seen(verb))
    try:
        yield
    finally:
        for verb, function in real.items():
            setattr(MemoryBlobStore, verb, function)


def reason_for_none(aim: Aim) -> str:
    """Why there is no such thing, or empty."""
    if aim.fault in ("SIGKILL", "SIGSTOP"):
        return "it ends with its process"
    if aim.fault in ("cut short", "bit flipped", "wrong length"):
        return "" if aim.step.label in _READS else "not a transfer"
    return "" if aim.fault in ("fork", "thread dies", "cancelled") else "no network and no disk"


def _damaged(store: MemoryBlobStore, name: str, fault: str, do: Any) -> Any:
    """The bytes are others while they are read."""
    blob = store._blobs[name]
    data, place = blob[0], len(blob[0]) // 2
    wrong = {
        "cut short": data[:place],
        "wrong length": data + b"\0",
        "bit flipped": data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :],
    }[fault]
    store._blobs[name] = (wrong, blob[1])
    try:
        done = do()
        return iter(list(done)) if isinstance(done, Iterator) else done
    finally:
        store._blobs[name] = blob
