"""The whole story on one Airflow: rows vanish, a collector comes twice, archives go, the database is reset."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from offload_backend.address import StateAddress, address_of_scope, parse_blob_name
from offload_backend.corestores.airflow_rest import RestRoots
from offload_backend.corestores.airflow_roots import AirflowRoots
from offload_backend.errors import OffloadError
from offload_backend.lifecycle.adopt import adopt
from offload_backend.lifecycle.collector import Collector
from offload_backend.lifecycle.mark import mark
from offload_backend.lifecycle.purge import purge
from offload_backend.lifecycle.report import MarkReport, PurgeReport
from offload_backend.offloader import Offloader
from offload_backend.rootsource import Hidden, RootSource
from offload_backend.row import ENVELOPE_KEY
from offload_backend.settings import Settings
from offload_backend.stores.local import LocalBlobStore
from tests.airflow.harness import Airflow, Run
from tests.airflow.rows import AssetRow, TaskRow
from tests.airflow.vanishing import assets, attempts, runs, staying, values
from tests.airflow.vanishing.site import Fate, Site, id_of, written_by

Producer = Callable[[Site], "Fate | None"]
VANISHING: tuple[Producer, ...] = (*runs.PRODUCERS, *values.PRODUCERS, *attempts.PRODUCERS, *assets.PRODUCERS)
STAYING: tuple[Producer, ...] = staying.PRODUCERS
OLD, LAST_WEEK = timedelta(days=20), timedelta(days=8)


@dataclass
class Verdict:
    """What a root source leaves to the collector, and what it could not see."""

    garbage: frozenset[str]
    hidden: tuple[Hidden, ...]


@dataclass
class Collection:
    """A mark and a purge, and the blobs before and after."""

    before: frozenset[str]
    marked: MarkReport
    purged: PurgeReport
    after: frozenset[str]


@dataclass
class Aftermath:
    """What happened, in the order of the attributes; a producer that failed left its traceback."""

    site: Site
    fates: dict[str, Fate | str | None] = field(default_factory=dict)
    young: frozenset[str] = frozenset()
    returned: frozenset[str] = frozenset()
    archived: frozenset[str] = frozenset()
    by_rest: Verdict = field(init=False)
    marked_through_rest: MarkReport = field(init=False)
    by_database: Verdict = field(init=False)
    a_week_ago: Collection = field(init=False)
    today: Collection = field(init=False)
    resolved: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    """By blob id, what each live ref resolved to after that, and what had been written."""
    read_again: tuple[Any, Any] = (None, None)
    """What a task and an asset's task read through Airflow after that."""
    without_archives: Collection = field(init=False)
    after_reset: list[OffloadError] = field(default_factory=list)
    """How the collector took it: as it was, adopted once more, and by a database older than the tables."""
    in_the_end: frozenset[str] = frozenset()

    def fate(self, producer: Producer) -> Fate | None:
        """What the producer did; fails the test as the producer failed."""
        fate = self.fates[producer.__name__]
        assert not isinstance(fate, str), fate
        return fate


class LastWeeksStore(LocalBlobStore):
    """The store as it was: what is written has the age that it would have today."""

    def put(self, name: str, chunks: Iterable[bytes]) -> None:
        super().put(name, chunks)
        age(Path(self.location.removeprefix("file://"), name), LAST_WEEK)


def tell(airflow: Airflow, folder: Path) -> Aftermath:
    """Everything, once."""
    site = Site(airflow, folder)
    told = Aftermath(site)
    for producer in (*VANISHING, *STAYING):
        told.fates[producer.__name__] = _attempt(producer, site)
    resuming = _resuming(site)
    told.archived = _archive(site)
    told.returned, put_back = _take_away(site)
    _age_everything(site)
    told.young = site.of(young := site.write())
    airflow.rest.ask("DELETE", f"/api/v2/dags/vanishing/dagRuns/{young.run_id}")
    with closing(RestRoots(airflow.rest.url, deployment="default")) as rest:
        told.by_rest = _verdict(site, rest)
        told.marked_through_rest = _mark_first(_collector(site, rest, LAST_WEEK))
    with closing(_database(airflow)) as roots:
        told.by_database = _verdict(site, roots)
        told.a_week_ago = _collect(site, _collector(site, roots, LAST_WEEK), _mark_first)
        told.today = _collect(site, _collector(site, roots), between=put_back)
        told.resolved = _resolve(site)
        told.read_again = _read_again(site, resuming)
        site.command("db", "drop-archived", "--yes")
        told.without_archives = _collect(site, _collector(site, roots, gc_quarantine="0s"))
        _reset(told, _collector(site, roots))
    return told


def age(path: Path, by: timedelta) -> None:
    """Make a blob as old as that."""
    moment = (datetime.now(timezone.utc) - by).timestamp()
    os.utime(path, (moment, moment))


