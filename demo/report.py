"""What the demo tells: lines as things happen, a bar for a person at a terminal, and the verdict."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from demo.corpus import STEPS

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from demo.observe import Bucket, Rows

__all__ = ["Report", "megabytes"]


class Report:
    """Prints; knows nothing of how things are done."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, soft_wrap=True)
        self._started = time.monotonic()
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=32),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self._task: TaskID = self._bar.add_task("starting", total=STEPS + 1)  # and the checks
        self.failed = False

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._started

    def phase(self, text: str) -> None:
        """A new stage begins."""
        self._bar.update(self._task, description=escape(text))
        self.console.print(f"[dim]{self.elapsed():5.1f} s[/dim]  [bold]{escape(text)}[/bold]")

    def finish(self) -> None:
        """The last word."""
        words = (
            "[bold red]something is WRONG; logs are in .demo/[/bold red]" if self.failed else "[bold]done[/bold]"
        )
        self.console.print(f"\n{words}, {self.elapsed():.0f} s")

    def line(self, text: str) -> None:
        """Something worth knowing."""
        self.console.print(f"         {escape(text)}")

    def event(self, event: dict[str, Any], rows: Rows, bucket: Bucket) -> None:
        """One thing the task did."""
        what, step, seconds = event["what"], event.get("step"), event["seconds"]
        if step and what != "killed":
            self._bar.update(self._task, completed=step)
        place = f"try {event['try']}" + (f", step {step} of {STEPS}" if step else "")
        if what == "stored":
            self._stored(place, seconds, rows, bucket)
        elif what == "killed":
            self.console.print(
                f"{'':9}{place}: [bold red]SIGKILL[/bold red] to the task's own process, pid {event['pid']}"
            )
        elif what == "resumed":
            self.console.print(
                f"{'':9}try {event['try']}: [bold green]resumed after step {step}[/bold green]: "
                f"checkpoint fetched, verified and decoded in {seconds:.2f} s"
            )
        else:
            self.line(f"{place}: {what} in {seconds:.2f} s")

    def _stored(self, place: str, seconds: float, rows: Rows, bucket: Bucket) -> None:
        ref = rows.ref
        self.line(
            f"{place}: checkpoint of {megabytes(ref.raw)} JSON stored as {megabytes(ref.size)} in {seconds:.2f} s; "
            f"row {len(rows.checkpoint)} bytes; bucket {bucket.objects} object(s), {megabytes(bucket.size)}"
        )

    def expect(self, holds: bool, text: str) -> None:
        """Something that must be true; the demo fails when one is not."""
        self.failed |= not holds
        mark = "[green]ok[/green]   " if holds else "[bold red]WRONG[/bold red]"
        self.console.print(f"  {mark}  {escape(text)}")


def megabytes(size: int) -> str:
    """``115.3 MB``; a megabyte is a million bytes."""
    return f"{size / 1e6:.1f} MB"
