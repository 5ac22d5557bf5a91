"""``make load``: run it, say what was found, and write it into docs/soak.md. Exit code 1 for any loss."""

from __future__ import annotations

import argparse
import sys


def main() -> int:
    # Workers are forked from a process that imports this file anew: it has to be cheap.
    import json
    import tempfile
    from pathlib import Path

    from tests.load.report import RESULT, write
    from tests.load.run import Plan, run, troubles

    asked = _arguments()
    given = {name: value for name, value in vars(asked).items() if value is not None and name != "keep"}
    with tempfile.TemporaryDirectory(prefix="load") as folder:
        result = run(Plan(**given), Path(folder))
        for journal in Path(folder).glob("*.journal") if asked.keep else ():
            journal.rename(asked.keep / journal.name)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    write(result)
    found = troubles(result)
    print(json.dumps(result, indent=1))
    print("nothing was lost" if not found else f"trouble: {dict(found)}")
    return 1 if found else 0


def _arguments() -> argparse.Namespace:
    from pathlib import Path

    parser = argparse.ArgumentParser(prog="python -m tests.load", description=__doc__)
    for name, kind in (("processes", int), ("threads", int), ("seconds", float), ("largest", int)):
        parser.add_argument(f"--{name}", type=kind)
    parser.add_argument("--faults", type=float, help="share of requests")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--keep", type=Path, help="a folder for the journals")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
