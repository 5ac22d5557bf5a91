"""Writes the golden export of roots, with fixed ids and dates: ``python -m tests.golden.write_roots FILE``."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from unittest.mock import patch

from offload_backend.corestores import roots_export
from offload_backend.ref import BlobRef, format_ref
from offload_backend.rootsource import Ledger, Origin, Root

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=timezone.utc)
IDS = [f"01999999-9999-7aaa-8bbb-cccccccccc{number:02}" for number in range(4)]
CONTROL = "s3://golden/state/v1/golden/_gc/canary"
CANARY = format_ref(
    BlobRef(f"{CONTROL}/{IDS[0]}", size=117, raw=70, digest="0123456789abcdef" * 4, codec="json", frames="zstd")
)
CHECKPOINT = format_ref(
    BlobRef(
        f"s3://golden/state/v1/golden/task/etl/r/train/-1/checkpoint/{IDS[1]}.json.zst",
        size=5213,
        raw=34102,
        digest="fedcba9876543210" * 4,
        codec="json",
        frames="zstd",
    )
)
ROOTS = [
    Root((IDS[0],), CANARY, NOW - timedelta(days=30), "offload_collector: deployment golden"),
    Root(
        (IDS[1],), CHECKPOINT, NOW - timedelta(hours=1), "task_state_store: task etl.train run r key 'checkpoint'"
    ),
    Root((IDS[2], IDS[3]), None, None, "asset_state_store: asset 'ключ' key 'inline'"),
]
ORIGIN = Origin(
    "airflow",
    "postgresql cluster=7380000000000000000 database=16384 name='airflow' schema='public'",
    "postgresql://db.example/airflow",
)


class GoldenSource:
    """A database that never changes, except that its ledger is recorded."""

    def __init__(self) -> None:
        self.recorded = Ledger(41, CANARY)

    def origin(self) -> Origin:
        return ORIGIN

    def ledger(self) -> Ledger:
        return self.recorded

    def record(self, ledger: Ledger) -> None:
        self.recorded = ledger

    def now(self) -> datetime:
        return NOW - timedelta(milliseconds=500)

    def roots(self, addresses: Any) -> Any:
        return iter(ROOTS)

    def close(self) -> None:
        pass


def write(file: Path) -> None:
    """Write the golden file."""
    clock = type("FixedClock", (datetime,), {"now": staticmethod(NOW.astimezone)})
    with patch.object(roots_export, "datetime", clock):
        roots_export.export_roots(GoldenSource(), file, "golden")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
