"""Reading and writing the collector's control objects, strictly."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, cast

from offload_backend.address import new_blob_id
from offload_backend.blobstore import BlobInfo, BlobStore, DeleteReport
from offload_backend.errors import BlobNotFoundError, CollectorError
from offload_backend.lifecycle.lines import read_header, read_lines, write_lines
from offload_backend.lifecycle.records import (
    Candidate,
    Layout,
    ManifestHeader,
    Marker,
    Owner,
    from_json,
    json_bytes,
    moment_text,
    to_json,
)

__all__ = ["KEPT_RUNS", "Control", "RunEntry"]

KEPT_RUNS = 100
_MANIFEST = "manifest.jsonl.gz"
_MARKER = "marker.json"
_ROOTS_READ = re.compile(r"roots-([0-9]{10,})\.json")
_LARGEST = 16 * 1024 * 1024


@dataclass(frozen=True)
class RunEntry:
    """A run as the listing shows it; ``began`` is its marker's time, ``None`` for a run without one.

    ``counted`` is the highest number that the run recorded in the database.
    """

    name: str
    sequence: int
    counted: int
    began: datetime | None = None
    has_manifest: bool = False
    objects: tuple[str, ...] = ()

    def seen(self, info: BlobInfo, rest: str) -> RunEntry:
        """The run with one more of its objects."""
        began = info.modified if rest == _MARKER else self.began
        again = _ROOTS_READ.fullmatch(rest)
        return replace(
            self,
            counted=max(self.counted, int(again[1])) if again else self.counted,
            began=began,
            has_manifest=self.has_manifest or rest == _MANIFEST,
            objects=(*self.objects, info.name),
        )


class Control:
    """The control objects of one deployment in one store.

    Every method raises :class:`~offload_backend.errors.StoreError` when the store fails, and
    :class:`CollectorError` for an object that is not what it should be.
    """

    def __init__(self, store: BlobStore, deployment: str) -> None:
        self.store = store
        self.layout = Layout(deployment)

    def owners(self) -> list[str]:
        """The ids of all owners, the newest last."""
        found = sorted((info.modified, info.name) for info in self._listed("owner/"))
        return [owner for _, name in found if (owner := self.layout.id_of(name))]

    def owner(self, owner_id: str) -> Owner:
        """An owner's record."""
        return from_json(Owner, self.read(self.layout.owner(owner_id)))

    def owner_or_none(self, owner_id: str) -> Owner | None:
        """An owner's record, or ``None`` for one that is damaged, of a newer version, or gone meanwhile."""
        try:
            return self.owner(owner_id)
        except (CollectorError, BlobNotFoundError):
            return None

    def write_owner(self, owner: Owner) -> str:
        """Its id."""
        owner_id = new_blob_id()
        self.write(self.layout.owner(owner_id), to_json(owner))
        return owner_id

    def stop(self, owner_id: str) -> None:
        """No run of this owner begins any more."""
        self.write(self.layout.stopped(owner_id), {"offload_stopped": 1, "owner": owner_id})

    def is_stopped(self, owner_id: str) -> bool:
        """Whether :meth:`stop` was called for this owner."""
        name = self.layout.stopped(owner_id)
        return any(info.name == name for info in self.store.list(name))

    def runs(self) -> list[RunEntry]:
        """All runs, in order."""
        runs: dict[str, RunEntry] = {}
        for info in self._listed("runs/"):
            found = self.layout.run_of(info.name)
            if found is not None:
                name, sequence, rest = found
                runs[name] = runs.get(name, RunEntry(name, sequence, sequence)).seen(info, rest)
        return sorted(runs.values(), key=lambda run: (run.sequence, run.name))

    def run_named(self, wanted: str) -> RunEntry:
        """The run of this name or number, or the ``last`` one; :class:`CollectorError` if there is none."""
        runs = self.runs()
        found = runs[-1:] if wanted == "last" else [run for run in runs if wanted in (run.name, str(run.sequence))]
        if not found:
            raise CollectorError(f"there is no run {wanted[:80]!r}", hint="offload gc status lists them")
        return found[-1]

    def begin(self, marker: Marker) -> tuple[str, datetime]:
        """Write a new run's marker: the run's name, and the marker's time by the store's clock."""
        run = f"{marker.sequence:010d}-{new_blob_id()}"
        return run, self._write_marker(self.layout.run(run, _MARKER), to_json(marker))

    def roots_read(self, run: str, sequence: int) -> datetime:
        """Write down that a run has read the roots, and under which number: since when that is so."""
        name = self.layout.run(run, f"roots-{sequence:010d}.json")
        return self._write_marker(name, {"offload_roots_read": 1, "sequence": sequence})

    def sequence(self) -> int:
        """The highest number of a run that the bucket has seen."""
        return max((run.counted for run in self.runs()), default=0)

    def marker(self, run: str) -> Marker:
        """A run's marker."""
        return from_json(Marker, self.read(self.layout.run(run, _MARKER)))

    def manifest_header(self, run: str) -> ManifestHeader:
        """The header of a run's manifest; that the rest is complete is not verified."""
        chunks = cast("Any", self.store.get(self.layout.run(run, _MANIFEST)))
        with closing(chunks):
            return from_json(ManifestHeader, read_header(chunks))

    def candidates(self, run: str) -> Iterator[Candidate]:
        """The candidates in a run's manifest.

        What was yielded counts only when the iteration has ended: then the manifest is complete.
        """
        lines = read_lines(self.store.get(self.layout.run(run, _MANIFEST)))
        from_json(ManifestHeader, next(lines, None))
        return (from_json(Candidate, line) for line in lines)

    def write_manifest(self, header: ManifestHeader, candidates: Iterable[Candidate]) -> None:
        """Write a run's manifest."""
        self.write_lines(self.layout.run(header.run, _MANIFEST), to_json(header), map(to_json, candidates))

    def pins(self) -> Iterator[str]:
        """The ids that are pinned."""
        return (blob_id for info in self._listed("pins/") if (blob_id := self.layout.id_of(info.name)))

    def write_pin(self, blob_id: str, now: datetime) -> None:
        """Pin a blob."""
        found = {"offload_pin": 1, "id": blob_id, "created": moment_text(now)}
        self.write(self.layout.pin(blob_id), found)

    def write_intent(self, run: str, batch: int, names: Sequence[str]) -> None:
        """Write down what is about to be deleted."""
        self._write_journal(run, f"{batch:06d}.intent.json", {"batch": batch, "names": list(names)})

    def write_result(self, run: str, batch: int, report: DeleteReport) -> None:
        """Write down what the store said about it."""
        result = {"deleted": list(report.deleted), "failed": report.failed}
        self._write_journal(run, f"{batch:06d}.result.json", {"batch": batch, **result})

    def restored(self, since: datetime) -> Iterator[str]:
        """The ids that were restored, or seen live by a purge, at ``since`` or later."""
        for info in list(self._listed("restored/")):
            if info.modified >= since:
                yield from self._restored_in(info.name)

    def write_restored(self, ids: Iterable[str], now: datetime) -> str:
        """Write a record of restored ids: its name within the deployment's."""
        record = new_blob_id()
        header = {"offload_restored": 1, "created": moment_text(now)}
        self.write_lines(self.layout.restored(record), header, ({"id": blob_id} for blob_id in ids))
        return record

    def listings(self, run: str) -> list[str]:
        """The names of the listings of shards that belong to a run."""
        return sorted(info.name for info in self.store.list(self.layout.run(run, "listing", "")))

    def drop_listings(self, run: str) -> None:
        """Delete them once the run is concluded; what cannot be deleted goes with the run."""
        names = self.listings(run)
        if names:
            self.store.delete(names)

    def prune(self, concluded: str, before: datetime) -> None:
        """Delete what no later run will ask for, once the mark of this name is concluded.

        Those are all but the newest runs, never the concluded one itself, and records of restored ids from
        ``before`` a moment whose manifests are all too old to be acted upon. What cannot be deleted stays
        for the next time.
        """
        old = [run for run in self.runs()[:-KEPT_RUNS] if run.name != concluded]
        names = [name for run in old for name in run.objects]
        names += [info.name for info in self._listed("restored/") if info.modified < before]
        if names:
            self.store.delete(names)

    def write(self, name: str, found: dict[str, Any]) -> None:
        """Write a small object."""
        self.store.put(name, [json_bytes(found)])

    def write_lines(self, name: str, header: dict[str, Any], entries: Iterable[dict[str, Any]]) -> None:
        """Write an object with many entries."""
        self.store.put(name, write_lines(header, entries))

    def _write_marker(self, name: str, found: dict[str, Any]) -> datetime:
        """When it was written, by the store's clock."""
        self.write(name, found)
        for info in self.store.list(name):
            if info.name == name:
                return info.modified
        raise CollectorError(
            "the marker that was just written is not listed",
            hint="run the command again; if it stays so, the store's listing cannot be relied on",
        )

    def _write_journal(self, run: str, leaf: str, found: dict[str, Any]) -> None:
        self.write(self.layout.run(run, "purge", leaf), {"offload_purge": 1, **found})

    def _restored_in(self, name: str) -> Iterator[str]:
        lines = read_lines(self.store.get(name))
        if next(lines, {}).get("offload_restored") != 1:
            raise CollectorError("a record of restored ids has another format", location=self._place(name))
        for line in lines:
            yield str(line["id"])

    def read(self, name: str) -> Any:
        """A small object."""
        data = bytearray()
        for chunk in self.store.get(name):
            data += chunk
            if len(data) > _LARGEST:
                raise CollectorError("a record of the collector is too large", location=self._place(name))
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise CollectorError(
                "a record of the collector is not JSON",
                location=self._place(name),
                hint="something else wrote below _gc/, or damaged it: look at it, then run offload gc adopt",
            ) from error

    def _listed(self, below: str) -> Iterator[BlobInfo]:
        return self.store.list(f"{self.layout.control}{below}")

    def _place(self, name: str) -> str:
        return f"{self.store.location}/{name}"
