"""A bar on stderr for verbs that take long, if somebody looks at it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

__all__ = ["Show", "bar"]

Show = Callable[[str, int, int | None], None]
"""What is done: in words, as a number, and of how many, if that is known."""


@contextlib.contextmanager
def bar() -> Iterator[Show]:
    """Shows how far it is, how many a second, and the time that remains; nothing where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield lambda _words, _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(TextColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:,.0f}/s" if task.speed else "")

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(""),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("looking", total=None)
        yield lambda words, done, total: progress.update(task, description=words, completed=done, total=total)
