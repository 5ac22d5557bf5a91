"""``python -m tests.faults [-jN] [OPERATION…]``: run every trial, of these operations or of all, in N processes.

Writes ``docs/faults.md``.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from moto.server import ThreadedMotoServer

from tests.faults.matrix import Cells, Matrix, cases, fill
from tests.faults.operations import OPERATIONS
from tests.faults.scenery import make_bucket, places
from tests.faults.table import Tables, known, write
from tests.faults.trial import Trial


def main(arguments: list[str]) -> None:
    jobs = [int(argument[2:]) for argument in arguments if argument.startswith("-j")]
    wanted = [argument for argument in arguments if not argument.startswith("-j")]
    before, found, began = known(), {}, time.monotonic()
    with ProcessPoolExecutor([*jobs, os.cpu_count()][0], mp_context=get_context("spawn")) as pool:
        chosen = [(operation.name, place) for operation, place in cases() if not wanted or operation.name in wanted]
        running = {pool.submit(tried, *case): case for case in chosen}
        for done in as_completed(running):
            found[running[done]], count = done.result()
            print(f"{time.monotonic() - began:6.0f} s  {', '.join(running[done])}: {count} trials", flush=True)
    tables: Tables = {operation.name: {} for operation in OPERATIONS}
    for operation, place in cases():
        cells = tables[operation.name]
        cells.update(found.get((operation.name, place), before.get(operation.name, {})))
    write(tables)


def tried(name: str, place: str) -> tuple[Cells, int]:
    """What is seen of one operation at one place, and in how many trials."""
    logging.disable(logging.WARNING)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    make_bucket()
    [operation] = [operation for operation in OPERATIONS if operation.name == name]
    with tempfile.TemporaryDirectory() as folder, places(f"http://{host}:{port}", Path(folder)) as found:
        cells: Cells = {}
        count = fill(Matrix(Trial(found[place], operation, Path(folder))), cells)
    server.stop()
    return cells, count


if __name__ == "__main__":
    main(sys.argv[1:])
