"""Steps of the core store: each commit of a transaction that has written."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.engine.default import DefaultDialect

from tests.faults.kinds import BY_NAME
from tests.faults.steps import Aim, Steps

_WRITES = ("INSERT", "UPDATE", "DELETE")


@contextmanager
def watched(steps: Steps) -> Iterator[None]:
    """Steps are taken and struck."""
    written, commit = threading.local(), DefaultDialect.do_commit

    def executing(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("BEGIN"):
            written.any = False
        written.any = getattr(written, "any", False) or statement.startswith(_WRITES)

    def committed(dialect: Any, connection: Any) -> None:
        fault = steps.take("rows", "commit") if getattr(written, "any", False) else None
        do = lambda: commit(dialect, connection)  # noqa: E731
        if fault is None:
            do()
        elif fault.of_process:
            steps.around(fault, do)
        else:
            if fault.rows == "lost":
                do()
            raise sqlite3.OperationalError("disk I/O error" if fault.rows == "lost" else fault.rows)

    DefaultDialect.do_commit = committed
    event.listen(Engine, "before_cursor_execute", executing)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", executing)
        DefaultDialect.do_commit = commit


def reason_for_none(aim: Aim) -> str:
    """Why there is no such thing, or empty."""
    fault = BY_NAME[aim.fault]
    return "" if fault.of_process or fault.rows else "SQLite has no network"
