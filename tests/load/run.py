"""One run: the storm, and then the question what is left of everything."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from offload_backend import connect
from offload_backend.errors import OffloadError
from tests.load.collector import Collector
from tests.load.journal import remembered
from tests.load.places import BUCKET, CREDENTIALS, PREFIX, Storage, storage
from tests.load.proofs import Claim, WrongValueError, claim_of
from tests.load.storm import Storm
from tests.load.tally import Tally, tally_of
from tests.load.worker import OWN_KEYS, SHARED_KEYS, Orders
from tests.postgres_server import server

ROUNDS = 6


@dataclass(frozen=True)
class Plan:
    """What is asked of a run. Durations are in seconds, ``faults`` is a share of requests.

    ``pause`` is the mean time between a thread's operations: without one, two cores are so busy that the collector
    hardly runs.
    """

    processes: int = 64
    threads: int = 3
    seconds: float = 300
    pause: float = 0.7
    largest: int = 20_000_000
    faults: float = 0.02
    seconds_between_kills: float = 0.5
    collectors_killed: float = 0.2
    commit_window: int = 15
    min_age: int = 30
    quarantine: int = 10
    seed: int = 0
    slow: bool = False


def run(plan: Plan, folder: Path) -> dict[str, Any]:
    """The figures; ``losses``, ``dangling``, ``corrupt`` and ``blobs left`` have to be nothing."""
    os.environ["AIRFLOW_HOME"] = str(folder)  # whatever Airflow this machine has is none of ours
    url = server().get_uri()
    with storage(plan.faults, slow=plan.slow) as found:
        settings = _settings(plan, found.endpoint)
        names = {f"AIRFLOW__OFFLOAD_BACKEND__{name.upper()}": str(value) for name, value in settings.items()}
        collector = Collector({**os.environ, **names, "AIRFLOW__OFFLOAD_BACKEND__CORE_STORE": url})
        with connect(core_store=url, **settings) as stores:
            stores.asset_store(name="shared").set("first", 1)  # the tables
        collector.command("gc", "adopt")
        assert collector.exits["gc adopt: 0"], collector.said
        dice = random.Random(plan.seed)
        orders = Orders(settings, url, folder, plan.threads, plan.largest, plan.pause)
        storm = Storm(orders, plan.processes, plan.seconds_between_kills)
        loop = (orders.over, plan.collectors_killed, random.Random(plan.seed))
        cleaner = threading.Thread(target=collector.loop, args=loop)
        cleaner.start()
        storm.blow(dice, plan.seconds)
        cleaner.join()
        went_wrong, requests = found.go_wrong(), found.requests()
        tally = tally_of(sorted(folder.glob("*.journal")))
        tally.lost += [f"{storm.wrong_ends} processes ended with an error"] if storm.wrong_ends else []
        report = collector.command("verify", "--contents")
        with connect(core_store=url, **settings) as stores:
            kept = _look_at_all(stores, orders, plan.processes, tally)
            emptied = _empty(stores, orders, plan.processes, collector, found)
        return {
            "plan": asdict(plan),
            "server": found.name,
            **tally.as_json(),
            "processes killed": storm.kills,
            "requests": dict(requests.most_common()),
            "faults injected": dict(went_wrong.most_common()),
            "collector": {
                "exits": dict(collector.exits),
                "killed": collector.deaths,
                "said": dict(collector.said),
                "refusals": dict(collector.refusals),
                "purged": collector.purged,
                "rescued": collector.rescued,
            },
            "at the end": {
                "values looked at": kept,
                "read by verify": report.get("checked"),
                "dangling": report.get("dangling", "verify failed"),
                "corrupt": report.get("corrupt", "verify failed"),
                "unfinished uploads": found.unfinished_uploads(),
                **emptied,
            },
        }


def _settings(plan: Plan, endpoint: str) -> dict[str, Any]:
    return {
        "path": f"s3://{BUCKET}/{PREFIX}",
        "storage_options": json.dumps({"endpoint_url": endpoint, **CREDENTIALS}),
        "deployment": "load",
        "inline_limit": 2000,
        "commit_window": f"{plan.commit_window}s",
        "gc_min_age": f"{plan.min_age}s",
        "gc_quarantine": f"{plan.quarantine}s",
        "gc_max_ratio": 1.0,
    }


def _look_at_all(stores: Any, orders: Orders, processes: int, tally: Tally) -> int:
    """Every key once more, now that nobody writes: how many hold a value, and the right one."""
    held = 0
    for name in _writers(orders, processes):
        memory = remembered(orders.journal(name), OWN_KEYS)
        store = stores.task_store("load", name, "own")
        for key in OWN_KEYS:
            claim = _claim_in(store, key, tally)
            held += claim is not None
            if not memory.keys[key].may_be(claim and claim.count):
                tally.lost.append(f"at the end: {name} {key} is {claim}, not {memory.keys[key]}")
    shared = stores.asset_store(name="shared")
    for key in SHARED_KEYS:
        claim = _claim_in(shared, key, tally)
        held += claim is not None
        if claim is None and key in tally.keys_set:
            tally.lost.append(f"at the end: {key} is gone")
    return held


def _claim_in(store: Any, key: str, tally: Tally) -> Claim | None:
    try:
        value = store.get(key)
        return None if value is None else claim_of(value, key)
    except (OffloadError, WrongValueError) as error:
        tally.lost.append(f"at the end: {error}")
        return None


def _empty(stores: Any, orders: Orders, processes: int, collector: Collector, found: Storage) -> dict[str, Any]:
    """Delete every key, then collect until nothing is left, or there is no point in it."""
    for name in _writers(orders, processes):
        stores.task_store("load", name, "own").clear()
    stores.asset_store(name="shared").clear()
    orphans = left = _blobs(found)
    last = None
    for _ in range(ROUNDS):
        if not left:
            break
        time.sleep(1.5)
        last = collector.run("--min-age", "1s", "--quarantine", "1s")
        left = _blobs(found)
    why = {"left": left[:5], "the last run": last} if left else {}
    return {"blobs without a row": len(orphans), "blobs left": len(left), **why}


def _blobs(found: Storage) -> list[str]:
    return [name for name in found.names() if "/_gc/" not in name]


def _writers(orders: Orders, processes: int) -> list[str]:
    return [f"w{number}-{thread}" for number in range(processes) for thread in range(orders.threads)]


def troubles(result: dict[str, Any]) -> Counter[str]:
    """What has to be nothing, and is not."""
    end = result["at the end"]
    counts = {"losses": result["losses"]} | {name: end[name] for name in ("dangling", "corrupt", "blobs left")}
    return Counter({name: count for name, count in counts.items() if count})
