"""``python -m tests.mutation [FILE…]``: run the mutants in these files, or all, and write ``docs/mutants.md``."""

from __future__ import annotations

import sys
import threading
import time

from tests.mutation.mutants import MUTANTS, Mutant
from tests.mutation.mutate import SURVIVED, run_all
from tests.mutation.table import key_of, known, write


def main(wanted: list[str]) -> int:
    """The number of mutants that survive without a reason."""
    chosen = [mutant for mutant in MUTANTS if not wanted or any(file in mutant.file for file in wanted)]
    killers, turn, began = known(), threading.Lock(), time.monotonic()

    def told(mutant: Mutant, killer: str) -> None:
        with turn:
            killers[key_of(mutant)] = killer
            print(f"{time.monotonic() - began:6.0f} s  {mutant.file}: {mutant.what}: {killer}", flush=True)

    run_all(chosen, told, print)
    write(killers)
    left = [mutant for mutant in chosen if killers[key_of(mutant)] == SURVIVED]
    print(f"{len(chosen)} mutants, {len(left)} survive")
    return len(left)


if __name__ == "__main__":
    sys.exit(min(1, main(sys.argv[1:])))
