"""The join of listing, roots and manifest: on disk, in flat memory however many blobs there are."""

from __future__ import annotations

import sqlite3
import tempfile
import threading
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta, timezone
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from uuid import UUID

from offload_backend.address import parse_blob_name
from offload_backend.blobstore import BlobInfo
from offload_backend.lifecycle.records import Candidate, Layout
from offload_backend.lifecycle.report import Tally

__all__ = ["BATCH", "Census", "batches", "micros", "moment_of", "packed_id"]

BATCH = 1000
_CACHE_KIB = 32 * 1024
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICRO = timedelta(microseconds=1)
_T = TypeVar("_T")

_TABLES = """
CREATE TABLE blob (name TEXT PRIMARY KEY, id BLOB, scope TEXT, size INTEGER, modified INTEGER, verdict TEXT)
    WITHOUT ROWID;
CREATE TABLE stray (name TEXT PRIMARY KEY, size INTEGER) WITHOUT ROWID;
CREATE TABLE root (id BLOB);
CREATE TABLE claim (id BLOB, name TEXT, size INTEGER, content TEXT, old INTEGER, holder TEXT);
CREATE TABLE pin (id BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE hidden (scope TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE restored (id BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE former (name TEXT PRIMARY KEY, id BLOB, size INTEGER, modified INTEGER, first_marked INTEGER)
    WITHOUT ROWID;
CREATE TABLE going (name TEXT PRIMARY KEY, id BLOB, scope TEXT, size INTEGER, modified INTEGER,
    first_marked INTEGER) WITHOUT ROWID;
CREATE TABLE spared (name TEXT PRIMARY KEY) WITHOUT ROWID;
"""

# A listing may repeat a name; the newest time is the one that keeps it longest.
_LISTED = """
INSERT INTO blob VALUES (?, ?, ?, ?, ?, '')
ON CONFLICT (name) DO UPDATE SET size = excluded.size, modified = excluded.modified
WHERE excluded.modified > blob.modified
"""

_JUDGED = """
UPDATE blob SET verdict = CASE
    WHEN EXISTS (SELECT 1 FROM root WHERE root.id = blob.id) THEN 'live'
    WHEN EXISTS (SELECT 1 FROM pin WHERE pin.id = blob.id) THEN 'pinned'
    WHEN blob.modified >= :cutoff THEN 'young'
    WHEN EXISTS (SELECT 1 FROM hidden WHERE hidden.scope = blob.scope) THEN 'hidden'
    ELSE 'marked'
END
"""


