"""How long an event loop stands still while many watchers on it read and write state.

    python -m benchmarks.triggerer            200 watchers, a few minutes
    python -m benchmarks.triggerer --quick    to see that it works; the times mean nothing

Airflow's own accessors show their asynchronous faces, as in its triggerer: each watcher has the portal that the
triggerer gives it. Without one is what AIRFLOW_DISABLE_GREENBACK_PORTAL leaves, and an asynchronous task has.
A ticker asks to be woken every millisecond; how much later it is woken is how long the loop stood still. On a loop
with ``nothing`` only the ticker runs: that is what the machine itself does to it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import greenback

from benchmarks.servers import SHAPED, Server, counted, find_go, moto, s3bench

__all__ = ["VALUES", "main", "measure"]

VALUES = {"inline, 1 KB": 1_000, "4 KB": 4_000, "1 MB": 1_000_000, "34 MB": 34_000_000}
_BUCKET = "triggerer"
_TICK = 0.001
_AT_MOST = {"1 MB": 50, "34 MB": 10}
_HEAD = """| store | operation | value | portal | watchers | p50, ms | p99, ms | max, ms | requests |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |"""
_QUICK = {"watchers": 8, "sizes": ("inline, 1 KB", "4 KB"), "rounds": 2}
_FULL = {"watchers": 200, "sizes": tuple(VALUES), "rounds": 1}


def measure(
    endpoint: str, operation: str, size: str, *, watchers: int, rounds: int, portal: bool
) -> dict[str, Any]:
    """Milliseconds by which the ticker was late, and what the store was asked meanwhile.

    ``watchers`` each get, or set, their own value ``rounds`` times; 50 where it has 1 MB, ten of 34 MB.
    """
    watchers = min(watchers, _AT_MOST.get(size, watchers))
    from airflow.sdk.execution_time import context, task_runner

    from tests.seam import Supervisor

    context._get_worker_state_store_backend.cache_clear()  # noqa: SLF001 - as a new process
    task_runner.SUPERVISOR_COMMS = Supervisor()
    stores = [context.AssetStateStoreAccessor(name=f"watched-{number}") for number in range(watchers)]
    value = os.urandom(VALUES[size] // 2).hex()
    for store in stores:
        store.set("k", value)
    before = counted(endpoint)
    late = asyncio.run(_watch(stores, operation, value, rounds, portal=portal))
    asked = counted(endpoint) - before
    for store in stores:
        store.clear()
    late.sort()
    return {
        "operation": operation,
        "value": size,
        "portal": portal,
        "watchers": watchers,
        **{name: late[min(int(len(late) * share), len(late) - 1)] * 1000 for name, share in _SHARES.items()},
        "requests": sum(asked.values()),
    }


_SHARES = {"p50": 0.5, "p99": 0.99, "max": 1.0}


async def _watch(stores: list[Any], operation: str, value: str, rounds: int, *, portal: bool) -> list[float]:
    late: list[float] = []
    ended = asyncio.Event()

    async def tick() -> None:
        while not ended.is_set():
            due = time.perf_counter() + _TICK
            await asyncio.sleep(_TICK)
            late.append(time.perf_counter() - due)

    async def watch(store: Any) -> None:
        if portal:
            await greenback.ensure_portal()
        for _ in range(rounds):
            if operation == "get":
                assert await store.aget("k") == value
            else:
                await store.aset("k", value)
            await asyncio.sleep(0)

    ticker = asyncio.create_task(tick())
    await asyncio.sleep(10 * _TICK)
    late.clear()
    await asyncio.gather(*map(watch, stores))
    await asyncio.sleep(2 * _TICK if stores else 2.0)
    ended.set()
    await ticker
    return late


@contextmanager
def _servers(*, quick: bool) -> Iterator[dict[str, Server]]:
    go = None if quick else find_go()
    with ExitStack() as stack:
        if go is None:
            yield {"moto": stack.enter_context(moto())}
            return
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        yield {
            "loopback": stack.enter_context(s3bench(go, folder)),
            "20 ms": stack.enter_context(s3bench(go, folder, *SHAPED)),
        }


def main() -> None:
    """Measure, and print a table for docs/operations.md row by row; ``--json FILE`` keeps the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    plan: dict[str, Any] = _QUICK if given.quick else _FULL
    found: list[dict[str, Any]] = []

    def tell(**figures: Any) -> None:
        found.append(figures)
        print(_row(figures), flush=True)

    print(_HEAD)
    with _servers(quick=given.quick) as servers, tempfile.TemporaryDirectory() as home:
        _configure(home)
        for name, server in servers.items():
            server.make_bucket(_BUCKET)
            os.environ["AWS_ENDPOINT_URL_S3"] = server.endpoint
            tell(store=name, **_nothing(server.endpoint))
            for operation in ("get", "set"):
                for size in plan["sizes"]:
                    for portal in (True, False) if operation == "get" else (True,):
                        figures = measure(
                            server.endpoint,
                            operation,
                            size,
                            watchers=plan["watchers"],
                            rounds=plan["rounds"],
                            portal=portal,
                        )
                        tell(store=name, **figures)
    if given.quick:
        print("times say nothing: this was a quick run")
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")


def _nothing(endpoint: str) -> dict[str, Any]:
    figures = measure(endpoint, "get", "inline, 1 KB", watchers=0, rounds=0, portal=True)
    return {**figures, "operation": "nothing", "value": ""}


def _configure(home: str) -> None:
    from benchmarks.processes import prepare

    prepare(home)
    os.environ.update(
        AIRFLOW__WORKERS__STATE_STORE_BACKEND="offload_backend.airflow.OffloadStateBackend",
        AIRFLOW__OFFLOAD_BACKEND__PATH=f"s3://{_BUCKET}/state",
        AIRFLOW__OFFLOAD_BACKEND__INLINE_LIMIT="2000",
        AWS_ACCESS_KEY_ID="benchmark",
        AWS_SECRET_ACCESS_KEY="benchmark-secret",
        AWS_DEFAULT_REGION="us-east-1",
    )


def _row(each: dict[str, Any]) -> str:
    portal = "yes" if each["portal"] else "no"
    about = f"{each['store']} | {each['operation']} | {each['value']} | {portal} | {each['watchers']}"
    times = " | ".join(f"{each[name]:.1f}" for name in _SHARES)
    return f"| {about} | {times} | {each['requests']} |"


if __name__ == "__main__":
    main()
