"""One of many processes: its threads set, get, delete and clear, and check all that they get."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np  # noqa: F401 (this and what is not used below is imported before the fork, for all)

from offload_backend import blobs, connect, offloader  # noqa: F401
from offload_backend.codecs import tree  # noqa: F401
from offload_backend.corestores import sql  # noqa: F401
from offload_backend.errors import BlobNotFoundError, CoreStoreError, OffloadError, StoreError
from offload_backend.state import StateStores
from offload_backend.stores import opening, s3, s3_direct  # noqa: F401
from tests.load.journal import Journal, remembered
from tests.load.proofs import Claim, WrongValueError, claim_of, proof

OWN_KEYS = ["a", "b", "c"]
SHARED_KEYS = [f"shared-{number}" for number in range(8)]
_VERBS = (("set", 38), ("get", 36), ("delete", 3), ("clear", 1), ("set shared", 8), ("get shared", 14))


class Orders(NamedTuple):
    """What every worker is told. It is over when :attr:`over` is there."""

    settings: dict[str, Any]
    core_store: str
    folder: Path
    threads: int
    largest: int
    pause: float

    @property
    def over(self) -> Path:
        return self.folder / "over"

    def journal(self, writer: str) -> Path:
        return self.folder / f"{writer}.journal"


def work(orders: Orders, number: int, seed: int) -> None:
    """Until the time is over, or this process is killed."""
    with connect(core_store=orders.core_store, **orders.settings) as stores:
        writers = [f"w{number}-{thread}" for thread in range(orders.threads)]
        threads = [threading.Thread(target=Writer(stores, orders, name, seed).run) for name in writers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


class Writer:
    """One thread. Its own keys have no other writer; the shared ones, of an asset, have all."""

    def __init__(self, stores: StateStores, orders: Orders, name: str, seed: int) -> None:
        self.name, self.orders = name, orders
        self.memory = remembered(orders.journal(name), OWN_KEYS)
        self.journal = Journal(orders.journal(name))
        self.dice = random.Random(f"{name} {seed}")
        self.own = stores.task_store("load", name, "own")
        self.shared = stores.asset_store(name="shared")
        self.seen: dict[tuple[str, str], int] = {}
        self.took = 0.0

    def run(self) -> None:
        try:
            self._run()
        except BaseException as error:
            self.journal.write("loss", "", None, f"the thread ended: {_named(error)}")
            raise
        finally:
            self.journal.close()

    def _run(self) -> None:
        self.journal.write("again")
        verbs, weights = zip(*_VERBS, strict=True)
        for key in OWN_KEYS:
            self.get(key)
        while not self.orders.over.exists():
            verb = self.dice.choices(verbs, weights)[0]
            key = self.dice.choice(SHARED_KEYS if "shared" in verb else OWN_KEYS)
            {"set": self.set, "get": self.get, "delete": self.delete, "clear": self.clear}.get(
                verb, self.set_shared if verb == "set shared" else self.get_shared
            )(key)
            time.sleep(self.dice.expovariate(1 / self.orders.pause))

    def set(self, key: str) -> None:
        claim = Claim(self.name, self.memory.count + 1)
        value = proof(key, claim, self.dice, self.orders.largest)
        self._change("set", key, claim.count, lambda: self.own.set(key, value))

    def delete(self, key: str) -> None:
        self._change("delete", key, self.memory.count + 1, lambda: self.own.delete(key))

    def clear(self, key: str) -> None:
        self._change("clear", key, self.memory.count + 1, self.own.clear)

    def set_shared(self, key: str) -> None:
        claim = Claim(self.name, self.memory.count + 1)
        value = proof(key, claim, self.dice, self.orders.largest)
        if self._change("set", key, claim.count, lambda: self.shared.set(key, value)):
            self.seen[key, self.name] = claim.count

    def get(self, key: str) -> None:
        found = self._read(key, lambda: self.own.get(key))
        if found is not _FAILED:
            count = found.count if found else None
            right = (found is None or found.writer == self.name) and self.memory.keys[key].may_be(count)
            self.journal.write("got" if right else "loss", key, found, str(self.memory.keys[key]), self.took)

    def get_shared(self, key: str) -> None:
        """Of each writer, what is got grows: their commits have an order, and no get may go back in it."""
        found = self._read(key, lambda: self.shared.get(key))
        if found is None:
            known = any(of == key for of, _ in self.seen)
            self.journal.write("loss" if known else "got", key, None, "was there before", self.took)
        elif found is not _FAILED:
            before = self.seen.get((key, found.writer), 0)
            self.journal.write(
                "got" if found.count >= before else "loss", key, found, f"had seen {before}", self.took
            )
            self.seen[key, found.writer] = max(found.count, before)

    def _read(self, key: str, get: Callable[[], Any]) -> Any:
        """The claim of what was got, or ``None``, or ``_FAILED``."""
        began = time.monotonic()
        try:
            value = get()
            self.took = time.monotonic() - began
            return claim_of(value, key) if value is not None else None
        except (StoreError, CoreStoreError) as error:
            self.journal.write("error", "get", time.monotonic() - began, _named(error))
        except BlobNotFoundError as error:
            contended = "again and again" in str(error)
            self.journal.write("error" if contended else "loss", "get", time.monotonic() - began, _named(error))
        except (OffloadError, WrongValueError) as error:
            self.journal.write("loss", key, None, _named(error))
        return _FAILED

    def _change(self, verb: str, key: str, count: int, change: Callable[[], None]) -> bool:
        self.journal.write("begin", verb, key, count)
        self.memory.begins(verb, key, count)
        began, how = time.monotonic(), "done"
        try:
            change()
        except StoreError as error:
            how = "failed"
            self.journal.write("error", verb, time.monotonic() - began, _named(error))
        except CoreStoreError as error:
            how = "doubtful"
            self.journal.write("error", verb, time.monotonic() - began, _named(error))
        self.journal.write("end", verb, key, count, how, time.monotonic() - began)
        self.memory.ends(verb, key, count, how)
        return how == "done"


_FAILED = object()


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