class Census:
    """Tables in a temporary directory, which goes when the block ends. Safe to use from any thread."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._directory = tempfile.TemporaryDirectory(prefix="offload-gc-")
        path = Path(self._directory.name) / "census.sqlite"
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._lock = threading.Lock()
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "temp_store = FILE"):
            self._database.execute(f"PRAGMA {pragma}")
        self._database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._database.executescript(_TABLES)
        # One transaction that never ends: nothing here outlives the process.
        self._database.execute("BEGIN")
        self.canaries: set[str] = set()

    def __enter__(self) -> Census:  # noqa: PYI034 - Self came with Python 3.11
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()
        self._directory.cleanup()

    def add_listing(self, infos: Iterable[BlobInfo]) -> None:
        """Listed objects, in any order, repeated or not."""
        for batch in batches(infos):
            rows = [(info, self._blob(info)) for info in batch]
            self.insert(_LISTED, (row for _, row in rows if row is not None))
            others = [info for info, row in rows if row is None]
            self.canaries.update(info.name for info in others if self._is_canary(info.name))
            strays = ((info.name, info.size) for info in others if self._is_stray(info.name))
            self.insert("INSERT OR REPLACE INTO stray VALUES (?, ?)", strays)

    def add_former(self, candidates: Iterable[Candidate]) -> None:
        """The candidates of the last concluded mark."""
        self.insert("INSERT OR REPLACE INTO former VALUES (?, ?, ?, ?, ?)", map(_former, candidates))

    def add_ids(self, table: str, ids: Iterable[str]) -> None:
        """Ids that are a ``root``, a ``pin`` or ``restored``."""
        self.insert(f"INSERT OR IGNORE INTO {table} VALUES (?)", ((packed_id(blob_id),) for blob_id in ids))  # noqa: S608 - ours

    def hide(self, scopes: Iterable[str]) -> None:
        """Scopes whose rows could not be seen."""
        self.insert("INSERT OR IGNORE INTO hidden VALUES (?)", ((scope,) for scope in scopes))

    def add_claims(self, claims: Iterable[tuple[Any, ...]], table: str = "claim") -> None:
        """What rows claim to exist: packed id, name, size, content, whether it is old, the row's holder."""
        self.insert(f"INSERT INTO {table} VALUES (?, ?, ?, ?, ?, ?)", claims)  # noqa: S608 - ours

    def forget_former(self) -> None:
        """Undo :meth:`add_former`."""
        self.execute("DELETE FROM former")

    def spare(self, names: Iterable[str]) -> None:
        """Blobs to take out of what is to go."""
        self.insert("INSERT INTO spared VALUES (?)", ((name,) for name in names))

    def drop_spared(self) -> None:
        """Carry out what :meth:`spare` asked for."""
        self.execute("DELETE FROM going WHERE name IN (SELECT name FROM spared)")

    def old_scopes(self, cutoff: datetime) -> Iterator[tuple[str, str]]:
        """Every scope with blobs older than ``cutoff``, and the name of one of them."""
        sql = "SELECT scope, MIN(name) FROM blob WHERE modified < :cutoff GROUP BY scope"
        return ((str(scope), str(name)) for scope, name in self.stream(sql, cutoff=micros(cutoff)))

    def old_blobs(self, cutoff: datetime) -> int:
        """How many blobs are older than ``cutoff``."""
        return self.tally("SELECT size FROM blob WHERE modified < :cutoff", cutoff=micros(cutoff)).count

    def has_root(self, blob_id: str) -> bool:
        """Whether some root holds the id."""
        [(found,)] = self.execute("SELECT EXISTS (SELECT 1 FROM root WHERE id = :id)", id=packed_id(blob_id))
        return bool(found)

    def judge(self, cutoff: datetime) -> None:
        """Say of every listed blob, when all is added, what it is: live, pinned, young, hidden, else marked."""
        self.execute("CREATE INDEX IF NOT EXISTS root_by_id ON root (id)")
        self.execute("CREATE INDEX IF NOT EXISTS blob_by_id ON blob (id)")
        self.execute(_JUDGED, cutoff=micros(cutoff))

    def tally(self, sql: str, **values: Any) -> Tally:
        """Count and sum of a query that yields a size in each row."""
        [(count, size)] = self.execute(f"SELECT COUNT(*), COALESCE(SUM(size), 0) FROM ({sql})", **values)  # noqa: S608 - ours
        return Tally(count, size)

    def earliest(self, sql: str, **values: Any) -> datetime | None:
        """The moment that a query of one value yields."""
        [(number,)] = self.execute(sql, **values)
        return None if number is None else moment_of(number)

    def candidates(self, sql: str, **values: Any) -> Iterator[Candidate]:
        """The candidates of a query that yields name, id, size, modified and first_marked."""
        for name, packed, size, modified, first_marked in self.stream(sql, **values):
            yield Candidate(str(UUID(bytes=packed)), name, size, moment_of(modified), moment_of(first_marked))

    def execute(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        """Run a statement that yields few rows."""
        with self._lock:
            return self._database.execute(sql, values).fetchall()

    def stream(self, sql: str, **values: Any) -> Iterator[tuple[Any, ...]]:
        """The rows of a query, however many."""
        with self._lock:
            cursor = self._database.execute(sql, values)
        while True:
            with self._lock:
                rows = cursor.fetchmany(BATCH)
            if not rows:
                return
            yield from rows

    def insert(self, sql: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Insert rows, however many; what makes them may itself use the census."""
        for batch in batches(rows):
            with self._lock:
                self._database.executemany(sql, batch)

    def _blob(self, info: BlobInfo) -> tuple[Any, ...] | None:
        found = parse_blob_name(info.name)
        if found is None or found.deployment != self._layout.deployment:
            return None
        return info.name, packed_id(found.id), found.scope, info.size, micros(info.modified)

    def _is_stray(self, name: str) -> bool:
        return not name.startswith(self._layout.control)

    def _is_canary(self, name: str) -> bool:
        return name.startswith(f"{self._layout.control}canary/")


def micros(when: datetime) -> int:
    """Microseconds since 1970."""
    return (when - _EPOCH) // _MICRO


def moment_of(number: int) -> datetime:
    """The moment that :func:`micros` made the number of."""
    return _EPOCH + number * _MICRO


def packed_id(blob_id: str) -> bytes:
    """The sixteen bytes of an id, whatever its case."""
    return bytes.fromhex(blob_id.replace("-", ""))


def _former(candidate: Candidate) -> tuple[Any, ...]:
    times = micros(candidate.modified), micros(candidate.first_marked)
    return candidate.name, packed_id(candidate.id), candidate.size, *times


def batches(rows: Iterable[_T]) -> Iterator[list[_T]]:
    """The same in lists of at most ``BATCH``."""
    source = iter(rows)
    while batch := list(islice(source, BATCH)):
        yield batch
