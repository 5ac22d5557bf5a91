"""A bucket whose clock can be set, a PostgreSQL database, and what must hold in them at every moment."""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3 import models
from sqlalchemy import create_engine, inspect, text

from offload_backend.address import StateAddress, TaskAddress
from offload_backend.blobstore import BlobStore
from offload_backend.corestores import sql
from offload_backend.corestores.sql import SqlCoreStore
from offload_backend.corestores.sql_roots import SqlRoots
from offload_backend.lifecycle.adopt import adopt
from offload_backend.lifecycle.collector import Collector
from offload_backend.lifecycle.mark import mark
from offload_backend.lifecycle.preflight import control_of
from offload_backend.lifecycle.purge import purge
from offload_backend.lifecycle.report import VerifyReport
from offload_backend.lifecycle.verify import verify
from offload_backend.location import relative_name
from offload_backend.offloader import Offloader
from offload_backend.ref import parse_ref
from offload_backend.row import envelope, open_envelope, row_text
from offload_backend.settings import Settings
from offload_backend.stores.opening import open_store
from tests.drills.victims import Victim, Victims
from tests.drills.worker import KEYS, TASK, clock_ahead

BUCKET = "drills"
ADDRESS = TaskAddress(*TASK)
PATIENCE = timedelta(days=4)
"""More than ``gc_min_age``."""
QUARANTINE = timedelta(days=8)
"""More than ``gc_quarantine``."""
_TABLES = ("offload_task_state", "offload_asset_state", "offload_collector")
_real_utcnow = models.utcnow


def settings_at(endpoint: str) -> dict[str, Any]:
    """Of the one deployment; all that the collector goes by is as in production, but for the share that may go."""
    credentials = {"aws_access_key_id": "test-key", "aws_secret_access_key": "test-secret"}
    options = {"endpoint_url": endpoint, "region_name": "us-east-1", **credentials}
    return {
        "path": f"s3://{BUCKET}/state",
        "read_paths": f"s3://{BUCKET}/old s3://{BUCKET}/peer",
        "storage_options": json.dumps(options),
        "deployment": "prod",
        "inline_limit": 100,
        "concurrency": 1,
        "part_size": 5 * 2**20,
        "gc_max_ratio": 1.0,
    }


@dataclass(frozen=True)
class Snapshot:
    """Bucket and clock; the rows are in temporary tables."""

    objects: list[tuple[str, bytes, datetime]]
    ahead: timedelta
    tables: tuple[str, ...]


