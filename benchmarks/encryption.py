"""What encryption costs: ``python -m benchmarks.encryption``, or with ``--quick`` to see that it works.

The same values are set and got in one process, encrypted and not, taking turns, over a directory. What counts is
the ratio of the CPU seconds of all threads, the least of several runs: encryption is work, not waiting.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from offload_backend.address import TaskAddress
from offload_backend.offloader import Offloader
from offload_backend.settings import Settings
from offload_backend.stores.opening import open_store

__all__ = ["main", "measure"]

ADDRESS = TaskAddress("benchmarks", "run", "encryption")
KEYS = {"not encrypted": "", "encrypted": "k1=env:OFFLOAD_BENCHMARK_KEY"}


def values(scale: float) -> dict[str, Any]:
    """Bytes that do not compress, and records of JSON that do."""
    chosen = random.Random(1)
    count = max(1, int(350_000 * scale))
    return {
        "256 MB of bytes": chosen.randbytes(max(1, int(256e6 * scale))),
        "34 MB of records": [
            {"id": n, "user": f"user-{chosen.randrange(10**6)}", "score": chosen.random(), "tags": ["a", "b"]}
            for n in range(count)
        ],
    }


def measure(folder: Path, *, scale: float = 1, runs: int = 7) -> list[dict[str, Any]]:
    """The least CPU seconds of ``set`` and ``get``, for each value, encrypted and not."""
    os.environ.setdefault("OFFLOAD_BENCHMARK_KEY", os.urandom(32).hex())
    found = []
    for name, value in values(scale).items():
        least: dict[tuple[str, str], float] = {}
        for _ in range(runs):
            for way, keys in KEYS.items():
                offloader = _offloader(folder, keys)
                text, seconds = _cpu(lambda o=offloader, v=value: o.offload(v, ADDRESS, "key"))
                back, seconds_to_read = _cpu(lambda o=offloader, t=text: o.resolve(t))
                assert back == value
                del back
                offloader.discard([text])
                for operation, took in (("set", seconds), ("get", seconds_to_read)):
                    least[operation, way] = min(took, least.get((operation, way), took))
        found += [
            {
                "value": name,
                "operation": operation,
                **{way: least[operation, way] for way in KEYS},
                "ratio": least[operation, "encrypted"] / least[operation, "not encrypted"],
            }
            for operation in ("set", "get")
        ]
    return found


def table(found: list[dict[str, Any]]) -> str:
    """The measurements as Markdown."""
    lines = ["| value | | not encrypted, CPU s | encrypted, CPU s | ratio |", "| --- | --- | --- | --- | --- |"]
    for m in found:
        cells = f"{m['not encrypted']:.3f} | {m['encrypted']:.3f} | {m['ratio']:.2f}"
        lines.append(f"| {m['value']} | `{m['operation']}` | {cells} |")
    return "\n".join(lines)


def _offloader(folder: Path, keys: str) -> Offloader:
    settings = Settings.load({"path": f"file://{folder}", "encryption_keys": keys, "inline_limit": 0})
    return Offloader(settings, lambda path: open_store(path, settings))


def _cpu(action: Callable[[], Any]) -> tuple[Any, float]:
    start = time.process_time()
    result = action()
    return result, time.process_time() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.encryption", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny values, once; times mean nothing")
    parser.add_argument("--folder", type=Path, help="where blobs go for a moment; memory if there is any")
    asked = parser.parse_args()
    memory = Path("/dev/shm")  # a disk would be measured otherwise
    where = asked.folder or (memory if memory.is_dir() else None)
    with tempfile.TemporaryDirectory(dir=where) as folder:
        found = measure(Path(folder), **({"scale": 0.002, "runs": 1} if asked.quick else {}))
    print(table(found))


if __name__ == "__main__":
    main()
