"""`python -m tests.model` prints the explorations; with a file's name it writes them into that document."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.model.report import generated, speed, with_explorations

if __name__ == "__main__":
    if sys.argv[1:]:
        path = Path(sys.argv[1])
        path.write_text(with_explorations(path.read_text()))
    else:
        print(generated())
    print(speed(), file=sys.stderr)
