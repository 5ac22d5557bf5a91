"""``make soak``: a real Airflow for minutes; the result goes into docs/soak.md. Exit code 1 for any loss."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

from tests.load.report import replace
from tests.soak.report import result_file, table_of_results
from tests.soak.run import Plan, run, troubles


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--tasks", type=int)
    parser.add_argument("--seconds", type=float, help="the longest that one DAG run may take")
    parser.add_argument("--largest", type=int)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--keep", type=Path, help="a new folder for Airflow's logs and the journals")
    given = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    keep = given.pop("keep", None)
    folder = Path(tempfile.mkdtemp(prefix="soak"))
    try:
        result = run(Plan(**given), folder)
    finally:
        if keep:
            shutil.copytree(folder, keep, ignore=shutil.ignore_patterns("go-cache", "s3bench"))
        shutil.rmtree(folder, ignore_errors=True)
    result_file(result).write_text(json.dumps(result, indent=1) + "\n")
    replace("soak", table_of_results())
    print(json.dumps(result, indent=1))
    found = troubles(result)
    print("nothing was lost" if not found else f"trouble: {found}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
