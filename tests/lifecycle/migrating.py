"""A deployment that moves: rows in memory, stores by location, and what the peer would have stored."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from urllib.parse import quote

from offload_backend.address import AssetAddress, TaskAddress
from offload_backend.corestores.memory import MemoryCoreStore
from offload_backend.corestores.memory_roots import MemoryRootSource
from offload_backend.isolation import of_row
from offload_backend.lifecycle.adopt import adopt
from offload_backend.lifecycle.collector import Collector
from offload_backend.lifecycle.rewrite import rewrite
from offload_backend.offloader import Offloader
from offload_backend.row import envelope, open_envelope
from offload_backend.settings import Settings
from tests.inner.stores import Stores

__all__ = ["HERE", "MAPPED", "OLD", "ORDERS", "PEER", "TASK", "URI", "Estate", "before", "peer_name"]

TASK = TaskAddress("etl", "run/1", "load")
MAPPED = TaskAddress("etl", "run/1", "load", 7)
ORDERS = AssetAddress(name="orders")
URI = AssetAddress(uri="s3://warehouse/orders")
HERE, OLD, PEER = "s3://bucket/here", "s3://bucket/old", "s3://bucket/peer"


class RowsOfAssets(MemoryCoreStore):
    """In which an asset's row has its uri as alias, as in Airflow's database."""

    def found(self):
        for found in super().found():
            is_asset = isinstance(found.row.address, AssetAddress)
            yield replace(found, aliases=(URI,)) if is_asset else found


class Estate:
    """Rows that were all written long before now; ``settings`` are those of the workers."""

    def __init__(self, **settings):
        self.rows = RowsOfAssets()
        self.roots = MemoryRootSource(self.rows)
        self.stores = Stores()
        given = {"path": HERE, "read_paths": f"{OLD} s3://conn@bucket/peer", "inline_limit": 0, **settings}
        self.settings = Settings.load(given)
        self.ahead = timedelta(hours=7)
        for path in (OLD, HERE):
            self.adopt(path)

    def adopt(self, path):
        adopt(Collector(self.settings.replaced({"path": path}), self.stores.open(path), self.roots))

    def collector(self, path=HERE):
        clock = lambda: datetime.now(timezone.utc) + self.ahead  # noqa: E731
        self.rows.now = clock
        settings = self.settings.replaced({"path": path})
        return Collector(settings, self.stores.open(path), self.roots, clock=clock)

    def offloader(self, **changes):
        return Offloader(self.settings.replaced(changes), self.stores.open)

    def set(self, key, value, address=TASK, expires_at=None, **settings):
        """A row as a worker of ours with these settings writes it; the text in its envelope."""
        text = self.offloader(**settings).offload(value, address, key)
        self.rows.set(address, key, envelope(text), expires_at=expires_at)
        return text

    def set_by_peer(self, key, value, address=TASK, *, named=None, data=None, expires_at=None):
        """A row and an object as the peer writes them, whichever name of the asset it was given."""
        name = peer_name(named or address, key)
        store = self.stores.open(PEER)
        store.delete([name])
        store.put(name, [json.dumps(value).encode() if data is None else data])
        self.rows.set(address, key, envelope(f"s3://conn@bucket/peer/{name}"), expires_at=expires_at)
        return name

    def text(self, key, address=TASK):
        return self.rows.get(address, key).text

    def held(self, key, address=TASK):
        """What is in the row's envelope."""
        return open_envelope(json.loads(self.text(key, address)))

    def value(self, key, address=TASK, **settings):
        """As a worker of ours reads it."""
        row = self.rows.get(address, key)
        held = open_envelope(json.loads(row.text))
        own = of_row(address, key) if self.settings.isolation == "state" else None
        return json.loads(row.text) if held is None else self.offloader(**settings).resolve(held, own)

    def names(self, path=HERE):
        return set(self.stores.open(path).names())

    def migrate(self, moving, *, old=None, **options):
        former = self.collector(old) if old else None
        options = {"grace": timedelta(), **options}
        return rewrite(self.collector(), self.rows, moving, former=former, **options)


def peer_name(address, key):
    if isinstance(address, AssetAddress):
        return f"assets/{quote(address.name or address.uri, safe='')}/{quote(key, safe='')}"
    run = quote(address.run_id, safe="")
    return f"{address.dag_id}/{run}/{address.task_id}/{address.map_index}/{quote(key, safe='')}"


@contextmanager
def before(owner, name, action):
    """Let ``action`` happen once, right before the method is called."""
    method, done = getattr(owner, name), []

    def called(*arguments, **options):
        if not done:
            done.append(True)
            action()
        return method(*arguments, **options)

    setattr(owner, name, called)
    yield
    setattr(owner, name, method)
