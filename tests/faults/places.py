"""Where blobs are: a bucket, a directory, memory. They are filled and looked at behind the product's back."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3 import models

from offload_backend.settings import Settings
from offload_backend.stores import opening
from offload_backend.stores.folders import TEMPORARY
from offload_backend.stores.memory import MemoryBlobStore
from tests.faults import disk, held, rows, wire
from tests.faults.kinds import BY_NAME
from tests.faults.steps import Aim, Steps

MIB = 1024 * 1024
Objects = dict[str, tuple[bytes, datetime]]
"""By name below the location: bytes, and since when."""

_COMMON = {"deployment": "prod", "inline_limit": 100, "give_up_after": "10m", "gc_max_ratio": 1.0}


class Place:
    """``layer`` is that of its steps."""

    layer = ""
    url = ""

    def settings(self, **changes: Any) -> Settings:
        """Parts of 1 MiB: everything is as with larger ones, but for the time."""
        loaded = Settings.load({**_COMMON, "path": self.url, **changes})
        return loaded.model_copy(update={"part_size": MIB})

    def fill(self, objects: Objects) -> None:
        """These objects and no others."""
        raise NotImplementedError

    def objects(self) -> Objects:
        """All there are."""
        raise NotImplementedError

    def unfinished(self) -> int:
        """Multipart uploads, or files, that were begun and are not blobs."""
        return 0

    def heal(self) -> None:
        """The trouble is over; what was on its way arrives."""

    @contextmanager
    def watched(self, steps: Steps) -> Iterator[None]:
        """Its steps and those of the rows are taken and struck."""
        with ExitStack() as stack:
            stack.enter_context(rows.watched(steps))
            stack.enter_context(self._watched(steps))
            yield

    def reason_for_none(self, aim: Aim) -> str:
        """Why there is no such thing, or empty."""
        fault = BY_NAME[aim.fault]
        if self.layer == "memory" and fault.name in ("SIGKILL", "SIGSTOP"):
            return held.reason_for_none(aim)
        layers = {"s3": wire, "file": disk, "memory": held, "rows": rows}
        return layers[aim.step.layer].reason_for_none(aim)

    def _watched(self, steps: Steps) -> Any:
        raise NotImplementedError


class BucketPlace(Place):
    """A bucket of moto, over HTTP through a proxy."""

    layer = "s3"
    url = "s3://faults/state"

    def __init__(self, proxy: Any) -> None:
        self.wire = wire.Wire(proxy)
        self._endpoint = proxy.url
        self._backend = models.s3_backends[DEFAULT_ACCOUNT_ID]["aws"]

    def settings(self, **changes: Any) -> Settings:
        credentials = {"key": "test-key", "secret": "test-secret", "region_name": "us-east-1"}
        options = {"endpoint_url": self._endpoint, **credentials}
        return super().settings(storage_options=json.dumps(options), **changes)

    def fill(self, objects: Objects) -> None:
        bucket = self._backend.buckets["faults"]
        for name in list(bucket.keys):
            bucket.keys.pop(name)
        bucket.multiparts.clear()
        for name, (data, modified) in objects.items():
            self._backend.put_object("faults", f"state/{name}", data).last_modified = modified.replace(tzinfo=None)

    def objects(self) -> Objects:
        keys = self._backend.buckets["faults"].keys
        return {
            name.removeprefix("state/"): (keys[name].value, keys[name].last_modified.replace(tzinfo=timezone.utc))
            for name in list(keys)
        }

    def unfinished(self) -> int:
        return len(self._backend.buckets["faults"].multiparts)

    def heal(self) -> None:
        self.wire.heal()

    def _watched(self, steps: Steps) -> Any:
        return self.wire.watched(steps)


class FolderPlace(Place):
    """A directory."""

    layer = "file"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.url = f"file://{folder}"

    def fill(self, objects: Objects) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir()
        for name, (data, modified) in objects.items():
            path = self._folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            os.utime(path, (modified.timestamp(),) * 2)

    def objects(self) -> Objects:
        return {
            str(path.relative_to(self._folder)): (
                path.read_bytes(),
                datetime.fromtimestamp(path.stat().st_mtime, tz=timezone.utc),
            )
            for path in self._files()
            if TEMPORARY not in path.name
        }

    def unfinished(self) -> int:
        return sum(TEMPORARY in path.name for path in self._files())

    def _files(self) -> list[Path]:
        return [path for path in self._folder.rglob("*") if path.is_file()]

    def _watched(self, steps: Steps) -> Any:
        return disk.watched(steps)


class MemoryPlace(Place):
    """Memory of this process."""

    layer = "memory"
    url = "memory://faults"

    def fill(self, objects: Objects) -> None:
        self._store._blobs = dict(objects)

    def objects(self) -> Objects:
        return dict(self._store._blobs)

    @property
    def _store(self) -> MemoryBlobStore:
        return opening._memory_stores.setdefault(self.url, MemoryBlobStore(self.url))

    def _watched(self, steps: Steps) -> Any:
        return held.watched(steps)
