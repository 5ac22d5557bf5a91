"""Steps of a directory: each system call that the store makes. Its fault is what the system answers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from offload_backend.stores import folders, local
from tests.faults.kinds import Fault
from tests.faults.steps import Aim, Steps

_SOME = 1000
_READS = ("preadv", "read")
_WRITES = ("mkdir", "writev", "fsync", "rename")
_WATCHED = (*_READS, *_WRITES, "open", "stat", "unlink", "rmdir", "scandir", "fstat")


class Calls:
    """``os``, as far as the store knows."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in _WATCHED:
            return real

        def call(*args: Any, **named: Any) -> Any:
            fault = self._steps.take("file", _label(name, args))
            do = lambda: real(*args, **named)  # noqa: E731
            if fault is None:
                return do()
            if fault.of_process:
                return self._steps.around(fault, do)
            return _answered(name, fault, do, args)

        return call


@contextmanager
def watched(steps: Steps) -> Iterator[None]:
    """Steps are taken and struck."""
    calls = Calls(steps)
    folders.os = local.os = calls
    try:
        yield
    finally:
        folders.os = local.os = os


def reason_for_none(aim: Aim) -> str:
    """Why there is no such thing, or empty."""
    only_at = {
        "refused": ((), "no network"),
        "503": ((), "nobody there asks to slow down"),
        "trickle": ((*_READS, "writev"), "not a transfer"),
        "bit flipped": ((*_READS, "writev"), "not a transfer"),
        "cut short": (_READS, "not a transfer, or one that tells how much was written"),
        "wrong length": (("fstat",), "only fstat tells a length"),
        "full": ((*_WRITES, "create"), "takes no space"),
    }
    calls, reason = only_at.get(aim.fault, ((aim.step.label,), ""))
    return "" if aim.step.label in calls else reason


def _answered(name: str, fault: Fault, do: Callable[[], Any], args: tuple[Any, ...]) -> Any:
    if isinstance(fault.disk, int):
        raise OSError(fault.disk, os.strerror(fault.disk))
    if fault.disk == "lost":
        do()
        raise OSError(5, "the call was carried out")
    if fault.disk == "longer":
        return os.stat_result([*do()[:6], do().st_size + 1, *do()[7:10]])
    if name == "writev":
        views = [view for view in args[1] if len(view)]
        if fault.disk == "short":
            return os.writev(args[0], [_some(views[0])])
        return os.writev(args[0], [_flipped(bytes(views[0])), *views[1:]])
    return _read(name, fault, args)


def _read(name: str, fault: Fault, args: tuple[Any, ...]) -> Any:
    if name == "preadv":
        file, [memory], start = args
        if fault.disk == "short":
            return os.preadv(file, [_some(memory)], start)
        if fault.disk == "cut":
            return 0
        count = os.preadv(file, [memory], start)
        memory[:count] = _flipped(bytes(memory[:count]))
        return count
    file, length = args
    if fault.disk == "short":
        return os.read(file, min(length, _SOME))
    if fault.disk == "cut":
        return b""
    data = os.read(file, length)
    return _flipped(data) if data else data


def _some(memory: Any) -> Any:
    """Less than all, of more than one byte."""
    return memory[: min(_SOME, max(1, len(memory) // 2))]


def _flipped(data: bytes) -> bytes:
    place = len(data) // 2
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def _label(name: str, args: tuple[Any, ...]) -> str:
    if name != "open":
        return name
    flags = args[1]
    return "create" if flags & os.O_CREAT else "open folder" if flags & os.O_DIRECTORY else "open file"
