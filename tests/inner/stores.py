"""Stores for the tests of policy: the memory store, with faults and a record of what was opened."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from offload_backend.address import TaskAddress
from offload_backend.blobstore import Buffer, DeleteReport
from offload_backend.errors import StoreError
from offload_backend.location import location_of
from offload_backend.offloader import Offloader
from offload_backend.reclaimer import Reclaimer
from offload_backend.ref import BlobRef, format_ref, parse_ref
from offload_backend.settings import Settings
from offload_backend.stores.memory import MemoryBlobStore

_Chunk = TypeVar("_Chunk", bound=Buffer)


class FaultyStore(MemoryBlobStore):
    """A memory store that fails where ``fails`` says, and counts its calls."""

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self.fails: set[str] = set()
        self.calls: list[str] = []
        self.pid = os.getpid()

    def put(self, name: str, chunks: Iterable[Buffer]) -> None:
        self._called("put")
        super().put(name, self._torn(chunks))
        self._fail("after put")

    def get(self, name: str) -> Iterator[bytes]:
        self._called("get")
        yield from self._torn(super().get(name))

    def read_into(self, name: str, start: int, buffer: memoryview, total: int) -> None:
        """A get, for those who count calls or make them fail."""
        self._called("get")
        super().read_into(name, start, buffer, total)
        for _ in self._torn([buffer]):
            pass

    def delete(self, names: Sequence[str]) -> DeleteReport:
        self._called("delete")
        if "some deletes" in self.fails:
            report = super().delete(names[:1])
            return DeleteReport(report.deleted, dict.fromkeys(names[1:], "access denied"))
        return super().delete(names)

    def names(self) -> list[str]:
        """Of the blobs; not of what the collector writes."""
        return [blob.name for blob in self.list() if "/_gc/" not in blob.name]

    def replace(self, name: str, data: bytes) -> None:
        """Change a blob behind everybody's back."""
        super().delete([name])
        super().put(name, [data])

    def _called(self, what: str) -> None:
        assert self.pid == os.getpid(), "a store of another process was used"
        self.calls.append(what)
        self._fail(what)

    def _torn(self, chunks: Iterable[_Chunk]) -> Iterator[_Chunk]:
        for chunk in chunks:
            yield chunk
            self._fail("middle")

    def _fail(self, what: str) -> None:
        if what in self.fails:
            raise StoreError("the network is down", reason="unreachable", retryable=True)


class Stores:
    """Every store that was opened, by location."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.at: dict[str, FaultyStore] = {}

    def open(self, path: str) -> FaultyStore:
        self.opened.append(path)
        location = location_of(path)
        return self.at.setdefault(location, FaultyStore(location))

    def offloader(self, **settings: Any) -> Offloader:
        return Offloader(Settings.load({"path": "s3://bucket/prefix", **settings}), self.open)


TASK = TaskAddress("dag", "run", "task", 3)
BIG = {"rows": [{"n": n, "half": n / 2} for n in range(3000)]}
HOME = "s3://bucket/prefix"


def a_ref(text: str) -> BlobRef:
    ref = parse_ref(text)
    assert isinstance(ref, BlobRef)
    return ref


def changed(text: str, **facts: Any) -> str:
    """The ref with other facts."""
    return format_ref(dataclasses.replace(a_ref(text), **facts))


def name_in(text: str, location: str = HOME) -> str:
    """The name, in the store at the location, of the blob that the ref names."""
    return a_ref(text).url.removeprefix(f"{location}/")


class Worker:
    """A process that sets, gets and deletes, without a core store: its rows are confirmed by the test."""

    def __init__(self, stores: Stores, **settings: Any) -> None:
        self.stores = stores
        self.offloader = stores.offloader(inline_limit=0, **settings)
        self.reclaimer = Reclaimer(self.offloader)

    def set(self, value: Any = 1, address: Any = TASK, key: str = "k") -> str:
        text = self.offloader.offload(value, address, key)
        self.reclaimer.wrote(text)
        return text

    def deleted(self, address: Any = TASK, key: str = "k") -> None:
        self.reclaimer.delete(self.reclaimer.dead_of_key(address, key))

    def cleared(self, address: Any = TASK) -> None:
        self.reclaimer.delete(self.reclaimer.dead_of_scope(address))

    def left(self) -> set[str]:
        return set(self.stores.at[HOME].names())