def _attempt(producer: Producer, site: Site) -> Fate | str | None:
    try:
        return producer(site)
    except Exception:
        return traceback.format_exc()


def _resuming(site: Site) -> Run:
    """A run whose task will go on after the collection."""
    run = site.write(read="a")
    staying.clear_but_keep(site, run)
    return run


def _archive(site: Site) -> frozenset[str]:
    run = site.write(seconds=0)
    expired = site.of(run)
    runs.clean(site, "task_state_store")
    assert not expired & site.live()
    assert expired == site.archived()
    return expired


def _take_away(site: Site) -> tuple[frozenset[str], Callable[[], object]]:
    """A blob whose row is deleted through REST, and what puts the row back."""
    run = site.write()
    (ref,) = [row.ref for row in site.airflow.rows().task if (row.run_id, row.key) == (run.run_id, "a")]
    path, body = f"{site.state(run)}/state-store/a", {"value": {ENVELOPE_KEY: ref}}
    returned = site.of(run, key="a")
    site.airflow.rest.ask("DELETE", path)
    return returned, lambda: site.airflow.rest.ask("PUT", path, json=body)


def _age_everything(site: Site) -> None:
    for blob in site.blobs():
        age(blob, OLD)
    moment = datetime.now(timezone.utc) - OLD
    for table in ("task_state_store", "asset_state_store", *site.archives()):
        site.airflow.sql(f"UPDATE {table} SET updated_at = :moment", moment=moment)


def _database(airflow: Airflow) -> RootSource:
    return AirflowRoots(airflow.env["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"], deployment="default")


def _collector(site: Site, roots: RootSource, ago: timedelta = timedelta(0), **changes: str) -> Collector:
    # More than half of these blobs are garbage, which is as unusual as it looks.
    settings = Settings.load({"path": site.folder.as_uri(), "gc_max_ratio": "1", **changes})
    kind = LastWeeksStore if ago else LocalBlobStore
    clock = lambda: datetime.now(timezone.utc) - ago  # noqa: E731
    return Collector(settings, kind(site.folder.as_uri()), roots, clock=clock)


def _collect(
    site: Site,
    collector: Collector,
    mark: Callable[[Collector], MarkReport] = mark,
    between: Callable[[], object] = lambda: None,
) -> Collection:
    before, marked = site.stored(), mark(collector)
    between()
    return Collection(before, marked, purge(collector, delete=True), site.stored())


def _mark_first(collector: Collector) -> MarkReport:
    adopt(collector, ("adopted",))  # from REST to the database, and back from a reset one
    return mark(collector)


def _verdict(site: Site, roots: RootSource) -> Verdict:
    """What mark makes of the roots, in a few lines of its own."""
    names = [parse_blob_name(str(path.relative_to(site.folder))) for path in site.blobs()]
    scopes = {each.id: address_of_scope(each.scope) for each in names if each is not None}
    addresses: dict[StateAddress, None] = {each: None for each in scopes.values() if each is not None}
    found = list(roots.roots(addresses))
    hidden = tuple(each for each in found if isinstance(each, Hidden))
    live = {blob_id for each in found if not isinstance(each, Hidden) for blob_id in each.ids}
    unseen = {each.address for each in hidden}
    return Verdict(frozenset(i for i, at in scopes.items() if i not in live and at not in unseen), hidden)


def _resolve(site: Site) -> dict[str, tuple[Any, Any]]:
    settings = Settings.load({"path": site.folder.as_uri()})
    offloader = Offloader(settings, LocalBlobStore)
    state = site.airflow.rows()
    rows: list[TaskRow | AssetRow] = [*state.task, *state.asset]
    found: dict[str, tuple[Any, Any]] = {}
    for row in rows:
        if row.ref is not None:
            found[id_of(row.ref)] = (_value_or_error(offloader, row.ref), written_by(row))
    return found


def _value_or_error(offloader: Offloader, ref: str) -> Any:
    try:
        return offloader.resolve(ref)
    except OffloadError as error:
        return error


def _read_again(site: Site, resuming: Run) -> tuple[Any, Any]:
    resuming.attempt("write")
    run = site.write("vanishing_assets", read="b")
    return _result_or_log(resuming, "write"), _result_or_log(run, "touch")


def _result_or_log(run: Run, task_id: str) -> Any:
    return run.result(task_id) if run.attempts[-1].state == "success" else run.log


def _reset(told: Aftermath, collector: Collector) -> None:
    """Every mark here has to raise; the one that does not leaves its error out of the list."""
    site = told.site
    site.command("db", "reset", "--yes")
    for attempt in (mark, _mark_first):
        with _recorded(told):
            attempt(collector)
    site.command("db", "downgrade", "--yes", "--to-version", "3.2.0")
    with _recorded(told):
        mark(collector)
    told.in_the_end = site.stored()


@contextmanager
def _recorded(told: Aftermath) -> Iterator[None]:
    try:
        yield
    except OffloadError as error:
        told.after_reset.append(error)
