"""Roots carried in a file from where the database is to where the bucket is (``docs/formats.md``, *Root export*).

The database stays the one that counts runs. Each export takes the next few numbers from it, for the runs
of the one process that will use the file; that process spends them and can go no further. So a bucket
that has seen a higher number than the file's tells an export that was used before, one that is older than
another that was used, and a database that was restored or copied in between.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from offload_backend.corestores.exportfile import AGAIN, damaged, read_export, write_export
from offload_backend.errors import ConfigError, CoreStoreError
from offload_backend.rootsource import Hidden, Ledger, Origin, Root, RootSource

if TYPE_CHECKING:
    from offload_backend.address import StateAddress

__all__ = ["RUNS", "Export", "ExportedRoots", "export_roots"]

FORMAT = 1
RUNS = 10
"""How many runs one process may make of one export."""

COMPLETE = ("sql", "airflow")
"""Kinds of sources that read everything; others must be asked for addresses, which only the bucket tells."""

_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Export:
    """What was exported: how many roots, up to which moment, and the ledger that the runs begin with."""

    roots: int
    read_at: datetime
    ledger: Ledger | None


@runtime_checkable
class _HasClock(Protocol):
    def now(self) -> datetime: ...


def export_roots(
    source: RootSource, file: Path, deployment: str, *, sequence: int = 0, canary: str | None = None
) -> Export:
    """Write every root of ``source`` to ``file``, which appears, or is replaced, only when it is complete.

    ``sequence`` and ``canary`` finish an adoption that was begun with an export, and are told by it: the
    database's ledger is brought to that run and gets that canary first. Raises
    :class:`~offload_backend.errors.CoreStoreError` and :class:`~offload_backend.errors.ConfigError` as the
    source does, and for one that cannot read everything.
    """
    origin = source.origin()
    if origin.kind not in COMPLETE:
        raise ConfigError(
            f"roots of kind {origin.kind!r} cannot be exported: only a database is read whole",
            hint="run this where the database can be reached, with --core-store airflow+postgresql://…",
        )
    ledger = _reserve(source, sequence, canary)
    started_at = datetime.now(timezone.utc)
    read_at = source.now() if isinstance(source, _HasClock) else started_at
    header = {
        "offload_roots": FORMAT,
        "deployment": deployment,
        "kind": origin.kind,
        "fingerprint": origin.fingerprint,
        "location": origin.location,
        "replica": origin.replica,
        "ledger": ledger and {"sequence": ledger.sequence, "runs": RUNS, "canary": ledger.canary},
        "started_at": started_at.isoformat(),
        "read_at": read_at.isoformat(),
    }
    roots = _complete(source.roots(()), ledger, origin.location)
    count = write_export(file, header, map(_entry, roots))
    return Export(count, min(started_at, read_at), ledger)


class ExportedRoots:
    """The :class:`~offload_backend.rootsource.RootSource` that an export is, for one process.

    The file is read to its end and verified before anything is said about it. Raises
    :class:`~offload_backend.errors.CoreStoreError` for one that is truncated or was changed, and
    :class:`~offload_backend.errors.ConfigError` for a file that is no export, or of another deployment.
    """

    def __init__(self, file: Path, deployment: str) -> None:
        self._file = file
        self._deployment = deployment
        self._verified: tuple[_Header, str] | None = None
        self._recorded: Ledger | None = None

    def origin(self) -> Origin:
        """The database as it was; ``read_at`` is before the snapshot by its clock and the exporter's."""
        return self._header().origin

    def ledger(self) -> Ledger | None:
        """As exported, or as this instance has recorded since."""
        return self._recorded or self._header().ledger

    def record(self, ledger: Ledger) -> None:
        """Spend one of the runs that the export has taken from the database; ``CoreStoreError`` beyond them.

        A new canary cannot reach the database this way; the error's hint tells how it does.
        """
        before, last = self.ledger(), self._header().last
        if before is None or ledger.canary != before.canary:
            raise CoreStoreError(
                "an export cannot take a new canary to the database",
                hint="to go on where the database is, run: offload gc export-roots "
                f"--sequence {ledger.sequence} --canary '{ledger.canary}' FILE; and use that file",
                location=str(self._file),
            )
        if not before.sequence <= ledger.sequence <= last:
            raise CoreStoreError(
                f"run {ledger.sequence} is none of those left to this export, {before.sequence + 1} to {last}",
                hint=AGAIN,
                location=str(self._file),
            )
        self._recorded = ledger

    def roots(self, addresses: Iterable[StateAddress]) -> Iterator[Root | Hidden]:  # noqa: ARG002 (the port's)
        """Every root of the export, the canary among them."""
        self._header()
        return self._read()

    def close(self) -> None:
        """Nothing is held."""

    def _header(self) -> _Header:
        if self._verified is None:
            for _ in self._read():
                pass
        if self._verified is None:
            raise damaged("the export is empty", self._file)
        return self._verified[0]

    def _read(self) -> Iterator[Root]:
        entries = read_export(self._file)
        try:
            header = self._checked(next(entries))
            digest = yield from _each(entries, self._root)
        finally:
            entries.close()
        if self._verified is not None and self._verified[1] != digest:
            raise damaged("the export was replaced while it was in use", self._file)
        self._verified = header, digest

    def _checked(self, found: dict[str, Any]) -> _Header:
        if found.get("offload_roots") != FORMAT:
            newer = "offload_roots" in found
            raise ConfigError(
                "the export has a format of another version" if newer else "the file is no export of roots",
                hint="use the same version of offload-backend where it is written and where it is read",
                location=str(self._file),
            )
        if found.get("deployment") != self._deployment:
            raise ConfigError(
                f"the export is of deployment {found.get('deployment')!r}, not {self._deployment!r}",
                hint="set [offload_backend] deployment, or --deployment, to the same on both sides",
                location=str(self._file),
            )
        try:
            return _Header.of(found)
        except (KeyError, TypeError, ValueError) as error:
            raise damaged("the export's header is not what it should be", self._file) from error

    def _root(self, found: dict[str, Any]) -> Root:
        try:
            at = found["updated_at"]
            root = Root(tuple(found["ids"]), found["ref"], at and datetime.fromisoformat(at), found["holder"])
        except (KeyError, TypeError, ValueError) as error:
            raise damaged("a line of the export is no root", self._file) from error
        if not root.ids or not all(isinstance(one, str) and _ID.fullmatch(one) for one in root.ids):
            raise damaged("a line of the export holds no blob's id", self._file)
        return root


