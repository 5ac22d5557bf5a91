"""Writes the golden control objects of the collector: ``python -m tests.golden.collector DIRECTORY``.

Run once for each format version; as with :mod:`tests.golden.write`, those of a released version stay as they are.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from itertools import count
from pathlib import Path
from unittest.mock import patch

from offload_backend.address import TaskAddress, blob_name
from offload_backend.blobstore import BlobInfo, DeleteReport
from offload_backend.errors import Refusal
from offload_backend.lifecycle import adopt, control, mark
from offload_backend.lifecycle.control import Control
from offload_backend.lifecycle.preflight import Run
from offload_backend.lifecycle.records import Candidate, ManifestHeader, Marker, Owner
from offload_backend.lifecycle.report import Counts, Limits, Tally
from tests.lifecycle.simulation import SimulatedStore, Site

LOCATION = "s3://golden/state"
NOW = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=timezone.utc)
DAY = timedelta(days=1)
OWNER_ID = "01999999-9999-7aaa-8bbb-000000000001"
RUN = "0000000008-01999999-9999-7aaa-8bbb-000000000002"
PURGE = "0000000009-01999999-9999-7aaa-8bbb-000000000009"

OWNER = Owner("golden", "postgresql", "7300000000000000001/airflow", LOCATION, NOW)
MARKER = Marker("mark", 8, OWNER_ID)
CANDIDATES = [
    Candidate(
        id=f"01999999-9999-7aaa-8bbb-cccccccccc{number:02}",
        name=blob_name(
            "golden",
            TaskAddress("etl", "run", "train", number),
            "key",
            f"01999999-9999-7aaa-8bbb-cccccccccc{number:02}",
            "json.zst",
        ),
        size=size,
        modified=NOW - 9 * DAY,
        first_marked=NOW - number * DAY,
    )
    for number, size in enumerate((285, 0, 5 * 1024**4))
]
LIMITS = Limits(3 * DAY, 7 * DAY, 0.2, 100_000, 0.999, timedelta(minutes=5))
HEADER = ManifestHeader(
    run=RUN,
    sequence=8,
    state="refused",
    deployment="golden",
    location=LOCATION,
    owner=OWNER_ID,
    t0=NOW,
    limits=LIMITS,
    counts=Counts(listed=Tally(10, 10 * 1024**4), live=Tally(7, 700), marked=Tally(3, 5 * 1024**4 + 285)),
    refusals=(
        Refusal("ratio", "3 of 10 blobs would go (30.0%)", "20.0%", "look at the samples; or --accept ratio"),
    ),
    accepted=("count",),
)
PINNED = "01999999-9999-7aaa-8bbb-cccccccccc77"


def objects() -> Iterator[tuple[str, bytes]]:
    """Every kind of control object: its name below the deployment's, and its bytes."""
    store = SimulatedStore(lambda: NOW, LOCATION)
    control_objects = Control(store, "golden")
    with _fixed_ids():
        assert control_objects.write_owner(OWNER) == OWNER_ID
        assert control_objects.begin(MARKER)[0] == RUN
        control_objects.write_restored([candidate.id for candidate in CANDIDATES[:2]], NOW)
        control_objects.write_manifest(HEADER, CANDIDATES)
        site = Site()
        site.store, site.outer, site.local_clock.now = store, store, NOW
        site.configure(path=LOCATION, deployment="golden")
        adopt._write_canary(control_objects, OWNER_ID, "2026-01-02T03:04:05.678901+00:00")
        run = Run(RUN, 8, "mark", NOW, timedelta(0), OWNER_ID)
        for candidate in CANDIDATES:
            store._blobs[candidate.name] = (b"", candidate.modified)
        mark.list_shard(site.collector, run, "v1/golden/task/e")
        control_objects.write_pin(PINNED, NOW)
        names = [candidate.name for candidate in CANDIDATES[:2]]
        control_objects.write_intent(PURGE, 1, names)
        control_objects.write_result(PURGE, 1, DeleteReport((names[0],), {names[1]: "AccessDenied"}))
    for name in store.names():
        if "/_gc/" in name:
            yield name.removeprefix("v1/golden/_gc/"), b"".join(store.get(name))


def entries() -> list[BlobInfo]:
    """What the golden listing holds."""
    return [BlobInfo(candidate.name, 0, candidate.modified) for candidate in CANDIDATES]


@contextmanager
def _fixed_ids() -> Iterator[None]:
    numbers = count(1)

    def fixed() -> str:
        return f"01999999-9999-7aaa-8bbb-{next(numbers):012}"

    with patch.object(control, "new_blob_id", fixed), patch.object(mark, "new_blob_id", fixed):
        yield


def write(directory: Path) -> None:
    """Write every golden object below the directory."""
    for name, data in objects():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(data)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
