"""Die, by SIGKILL, when a line of a file is about to run for the n-th time: no code of the file knows of it.

``DIES_AT="<file's name>:<line>:<n>"``, in the environment of one attempt.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

__all__ = ["DIES_AT", "obey"]

DIES_AT = "DIES_AT"


def obey(where: str) -> None:
    """From now on, in functions of this thread that are called from now on."""
    name, line, times = where.split(":")
    reached = 0

    def on_line(frame: Any, event: str, _: Any) -> Any:
        nonlocal reached
        if event == "line" and frame.f_lineno == int(line):
            reached += 1
            if reached == int(times):
                os.kill(os.getpid(), signal.SIGKILL)
        return on_line

    def on_call(frame: Any, *_: Any) -> Any:
        return on_line if Path(frame.f_code.co_filename).name == name else None

    sys.settrace(on_call)