@dataclass(frozen=True)
class _Header:
    origin: Origin
    ledger: Ledger | None
    last: int
    """The number of the last run that may be made of the export."""

    @classmethod
    def of(cls, found: dict[str, Any]) -> _Header:
        read_at = min(datetime.fromisoformat(found[name]) for name in ("started_at", "read_at"))
        origin = Origin(found["kind"], found["fingerprint"], found["location"], found["replica"], read_at)
        ledger = found["ledger"]
        if ledger is None:
            return cls(origin, None, 0)
        return cls(
            origin, Ledger(int(ledger["sequence"]), str(ledger["canary"])), ledger["sequence"] + ledger["runs"]
        )


def _each(
    entries: Generator[dict[str, Any], None, str], root_from: Callable[[dict[str, Any]], Root]
) -> Generator[Root, None, str]:
    """The roots, and the value of the generator that they come from."""
    while True:
        try:
            entry = next(entries)
        except StopIteration as end:
            return str(end.value)
        yield root_from(entry)


def _reserve(source: RootSource, sequence: int, canary: str | None) -> Ledger | None:
    """Take the numbers of the next runs from the database, committed; the ledger that these runs begin with."""
    before = source.ledger()
    chosen = canary or (before.canary if before else None)
    if chosen is None:
        return None
    first = Ledger(max(before.sequence if before else 0, sequence), chosen)
    source.record(Ledger(first.sequence + RUNS, chosen))
    return first


def _complete(roots: Iterable[Root | Hidden], ledger: Ledger | None, location: str) -> Iterator[Root]:
    """The roots, if the canary is one of them and none is hidden."""
    has_canary = ledger is None
    for root in roots:
        if isinstance(root, Hidden):
            raise CoreStoreError(
                f"not every row can be seen: {root.reason}",
                hint="read with an account that sees all",
                location=location,
            )
        has_canary = has_canary or (ledger is not None and root.ref == ledger.canary)
        yield root
    if not has_canary:
        raise CoreStoreError("the canary was not read", hint="run: offload gc adopt", location=location)


def _entry(root: Root) -> dict[str, Any]:
    at = root.updated_at and root.updated_at.isoformat()
    return {"ids": root.ids, "ref": root.ref, "updated_at": at, "holder": root.holder}
