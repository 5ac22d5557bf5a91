"""Servers that surely end: each runs behind ``leash.py``, which ends it when this process does."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["Process", "ProcessError", "Processes", "free_port", "wait_until"]

T = TypeVar("T")
LEASH = Path(__file__).with_name("leash.py")
STOP_SECONDS = 10.0  # more than the grace that leash.py gives


class ProcessError(Exception):
    """A server ended or did not answer in time; the message ends with its log."""


class Process:
    """One started command with its log file."""

    def __init__(self, name: str, popen: subprocess.Popen[str], leash: int, log: Path) -> None:
        self.name, self.log, self._popen, self._leash = name, log, popen, leash

    @property
    def stdin(self) -> IO[str]:
        """The command's standard input, when it was started with a pipe."""
        if self._popen.stdin is None:
            raise ProcessError(f"{self.name} has no standard input")
        return self._popen.stdin

    @property
    def stdout(self) -> IO[str]:
        """The command's standard output, when it was started with a pipe."""
        if self._popen.stdout is None:
            raise ProcessError(f"{self.name} has no standard output")
        return self._popen.stdout

    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._popen.poll()

    def finish(self, seconds: float) -> None:
        """Wait for its end; :class:`ProcessError` when it fails or takes longer."""
        try:
            code = self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise ProcessError(f"{self.name} is not done after {seconds:.0f} s\n{self.tail()}") from None
        if code != 0:
            raise ProcessError(f"{self.name} failed with exit code {code}\n{self.tail()}")

    def tail(self, lines: int = 40) -> str:
        """The last lines it logged, under a heading that names it."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return f"--- {self.name}: last lines of {self.log}\n" + "\n".join(text.splitlines()[-lines:])

    def release(self) -> None:
        """Tell it to end; :meth:`stop` waits for it."""
        if self._leash >= 0:
            os.close(self._leash)
            self._leash = -1

    def stop(self) -> None:
        """End it and everything it started; returns when all of it is gone."""
        self.release()
        try:
            self._popen.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                pipe.close()


class Processes:
    """Starts commands with logs in one folder; leaving the ``with`` block ends them all."""

    def __init__(self, log_folder: Path) -> None:
        self._log_folder = log_folder
        self._running: list[Process] = []

    def __enter__(self) -> Self:
        self._log_folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, name: str, command: Sequence[str], env: Mapping[str, str]) -> Process:
        """Start a server that needs no input; its output goes to ``<log folder>/<name>.log``."""
        with (self._log_folder / f"{name}.log").open("ab") as output:
            return self._start(
                name, command, env, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )

    def start_piped(self, name: str, command: Sequence[str], env: Mapping[str, str]) -> Process:
        """Start a command that is spoken to over its standard input and output; errors go to the log."""
        with (self._log_folder / f"{name}.log").open("ab") as output:
            return self._start(name, command, env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output)

    def stop(self) -> None:
        """End all of them, together."""
        for process in self._running:
            process.release()
        while self._running:
            self._running.pop().stop()

    def tails(self) -> str:
        """The last lines of every log, for an error report."""
        return "\n".join(process.tail() for process in self._running)

    def _start(
        self,
        name: str,
        command: Sequence[str],
        env: Mapping[str, str],
        *,
        stdin: int,
        stdout: int | IO[bytes],
        stderr: int | IO[bytes],
    ) -> Process:
        theirs, ours = os.pipe()
        try:
            popen = subprocess.Popen(  # noqa: S603 - commands come from this repository
                [sys.executable, str(LEASH), str(theirs), *command],
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                env=dict(env),
                pass_fds=[theirs],
                start_new_session=True,  # Ctrl-C reaches us alone; the leash does the rest
                text=True,
            )
        finally:
            os.close(theirs)
        process = Process(name, popen, ours, self._log_folder / f"{name}.log")
        self._running.append(process)
        return process


def wait_until(probe: Callable[[], T | None], what: str, seconds: float, *needed: Process) -> T:
    """The first answer of ``probe`` that is true; :class:`ProcessError` with log tails otherwise.

    Ends early when one of the ``needed`` processes does.
    """
    deadline = time.monotonic() + seconds
    while True:
        if answer := probe():
            return answer
        for process in needed:
            if process.exit_code() is not None:
                raise ProcessError(f"{process.name} ended while waiting for {what}\n{process.tail()}")
        if time.monotonic() > deadline:
            tails = "\n".join(process.tail() for process in needed)
            raise ProcessError(f"waited {seconds:.0f} s in vain for {what}\n{tails}")
        time.sleep(0.1)


def free_port() -> int:
    """A TCP port on the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
