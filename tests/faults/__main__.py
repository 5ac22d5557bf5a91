"""``python -m tests.faults [-jN] [OPERATION…]``: run every trial, of these operations or of all, in N processes.

Writes ``docs/faults.md``.
"""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

from tests.faults.matrix import Cells, cases, layers_of
from tests.faults.operations import OPERATIONS, Operation
from tests.faults.table import Tables, known, write
from tests.faults.tried import SHARDS, tried


def main(arguments: list[str]) -> int:
    """How many parts could not be made, since a trial failed."""
    jobs = [int(argument[2:]) for argument in arguments if argument.startswith("-j")]
    wanted = [argument for argument in arguments if not argument.startswith("-j")]
    found, began, failed = Tables(), time.monotonic(), 0
    chosen = [(operation.name, place) for operation, place in cases() if not wanted or operation.name in wanted]
    with ProcessPoolExecutor([*jobs, os.cpu_count()][0], mp_context=get_context("spawn")) as pool:
        running = {pool.submit(tried, *case, shard): case for case in chosen for shard in range(SHARDS)}
        for done in as_completed(running):
            name, place = running[done]
            told = done.exception()
            if told is None:
                cells, told = done.result()
                found.setdefault(name, {}).update(cells)
            failed += bool(done.exception())
            print(f"{time.monotonic() - began:6.0f} s  {name}, {place}: {told}", flush=True)
    before = known()
    write({operation.name: _merged(operation, found, before) for operation in OPERATIONS})
    return failed


def _merged(operation: Operation, found: Tables, before: Tables) -> Cells:
    """The cells of an operation, place by place, row by row: those that were found, or else known before."""
    cells = {**before.get(operation.name, {}), **found.get(operation.name, {})}
    layers = [
        layer for place in operation.places for layer in (place, "rows") if layer in layers_of(operation, place)
    ]
    return {key: cells[key] for layer in layers for key in cells if key[0][0] == layer}


if __name__ == "__main__":
    sys.exit(min(1, main(sys.argv[1:])))
