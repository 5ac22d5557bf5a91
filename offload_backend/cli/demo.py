"""``offload demo``: a task is killed half way, and its retry resumes from the last checkpoint."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.progress import Progress

from offload_backend.cli.demo_job import STEPS, TASK, open_stores, step_result
from offload_backend.errors import ConfigError
from offload_backend.ref import BlobRef, parse_ref

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["run_demo"]

KILLED_AT = STEPS // 2 + 1
_out = Console(highlight=False, soft_wrap=True, markup=False)


@dataclass
class Attempt:
    """What one process said: the step it resumed after, and the seconds each step took, by step."""

    resumed_after: int = -1
    computed: dict[int, float] = field(default_factory=dict)
    stored: dict[int, float] = field(default_factory=dict)
    returncode: int = 0


def run_demo(keep: Path | None) -> None:
    """Show it on stdout; exit with 1 if anything is not as it should be.

    Raises :class:`~offload_backend.errors.ConfigError` if ``keep`` is a directory with something in it.
    """
    with _directory(keep) as directory:
        open_stores(directory).close()  # a wrong configuration had better be told here
        _out.print(
            f"A task of {STEPS} steps stores a checkpoint after each, and is killed during step {KILLED_AT}.\n"
        )
        first = _run_attempt(directory, "first attempt", killed_at=KILLED_AT)
        if not first.stored:
            _out.print("FAILED: the task stored no checkpoint")
            raise typer.Exit(1)
        _show_what_is_left(directory)
        second = _run_attempt(directory, "second attempt", killed_at=0)
        failures = [what for what, holds in _checks(directory, first, second).items() if not holds]
        _show_result(first, second)
        if failures:
            _out.print("FAILED: it does not hold that " + "; ".join(failures))
            raise typer.Exit(1)
        _show_how_to_look(directory, kept=keep is not None)


@contextlib.contextmanager
def _directory(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="offload-demo-") as temporary:
            yield Path(temporary)
        return
    hint = "name a directory that is new or empty: offload demo --keep DIRECTORY"
    try:
        keep.mkdir(parents=True, exist_ok=True)
        taken = any(keep.iterdir())
    except OSError as error:
        raise ConfigError(f"{keep} cannot be used: {error.strerror}", hint=hint) from error
    if taken:
        raise ConfigError(f"{keep} is not empty", hint=hint)
    yield keep.absolute()


def _run_attempt(directory: Path, title: str, *, killed_at: int) -> Attempt:
    """Run the task in a process of its own, and kill it when it has computed step ``killed_at``."""
    attempt = Attempt()
    command = [sys.executable, "-m", "offload_backend.cli.demo_job", str(directory)]
    # In a session of its own, Ctrl-C reaches the demo alone, which ends the task.
    process = subprocess.Popen(  # noqa: S603 (our own module)
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdin is not None  # noqa: S101 (for the type checker: it was asked for)
    assert process.stdout is not None  # noqa: S101 (likewise)
    _out.print(f"{title}, process {process.pid}")
    try:
        with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as progress:
            bar = progress.add_task(title, total=STEPS)
            for event in map(json.loads, process.stdout):
                _note(attempt, event)
                progress.update(bar, completed=max((attempt.resumed_after, *attempt.stored)))
                if event["event"] == "computed" and event["step"] == killed_at:
                    _show_progress(directory)
                    process.kill()
                elif event["event"] == "computed":
                    process.stdin.write("store it\n")
                    process.stdin.flush()
    finally:
        process.kill()
        attempt.returncode = process.wait()
        process.stdin.close()
        process.stdout.close()
    if killed_at:
        _out.print(f"  killed (SIGKILL) before the checkpoint of step {killed_at} was stored\n")
    return attempt


def _note(attempt: Attempt, event: dict[str, Any]) -> None:
    if event["event"] == "started":
        attempt.resumed_after = event["after"]
        if attempt.resumed_after:
            _out.print(f"  resumes after step {attempt.resumed_after}")
    elif event["event"] == "computed":
        attempt.computed[event["step"]] = event["seconds"]
    elif event["event"] == "stored":
        step = event["step"]
        attempt.stored[step] = event["seconds"]
        _out.print(
            f"  step {step} of {STEPS}: worked {attempt.computed[step]:.3f} s, "
            f"stored its checkpoint in {event['seconds']:.3f} s"
        )


def _show_progress(directory: Path) -> None:
    with open_stores(directory) as stores:
        progress = stores.task_store(*TASK).get("progress")
    _out.print(f"  its progress, read from this process while it runs: step {progress['step']} of {progress['of']}")


def _show_what_is_left(directory: Path) -> None:
    row = _checkpoint_row(directory)
    ref = _ref(row)
    _out.print(f"what the row holds: {len(row)} bytes\n  {row}")
    _out.print("what the directory holds:")
    for blob in _blobs(directory):
        _out.print(f"  {_size(blob.stat().st_size)}  {blob.relative_to(directory)}")
    _out.print(f"  ({_size(ref.raw)} of JSON, compressed)\n")


def _show_result(first: Attempt, second: Attempt) -> None:
    spared = sum(first.computed[step] + first.stored[step] for step in first.stored)
    lost = [step for step in first.computed if step not in first.stored]
    lost_seconds = sum(first.computed[step] for step in lost)
    done_again = sorted(set(first.computed) & set(second.computed))
    _out.print(f"\nThe crash cost step {', '.join(map(str, done_again))} again: {lost_seconds:.3f} s of work.")
    _out.print(f"Steps 1 to {max(first.stored, default=0)}, {spared:.3f} s, were not repeated.")


def _checks(directory: Path, first: Attempt, second: Attempt) -> dict[str, bool]:
    """What has to be true, computed without the way the task took."""
    expected: dict[str, Any] = {"customers": {}}
    for step in range(1, STEPS + 1):
        expected = step_result(step, expected)
    with open_stores(directory) as stores:
        stored = stores.task_store(*TASK).get("checkpoint")
    ref = _ref(_checkpoint_row(directory))
    died = -signal.SIGKILL if hasattr(signal, "SIGKILL") else 1
    return {
        "the first attempt was killed": first.returncode == died and KILLED_AT not in first.stored,
        "the second attempt finished": second.returncode == 0,
        "it resumed from the last checkpoint": second.resumed_after == max(first.stored) == KILLED_AT - 1,
        "no step but the lost one was repeated": list(second.computed) == list(range(KILLED_AT, STEPS + 1)),
        "the last checkpoint is what an unbroken run gives": json.dumps(stored) == json.dumps(expected),
        "the only blob is the one the row refers to": [f"file://{blob}" for blob in _blobs(directory)] == [ref.url],
    }


def _show_how_to_look(directory: Path, *, kept: bool) -> None:
    _out.print("Verified: the result is that of an unbroken run, and the only blob is the one its row refers to.\n")
    if not kept:
        _out.print("To look at it yourself: offload demo --keep DIRECTORY")
        return
    blob = _blobs(directory)[0]
    _out.print("Look at it yourself:")
    _out.print("  sqlite3", quote(str(directory / "state.db")), "'SELECT key, value FROM offload_task_state'")
    _out.print("  zstd -dc", quote(str(blob)), "| jq '.step, (.customers | length)'")


def _checkpoint_row(directory: Path) -> str:
    query = "SELECT value FROM offload_task_state WHERE key = 'checkpoint'"
    with contextlib.closing(sqlite3.connect(directory / "state.db")) as database:
        return str(database.execute(query).fetchone()[0])


def _ref(row: str) -> BlobRef:
    ref = parse_ref(json.loads(row)["__airflow_state_ref__"])
    if not isinstance(ref, BlobRef):
        raise TypeError("the checkpoint was not offloaded")
    return ref


def _blobs(directory: Path) -> list[Path]:
    return sorted(file for file in (directory / "blobs").rglob("*") if file.is_file())


def _size(size: int) -> str:
    return f"{size / 1e6:.2f} MB"
