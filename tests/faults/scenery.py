"""The places of the trials, with all that they need; parts, ranges and copies begin at 1 MiB, which saves time."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3 import models

from offload_backend import recent
from offload_backend.blobfile import reader
from offload_backend.stores import s3_client, s3_copies
from offload_backend.stores.patience import Patience
from tests.fault_proxy import FaultProxy
from tests.faults.places import MIB, BucketPlace, FolderPlace, MemoryPlace, Place

BUCKET = "faults"
TRIES = 3


def make_bucket() -> None:
    """In the server that runs in this process, which complains of requests that come too late."""
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    backend = models.s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    if BUCKET not in backend.buckets:
        backend.create_bucket(BUCKET, "us-east-1")


@contextmanager
def places(s3_server: str, folder: Path) -> Iterator[dict[str, Place]]:
    """By the layer of their steps."""
    with pytest.MonkeyPatch.context() as patch, FaultProxy(s3_server) as proxy:
        _make_small(patch)
        bucket = BucketPlace(proxy)
        yield {"s3": bucket, "file": FolderPlace(folder / "blobs"), "memory": MemoryPlace()}
        bucket.wire.close()


def _make_small(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", MIB // 2)
    patch.setattr(s3_copies, "SMALLEST", MIB // 2)
    patch.setattr(recent, "WORTH", MIB // 2)
    patch.setattr(reader, "WHOLE", MIB)
    patch.setattr(reader, "FETCH", MIB + 64 * 1024)
    patch.setattr(Patience, "pause", _pause)
    patch.setattr(s3_client, "client_maker", _kept_clients(s3_client.client_maker))


def _pause(patience: Any, _seconds: float, _at_least: float = 0.0) -> bool:
    """A request is tried three times, at once, in place of as often as there is time."""
    patience.made = getattr(patience, "made", 0) + 1
    return bool(patience.made < TRIES and not patience.is_cut)


def _kept_clients(make_maker: Callable[..., Any]) -> Callable[..., Any]:
    """Making a client takes longer than most trials; one is made for each process."""
    kept: dict[int, Any] = {}

    def maker(options: Any) -> Any:
        make = make_maker(options)

        def client(config: Any) -> Any:
            if os.getpid() not in kept:
                kept[os.getpid()] = make(config)
            return kept[os.getpid()]

        return client

    return maker
