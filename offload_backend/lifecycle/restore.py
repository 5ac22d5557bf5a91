"""Keep what was marked: begin its quarantine anew, or keep it whatever happens."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from offload_backend.errors import CollectorError, ConfigError, IncompleteError
from offload_backend.lifecycle.collector import Collector
from offload_backend.lifecycle.control import Control, RunEntry
from offload_backend.lifecycle.preflight import control_of
from offload_backend.lifecycle.report import PinReport, RestoreReport

__all__ = ["pin", "restore", "unpin"]

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def restore(collector: Collector, run_or_ids: str | Iterable[str]) -> RestoreReport:
    """Unmark blobs: all that a run marked (its name, its number, or ``last``), or those with these ids.

    They can be marked again from the next mark on, and are purged after another quarantine at the earliest.
    A purge that is under way lets them be from its next batch on.
    """
    control = control_of(collector)
    if isinstance(run_or_ids, str):
        run = _mark_named(control, run_or_ids)
        counted = _Counted(candidate.id for candidate in control.candidates(run.name))
        record = control.write_restored(counted, collector.clock())
        return RestoreReport(record, counted.count)
    wanted = checked_ids(run_or_ids)
    record = control.write_restored(wanted, collector.clock())
    known = _marked(control, set(wanted))
    return RestoreReport(record, len(known), tuple(blob_id for blob_id in wanted if blob_id not in known))


def pin(collector: Collector, ids: Iterable[str]) -> PinReport:
    """Keep the blobs with these ids, whatever rows and marks say, until they are unpinned."""
    control = control_of(collector)
    wanted, pinned = checked_ids(ids), set(control.pins())
    new = tuple(blob_id for blob_id in wanted if blob_id not in pinned)
    for blob_id in new:
        control.write_pin(blob_id, collector.clock())
    return PinReport(new, tuple(blob_id for blob_id in wanted if blob_id in pinned), len(pinned) + len(new))


def unpin(collector: Collector, ids: Iterable[str]) -> PinReport:
    """Let them go again. Raises :class:`IncompleteError` when the store does not confirm it."""
    control = control_of(collector)
    wanted, pinned = checked_ids(ids), set(control.pins())
    old = tuple(blob_id for blob_id in wanted if blob_id in pinned)
    report = control.store.delete([control.layout.pin(blob_id) for blob_id in old])
    if report.failed:
        raise IncompleteError(f"{len(report.failed)} pins could not be removed", report.failed)
    return PinReport(old, tuple(blob_id for blob_id in wanted if blob_id not in pinned), len(pinned) - len(old))


def checked_ids(ids: Iterable[str]) -> list[str]:
    """The ids, each once, in lower case; :class:`ConfigError` for what is none."""
    wanted = list(dict.fromkeys(blob_id.strip().lower() for blob_id in ids))
    strange = [blob_id for blob_id in wanted if not _ID.fullmatch(blob_id)]
    if strange or not wanted:
        raise ConfigError(
            f"{strange[0][:60]!r} is no id of a blob" if strange else "no id was given",
            hint="an id is what stands in a blob's name before .json.zst",
        )
    return wanted


def _mark_named(control: Control, wanted: str) -> RunEntry:
    """The run of this name or number, or the last one that marked; :class:`CollectorError` for one that did not."""
    marks = [run for run in control.runs() if run.has_manifest]
    run = marks[-1] if wanted == "last" and marks else control.run_named(wanted)
    if not run.has_manifest:
        raise CollectorError(
            f"the run {run.name} marked nothing", hint="offload gc status lists the runs: choose a mark"
        )
    return run


def _marked(control: Control, ids: set[str]) -> set[str]:
    """Which of the ids the newest manifest marks."""
    for run in reversed(control.runs()):
        if run.has_manifest:
            try:
                return {candidate.id for candidate in control.candidates(run.name) if candidate.id in ids}
            except CollectorError:
                return set()
    return set()


class _Counted:
    def __init__(self, ids: Iterable[str]) -> None:
        self.count = 0
        self._ids = ids

    def __iter__(self) -> Iterator[str]:
        for blob_id in self._ids:
            self.count += 1
            yield blob_id
