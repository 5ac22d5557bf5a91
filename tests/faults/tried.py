"""All trials of one operation at one place, in a process of their own."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

from moto.server import ThreadedMotoServer

from tests.faults.kinds import FAULTS
from tests.faults.matrix import Cells, Matrix, fill
from tests.faults.operations import OPERATIONS
from tests.faults.scenery import make_bucket, places
from tests.faults.trial import Trial

__all__ = ["SHARDS", "tried"]

SHARDS = 4


def tried(name: str, place: str, shard: int) -> tuple[Cells, int]:
    """What is seen of one operation at one place and one of ``SHARDS`` parts of the faults; in how many trials."""
    faults = {fault.name for fault in FAULTS[shard::SHARDS]}
    logging.disable(logging.WARNING)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    make_bucket()
    [operation] = [operation for operation in OPERATIONS if operation.name == name]
    with tempfile.TemporaryDirectory() as folder, places(f"http://{host}:{port}", Path(folder)) as found:
        cells: Cells = {}
        matrix = Matrix(Trial(found[place], operation, Path(folder)))
        count = fill(matrix, cells, lambda aim: aim.fault in faults)
    server.stop()
    return {key: cell for key, cell in cells.items() if key[1] in faults}, count
