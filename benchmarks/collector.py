"""How the collector grows: ``python -m benchmarks.collector``, or with ``--quick`` to see that it works.

Blobs are listed by a store that makes them up, so that what is measured is ours: the join, the reading of
the roots from a real SQLite database, the manifest, the journal. Every tenth blob is an orphan. Each size
runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta, timezone
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

from benchmarks.machine import describe
from benchmarks.memory import Peak
from offload_backend.address import TaskAddress, blob_name
from offload_backend.blobstore import BlobInfo, DeleteReport

RESULTS = Path(__file__).parent / "results" / "collector.json"
README = Path(__file__).parent / "README.md"
MARKS = "<!-- collector -->", "<!-- /collector -->"
SIZES = (10_000, 100_000, 1_000_000)
QUICK = (1_000, 2_000)
DEPLOYMENT = "bench"
PATH = "memory://bench/state"
SIZE = 25_000
OLD = timedelta(days=30)
ORPHAN_EVERY = 10
PER_PAGE = 1000
PER_STATEMENT = 5_000
LIST_PRICE = 0.005 / 1000


def blob(number: int) -> tuple[TaskAddress, str, str]:
    """Address, key and name of a made-up blob: fifty tasks a run, a thousand runs a DAG."""
    address = TaskAddress(f"dag_{number // 50_000}", f"scheduled__{number // 50 % 1000}", f"task_{number % 50}")
    blob_id = str(UUID(int=(number * 0x9E3779B97F4A7C15 << 32 | number) % (1 << 128)))
    return address, "checkpoint", blob_name(DEPLOYMENT, address, "checkpoint", blob_id, "json.zst")


class MadeUpStore:
    """A store with ``count`` old blobs, and really with whatever the collector itself writes."""

    def __init__(self, count: int) -> None:
        from offload_backend.stores.memory import MemoryBlobStore

        self.listed = 0
        self.deleted = 0
        self._count = count
        self._own = MemoryBlobStore(PATH)
        self._modified = datetime.now(tz=timezone.utc) - OLD
        self.location = self._own.location
        self.put, self.get, self.get_range = self._own.put, self._own.get, self._own.get_range

    def list(self, prefix: str = "") -> Iterator[BlobInfo]:
        """The collector's objects, and the blobs where they are asked for."""
        for info in self._own.list(prefix):
            self.listed += 1
            yield info
        if f"v1/{DEPLOYMENT}/task/".startswith(prefix):
            for number in range(self._count):
                self.listed += 1
                yield BlobInfo(blob(number)[2], SIZE, self._modified)

    def delete(self, names: Sequence[str]) -> DeleteReport:
        """Say that they are gone."""
        self.deleted += len(names)
        return DeleteReport(deleted=tuple(names))


def fill(url: str, count: int) -> None:
    """A core store with a row for every blob that is no orphan."""
    from sqlalchemy import create_engine, insert

    from offload_backend.corestores.schema import METADATA, TASKS, columns_of, owner_digest, row_digest
    from offload_backend.ref import BlobRef, format_ref
    from offload_backend.row import envelope

    engine = create_engine(url)
    METADATA.create_all(engine)
    written = datetime.now(tz=timezone.utc) - OLD

    def rows() -> Iterator[dict[str, Any]]:
        for number in range(count):
            address, key, name = blob(number)
            if number % ORPHAN_EVERY:
                ref = BlobRef(
                    url=f"{PATH}/{name}", size=SIZE, raw=4 * SIZE, digest="0" * 64, seal=200, codec="json"
                )
                places = {"id": row_digest(address, key), "owner": owner_digest(address), **columns_of(address)}
                yield {**places, "key": key, "value": envelope(format_ref(ref)), "updated_at": written}

    source = rows()
    with engine.begin() as connection:
        while batch := list(islice(source, PER_STATEMENT)):
            connection.execute(insert(TASKS), batch)
    engine.dispose()


def measure(url: str, count: int) -> dict[str, Any]:
    """Seconds and peak memory of a mark and a purge."""
    from offload_backend.corestores.sql_roots import SqlRoots
    from offload_backend.lifecycle.adopt import adopt
    from offload_backend.lifecycle.collector import Collector
    from offload_backend.lifecycle.mark import mark
    from offload_backend.lifecycle.purge import purge
    from offload_backend.settings import Settings

    store = MadeUpStore(count)
    limits = {"gc_quarantine": "0s", "gc_max_count": SIZES[-1] * 10}
    settings = Settings.load({"path": PATH, "deployment": DEPLOYMENT, **limits})
    collector = Collector(settings, store, SqlRoots(url, DEPLOYMENT))
    adopt(collector)
    figures: dict[str, Any] = {"blobs": count}
    for verb, act in (("mark", lambda: mark(collector)), ("purge", lambda: purge(collector, delete=True))):
        store.listed = 0
        with Peak() as peak:
            start = time.perf_counter()
            act()
            figures[f"{verb} seconds"] = time.perf_counter() - start
        figures[f"{verb} peak"] = peak.above
        figures[f"{verb} listings"] = -(-store.listed // PER_PAGE)
    if store.deleted != count // ORPHAN_EVERY:
        raise RuntimeError(f"{store.deleted} of {count // ORPHAN_EVERY} orphans were deleted")
    return {**figures, "deleted": store.deleted}


def table(results: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [
        "| blobs | mark | peak memory | purge of a tenth | peak memory | LIST requests of both | their price |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for found in results["sizes"]:
        listings = found["mark listings"] + found["purge listings"]
        lines.append(
            f"| {found['blobs']:,} | {found['mark seconds']:.1f} s | {found['mark peak'] / 1e6:.0f} MB "
            f"| {found['purge seconds']:.1f} s | {found['purge peak'] / 1e6:.0f} MB "
            f"| {listings:,} | ${listings * LIST_PRICE:.3f} |"
        )
    machine = results["machine"]
    lines += [
        "",
        f"{results['made'][:10]}, {machine['cores']} cores ({machine['processor']}), Python {machine['python']}.",
    ]
    return "\n".join(lines)


def write_readme(text: str) -> None:
    """Put the table between its marks."""
    before, _, rest = README.read_text(encoding="utf-8").partition(MARKS[0])
    README.write_text(f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{rest.partition(MARKS[1])[2]}", encoding="utf-8")


def run(sizes: Iterable[int]) -> dict[str, Any]:
    """Measure each size in a fresh process."""
    found = []
    spawning = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            url = f"sqlite:///{folder}/{size}.db"
            for act in (fill, measure):
                with spawning.Pool(1) as pool:
                    result = pool.apply(act, (url, size))
            found.append(result)
            print(json.dumps(result), flush=True)
    made = datetime.now(tz=timezone.utc).isoformat(timespec="seconds")
    return {"format": 1, "made": made, "machine": describe(), "sizes": found}


def main() -> None:
    """Measure, print, and write the results unless they are only to be looked at."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.collector", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes; their times mean nothing")
    quick = parser.parse_args().quick
    results = run(QUICK if quick else SIZES)
    print(table(results))
    if not quick:
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        write_readme(table(results))


if __name__ == "__main__":
    main()