class World:
    """One deployment. ``ahead`` is how far all clocks but the database's are ahead of this machine's."""

    def __init__(self, victims: Victims, settings: dict[str, Any], core_store: str, folder: Path) -> None:
        self.victims, self.given, self.core_store = victims, settings, core_store
        self.settings = Settings.load(settings)
        self.store = open_store(self.settings.path, self.settings)
        self.offloader = Offloader(self.settings, self.open)
        self.reader = Offloader(self.settings.replaced({"encryption_keys": KEYS}), self.open)
        self.rows = SqlCoreStore(core_store)
        self.roots = SqlRoots(core_store, "prod")
        self.collector = Collector(self.settings, self.store, self.roots, clock=self.now)
        self._engine = create_engine(core_store)
        self._admin = self._engine.connect()
        self._time_file = folder / "ahead"
        self.backend = models.s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
        self.set_clock(timedelta())
        self.empty()

    def open(self, path: str) -> BlobStore:
        return self.store if path == self.settings.path else open_store(path, self.settings)

    def close(self) -> None:
        # First, for whoever is stopped in a transaction holds its locks.
        self.victims.ask("kill_all")
        self._admin.close()
        self._engine.dispose()
        self.rows.close()
        self.roots.close()
        self.empty()
        models.utcnow, sql.datetime = _real_utcnow, datetime

    def now(self) -> datetime:
        return datetime.now(timezone.utc) + self.ahead

    def pass_time(self, time: timedelta) -> None:
        self.set_clock(self.ahead + time)

    def set_clock(self, ahead: timedelta) -> None:
        self.ahead = ahead
        self._time_file.write_text(str(ahead.total_seconds()))
        models.utcnow = lambda: _real_utcnow() + ahead
        sql.datetime = clock_ahead(ahead.total_seconds)

    # What happens in it.

    def start(self, verb: str, steps: dict[str, Any], **arguments: Any) -> Victim:
        """A verb in another process; ``steps`` are those of :class:`~tests.drills.steps.Steps`."""
        job = {"settings": self.given, "core_store": self.core_store, "time_file": str(self._time_file)}
        return self.victims.start(job, verb, arguments, **steps)

    def stop(self, verb: str, on: str, when: str = "before", at: int = 1, **arguments: Any) -> Victim:
        """A verb that is stopped at a step, until it is told to go on."""
        steps = {"on": on, "when": when, "at": at, "with_signal": signal.SIGSTOP}
        return self.start(verb, steps, **arguments).stopped()

    def run(self, verb: str, **arguments: Any) -> dict[str, Any]:
        """A verb, undisturbed, to its good end."""
        return self.start(verb, {}, **arguments).succeed()

    def put(self, key: str, value: Any, expires_at: datetime | None = None, address: StateAddress = ADDRESS) -> str:
        """A row and its blob; the row's former blob stays. The ref."""
        ref = self.offloader.offload(value, address, key)
        self.rows.set(address, key, row_text(ref), expires_at=expires_at)
        return ref

    def put_in_old_place(self, key: str, value: Any) -> None:
        """A row and its blob, from before the path was changed."""
        offloader = Offloader(self.settings.replaced({"path": f"s3://{BUCKET}/old"}), self.open)
        self.rows.set(ADDRESS, key, row_text(offloader.offload(value, ADDRESS, key)), expires_at=None)

    def put_by_peer(self, key: str, value: Any) -> None:
        """A row and its object, as Airflow's own backend writes them."""
        name = f"{'/'.join(TASK)}/-1/{key}"
        self.open(f"s3://{BUCKET}/peer").put(name, [json.dumps(value).encode()])
        self.rows.set(ADDRESS, key, envelope(f"s3://{BUCKET}/peer/{name}"), expires_at=None)

    def vanish(self, key: str) -> None:
        """The host removes a row, and tells nobody."""
        self.rows.delete(ADDRESS, key)

    def age_rows(self) -> None:
        """Rows as they are a day after they were written, by the database's own clock."""
        for table in ("offload_task_state", "offload_asset_state"):
            self._admin.execute(text(f"UPDATE {table} SET updated_at = updated_at - interval '1 day'"))
        self._admin.commit()

    def settle(self) -> None:
        """What the operator's cron job does in the weeks after: then only garbage is gone, and all of it."""
        self.pass_time(PATIENCE)
        mark(self.collector)
        self.pass_time(QUARANTINE)
        purge(self.collector, delete=True)
        assert self.blobs() == self.live()

    def adopt(self) -> None:
        adopt(self.collector)

    def adopt_old_place(self) -> None:
        """As it was before the path was changed."""
        path = self.settings.read_paths[0]
        settings = self.settings.replaced({"path": path})
        adopt(Collector(settings, self.open(path), self.roots, clock=self.now))

    def forget_ledger(self) -> None:
        """As a database that was moved here from elsewhere has none."""
        self._admin.execute(text("DELETE FROM offload_collector"))
        self._admin.commit()

    # What is to be seen.

    def values(self) -> dict[str, Any]:
        """Every row's value, through the real offloader: a ref that dangles raises."""
        return {row.key: self._value(json.loads(row.text)) for row in list(self.rows.rows())}

    def _value(self, decoded: Any) -> Any:
        text = open_envelope(decoded)
        return decoded if text is None else self.reader.resolve(text)

    def live(self) -> set[str]:
        """The names of the blobs below the path that rows name."""
        texts = [open_envelope(json.loads(row.text)) for row in list(self.rows.rows())]
        names = [relative_name(parse_ref(text).url, self.store.location) for text in texts if text]
        return {name for name in names if name}

    def blobs(self) -> set[str]:
        return {info.name for info in self.store.list("v1/prod/") if "/_gc/" not in info.name}

    def marked(self) -> set[str]:
        """The names of the candidates of the newest mark."""
        control = control_of(self.collector)
        [*_, newest] = [run.name for run in control.runs() if run.has_manifest]
        return {candidate.name for candidate in control.candidates(newest)}

    def uploads(self) -> int:
        """Multipart uploads that nobody will finish."""
        return len(self.backend.buckets[BUCKET].multiparts)

    def verify(self) -> VerifyReport:
        return verify(self.collector, contents=True)

    def check(self) -> dict[str, Any]:
        """What must hold at every moment: every row resolves, every control object is whole. The values."""
        control = control_of(self.collector)
        for owner in control.owners():
            control.owner(owner)
        for run in control.runs():
            for name in run.objects:
                if name.endswith(".json"):
                    control.read(name)
            if run.has_manifest:
                assert control.manifest_header(run.name).run == run.name
                list(control.candidates(run.name))
        list(control.restored(since=datetime.min.replace(tzinfo=timezone.utc)))
        return self.values()

    # Beginning again.

    def snapshot(self) -> Snapshot:
        keys = self.backend.buckets[BUCKET].keys
        objects = [(name, keys[name].value, keys[name].last_modified) for name in keys]
        found = set(inspect(self._admin).get_table_names())
        tables = tuple(table for table in _TABLES if table in found)
        for table in tables:
            self._admin.execute(text(f"DROP TABLE IF EXISTS pg_temp.was_{table}"))
            self._admin.execute(text(f"CREATE TEMP TABLE was_{table} AS TABLE {table}"))
        self._admin.commit()
        return Snapshot(objects, self.ahead, tables)

    def restore(self, snapshot: Snapshot) -> None:
        self.empty()
        for name, data, modified in snapshot.objects:
            self.backend.put_object(BUCKET, name, data).last_modified = modified
        self.restore_rows(snapshot)
        self.set_clock(snapshot.ahead)

    def restore_rows(self, snapshot: Snapshot) -> None:
        """The database alone, as from a backup."""
        for table in _TABLES:
            if table in snapshot.tables:
                self._admin.execute(text(f"DELETE FROM {table}"))
                self._admin.execute(text(f"INSERT INTO {table} SELECT * FROM pg_temp.was_{table}"))
            else:
                self._admin.execute(text(f"DROP TABLE IF EXISTS {table}"))
        self._admin.commit()

    def empty(self) -> None:
        bucket = self.backend.buckets[BUCKET]
        for name in list(bucket.keys):
            bucket.keys.pop(name)
        bucket.multiparts.clear()
