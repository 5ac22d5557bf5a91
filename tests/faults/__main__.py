"""``python -m tests.faults [-jN] [OPERATION…]``: run every trial, of these operations or of all, in N processes.

Writes ``docs/faults.md``.
"""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

from tests.faults.matrix import cases, layers_of
from tests.faults.operations import OPERATIONS
from tests.faults.table import Tables, known, write
from tests.faults.tried import tried


def main(arguments: list[str]) -> int:
    """How many tables could not be made, since a trial failed."""
    jobs = [int(argument[2:]) for argument in arguments if argument.startswith("-j")]
    wanted = [argument for argument in arguments if not argument.startswith("-j")]
    before, found, began = known(), {}, time.monotonic()
    with ProcessPoolExecutor([*jobs, os.cpu_count()][0], mp_context=get_context("spawn")) as pool:
        chosen = [(operation.name, place) for operation, place in cases() if not wanted or operation.name in wanted]
        running = {pool.submit(tried, *case): case for case in chosen}
        for done in as_completed(running):
            error = done.exception()
            if error is None:
                found[running[done]], told = done.result()
            told = f"{error}" if error else f"{told} trials"
            print(f"{time.monotonic() - began:6.0f} s  {', '.join(running[done])}: {told}", flush=True)
    tables: Tables = {operation.name: {} for operation in OPERATIONS}
    for operation, place in cases():
        layers = layers_of(operation, place)
        kept = {key: cell for key, cell in before.get(operation.name, {}).items() if key[0][0] in layers}
        tables[operation.name].update(found.get((operation.name, place), kept))
    write(tables)
    return len(chosen) - len(found)


if __name__ == "__main__":
    sys.exit(min(1, main(sys.argv[1:])))
