"""``python -m tests.hostile [--seconds N] [target …]``: fuzz the targets with atheris, from the corpus on.

What is found new goes below ``.fuzz/``; an input that breaks a target is written there and ends its run. To keep
what was learned: ``python -m tests.hostile --merge``, which takes the smallest inputs that reach something new.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

HERE = Path(__file__).parent
FOUND = HERE.parents[1] / ".fuzz"
KINDS = [
    f"codecs.tree.{library}" for library in ("numpy", "pandas", "pendulum", "polars", "pyarrow", "pytz", "scipy")
]
LATE = ["blobs", "peervalue", "codecs.tree.codec", "codecs.tree.columns", "codecs.tree.view", *KINDS]
"""What a worker imports when it first meets it."""

IN_PROCESS = "--in-process"
LIMITS = ["-rss_limit_mb=3000", "-malloc_limit_mb=1000", "-timeout=60", "-max_len=20000"]


def run_target(name: str, arguments: list[str]) -> None:
    """Fuzz one target in this process, for ever or as long as libFuzzer's arguments say."""
    import atheris

    with atheris.instrument_imports(include=["offload_backend"], enable_loader_override=False):
        for module in LATE:  # what is not imported here is not instrumented
            import_module(f"offload_backend.{module}")
        from tests.hostile.fuzz_targets import TARGETS
    atheris.Setup([sys.argv[0], *arguments], TARGETS[name])
    atheris.Fuzz()


def main() -> int:
    """Each target in a process of its own; how many of them failed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--merge", action="store_true")
    parsed = parser.parse_args()
    failed = 0
    for name in parsed.targets or sorted(path.name for path in (HERE / "corpus").iterdir()):
        found, corpus = FOUND / name, HERE / "corpus" / name
        found.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "tests.hostile", IN_PROCESS, name, *LIMITS]
        if parsed.merge:
            command += ["-merge=1", str(corpus), str(found)]
        else:
            command += [f"-max_total_time={parsed.seconds}", f"-artifact_prefix={found}-broken-"]
            command += [str(found), str(corpus)]
        failed += subprocess.run(command, check=False, env={**os.environ, "PYTHONHASHSEED": "0"}).returncode != 0
    return failed


if __name__ == "__main__":
    if sys.argv[1:2] == [IN_PROCESS]:
        run_target(sys.argv[2], sys.argv[3:])
    sys.exit(main())
