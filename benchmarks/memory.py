"""How much memory a block of code needed, as the kernel counted it."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import threading
from pathlib import Path

__all__ = ["Peak"]

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


class Peak:
    """Resident bytes: ``above`` at the highest point within the block, ``kept`` at its end, both beyond its start.

    The kernel's own high-water mark is reset at the start, which misses nothing and costs nothing. Where
    it cannot be reset, a thread looks every 5 ms, and the time of the block is a little longer for it.
    """

    above = 0
    kept = 0

    def __enter__(self) -> Peak:  # noqa: PYI034 - typing.Self needs Python 3.11
        _give_back()
        self._watcher: _Watcher | None = None
        try:
            _RESET.write_text("5")
        except OSError:
            self._watcher = _Watcher()
        self._start = resident()
        return self

    def __exit__(self, *_: object) -> None:
        highest = _status("VmHWM") if self._watcher is None else self._watcher.stop()
        _give_back()
        self.above = max(0, highest - self._start)
        self.kept = max(0, resident() - self._start)


def resident() -> int:
    """Bytes of physical memory this process has."""
    return _status("VmRSS")


def _status(name: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def _give_back() -> None:
    """Return what is free inside the process, or the block would find it there and look thriftier than it is."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)


class _Watcher(threading.Thread):
    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._highest = resident()
        self._done = threading.Event()
        self.start()

    def run(self) -> None:
        while not self._done.wait(0.005):
            self._highest = max(self._highest, resident())

    def stop(self) -> int:
        self._done.set()
        self.join()
        return max(self._highest, resident())
