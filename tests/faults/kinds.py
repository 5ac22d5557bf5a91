"""What can go wrong at a step, and what each place makes of it."""

from __future__ import annotations

import errno
from dataclasses import dataclass

LASTING = ("once", "for ever")
MOMENTS = ("before", "after")


@dataclass(frozen=True)
class Fault:
    """``variants`` are the two ways in which it comes.

    ``disk`` is what a system call answers, ``rows`` what SQLite says; empty where there is no such thing.
    """

    name: str
    variants: tuple[str, str] = LASTING
    disk: int | str = ""
    rows: str = ""

    @property
    def of_process(self) -> bool:
        """Whether it befalls the process, wherever blobs are."""
        return self.variants == MOMENTS


FAULTS = [
    Fault("refused", rows="database is locked"),
    Fault("reset", disk=errno.ESTALE),
    Fault("time-out", disk=errno.ETIMEDOUT),
    Fault("trickle", disk="short"),
    Fault("500", disk=errno.EIO, rows="disk I/O error"),
    Fault("503"),
    Fault("403", disk=errno.EACCES, rows="attempt to write a readonly database"),
    Fault("404", disk=errno.ENOENT),
    Fault("answer lost", disk="lost", rows="lost"),
    Fault("cut short", disk="cut"),
    Fault("bit flipped", disk="flipped"),
    Fault("wrong length", disk="longer"),
    Fault("full", disk=errno.ENOSPC, rows="database or disk is full"),
    Fault("SIGKILL", MOMENTS),
    Fault("SIGSTOP", MOMENTS),
    Fault("fork", MOMENTS),
    Fault("thread dies", MOMENTS),
    Fault("cancelled", MOMENTS),
]
BY_NAME = {fault.name: fault for fault in FAULTS}
