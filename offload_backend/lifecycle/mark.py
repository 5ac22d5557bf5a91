"""Mark: find the blobs that no row names, and write down since when. Deletes no blob.

Three steps, of which the second may be spread over many processes: :func:`begin`, :func:`list_shard` for each of
:func:`shards`, :func:`conclude`. :func:`mark` is all of it in one process.
"""

from __future__ import annotations

import string
from collections.abc import Collection, Iterator
from datetime import datetime
from itertools import chain
from typing import Any

from offload_backend.address import deployment_prefix, new_blob_id
from offload_backend.blobstore import BlobInfo
from offload_backend.errors import CollectorError
from offload_backend.lifecycle import preflight
from offload_backend.lifecycle.census import Census
from offload_backend.lifecycle.collector import Collector
from offload_backend.lifecycle.control import Control
from offload_backend.lifecycle.lines import read_lines
from offload_backend.lifecycle.measures import about_findings
from offload_backend.lifecycle.preflight import Run, ask, control_of, limits_of, refuse
from offload_backend.lifecycle.quarantine import carry_forward, load_former, rescue
from offload_backend.lifecycle.records import Layout, ManifestHeader, moment, moment_text
from offload_backend.lifecycle.refusals import OLDEST_MANIFEST, remaining
from offload_backend.lifecycle.report import MarkReport
from offload_backend.lifecycle.summary import GOING, cost_of, counts_of, next_deletion, samples, top_scopes
from offload_backend.lifecycle.survey import findings_of, survey
from offload_backend.rootsource import Ledger

__all__ = ["begin", "conclude", "list_shard", "mark", "shards"]

_FIRST = (*string.ascii_letters, *string.digits, "_", "-", ".", "%", "~")
"""What a segment can begin with."""


def mark(collector: Collector, accept: Collection[str] = ()) -> MarkReport:
    """Find the candidates and write the run's manifest.

    Raises :class:`~offload_backend.errors.RefusedError`; when it did so after the listing, the manifest tells
    what was found. ``accept`` names the rules of refusals that the operator overrides.
    """
    return conclude(collector, begin(collector, accept))


def begin(collector: Collector, accept: Collection[str] = ()) -> Run:
    """Preflight, and the marker that says when the run began. What is accepted goes with the run."""
    return preflight.begin(collector, "mark", accept)


def shards(deployment: str) -> tuple[str, ...]:
    """Prefixes of names; every blob's, and the canary's, begins with exactly one of them."""
    below = deployment_prefix(deployment)
    kinds = ("task/", "asset/name=", "asset/uri=")
    return (
        Layout(deployment).canary("").removesuffix(".json.zst"),
        *(f"{below}{k}{c}" for k in kinds for c in _FIRST),
    )


def list_shard(collector: Collector, run: Run, shard: str) -> int:
    """List one of :func:`shards` and write it down for :func:`conclude`: how many objects there are.

    May run anywhere, at the same time as others, and again.
    """
    control = control_of(collector)
    number = shards(collector.settings.deployment).index(shard)
    name = control.layout.run(run.name, "listing", f"{number:04d}-{new_blob_id()}.jsonl.gz")
    counted = _Counted(collector.store.list(shard))
    header = {"offload_listing": 1, "run": run.name, "shard": shard}
    control.write_lines(name, header, map(_entry, counted))
    return counted.count


def conclude(collector: Collector, run: Run) -> MarkReport:
    """Read the roots, join, refuse or not, and write the manifest. Lists everything itself if no shard was."""
    control = control_of(collector)
    if control.run_named(run.name).has_manifest:
        raise CollectorError(f"the run {run.name} is concluded already", hint="offload gc show tells its result")
    with Census(control.layout) as census:
        load_former(control, run, census)
        surveyed = survey(collector, run, census, _listing(collector, control, run))
        rescue(collector, control, census)
        carry_forward(census, _roots_read(collector, control, run))
        refusals = remaining(about_findings(findings_of(census, surveyed, run, collector)), run.accepted)
        report = _report(collector, run, census, "refused" if refusals else "concluded")
        if not refusals:
            ask(collector, "on_orphans_marked", lambda: collector.hooks.on_orphans_marked(report))
        header = ManifestHeader(
            run=run.name,
            sequence=run.sequence,
            state=report.state,
            deployment=report.deployment,
            location=report.location,
            owner=run.owner,
            t0=run.now,
            limits=report.limits,
            counts=report.counts,
            refusals=tuple(refusals),
            accepted=run.accepted,
        )
        control.write_manifest(header, census.candidates(GOING))
    control.drop_listings(run.name)
    refuse(collector, refusals, ())
    control.prune(run.name, before=run.now - OLDEST_MANIFEST)
    return report


def _roots_read(collector: Collector, control: Control, run: Run) -> datetime:
    """From when the quarantine of new candidates counts: after their rows were not found.

    The database's number goes up once more, so that a backup from before the reading, brought back, is
    noticed (docs/model.md).
    """
    ledger = collector.roots.ledger()
    if ledger is None or ledger.sequence < run.sequence:
        raise CollectorError(
            "the database's ledger went back while the roots were read: it was restored",
            hint="look at docs/lifecycle.md, A drill: restore the database",
        )
    collector.roots.record(Ledger(ledger.sequence + 1, ledger.canary))
    return max(run.now, control.roots_read(run.name, ledger.sequence + 1))


def _report(collector: Collector, run: Run, census: Census, state: str) -> MarkReport:
    settings = collector.settings
    return MarkReport(
        run=run.name,
        state=state,
        now=run.now,
        skew=run.skew,
        deployment=settings.deployment,
        location=collector.store.location,
        owner=run.owner,
        fingerprint=collector.roots.origin().fingerprint,
        limits=limits_of(collector),
        counts=counts_of(census),
        top_scopes=top_scopes(census),
        samples=samples(census),
        next_deletion=next_deletion(census, census.earliest("SELECT MIN(first_marked) FROM going"), settings),
        cost=cost_of(census, writes=2),
        accepted=run.accepted,
    )


def _listing(collector: Collector, control: Control, run: Run) -> Iterator[BlobInfo]:
    """What the shards' listings say if there are any, else the store's own."""
    names = control.listings(run.name)
    if not names:
        return collector.store.list(control.layout.everything)
    expected = set(shards(collector.settings.deployment))
    return chain.from_iterable(_parts(collector, run, names, expected))


def _parts(collector: Collector, run: Run, names: list[str], expected: set[str]) -> Iterator[Iterator[BlobInfo]]:
    missing = set(expected)
    for name in names:
        lines = read_lines(collector.store.get(name))
        header = next(lines, {})
        shard = header.get("shard")
        if header.get("offload_listing") != 1 or header.get("run") != run.name or shard not in expected:
            raise CollectorError("a shard's listing is not of this run", location=name, hint="run offload gc mark")
        yield map(_info, lines)
        missing.discard(shard)
    if missing:
        raise CollectorError(
            f"{len(missing)} shards were not listed, {min(missing)} among them",
            hint="list every shard before the mark is concluded",
        )


class _Counted:
    def __init__(self, infos: Iterator[BlobInfo]) -> None:
        self.count = 0
        self._infos = infos

    def __iter__(self) -> Iterator[BlobInfo]:
        for info in self._infos:
            self.count += 1
            yield info


def _entry(info: BlobInfo) -> dict[str, Any]:
    return {"name": info.name, "size": info.size, "modified": moment_text(info.modified)}


def _info(entry: dict[str, Any]) -> BlobInfo:
    return BlobInfo(str(entry["name"]), int(entry["size"]), moment(entry["modified"]))
