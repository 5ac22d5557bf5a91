"""State as a small team may have it: checkpoints, cursors, watermarks; and some that is in trouble, or hostile."""

from __future__ import annotations

import base64
import json
import math
import os
import random
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from offload_backend.address import AssetAddress, TaskAddress
from offload_backend.corestores.ledger import LedgerTable
from offload_backend.rootsource import Ledger
from offload_backend.row import open_envelope

if TYPE_CHECKING:
    from tests.ui.site import Site

HOSTILE = "<img src=x onerror=\"document.title='run'\">"
"""A key, and a value."""

SECRET = base64.b64encode(bytes(range(32))).decode()
RUNS = 7
"""Of the collector."""


class Bomb:
    """Whoever unpickles one makes a directory."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@dataclass(frozen=True)
class State:
    """Where what the tests ask for is."""

    fit: TaskAddress
    load: TaskAddress
    evaluate: TaskAddress
    payroll: TaskAddress
    bomb: str


def fill(site: Site) -> State:
    """Runs of all DAGs, and state of their tasks and of both assets."""
    fit = _run(site, "train_forecast", "manual__2026-11-25T06:00:00+00:00", "fit")
    before = _run(site, "train_forecast", "manual__2026-11-24T06:00:00+00:00", "fit")
    load = _run(site, "ingest_orders", "nightly-2026-11-26", "load")
    _carry_out(site, load)
    payroll = _run(site, "asset_watermark", "manual__2026-11-20T00:00:00+00:00", "payroll")
    weights = {"encoder": _noise(128, 256), "decoder": _noise(256, 64)}
    checkpoint = {
        "epoch": 41,
        "loss": Decimal("0.1375"),
        "saved": datetime(2026, 11, 25, 7, 12, tzinfo=timezone.utc),
        "model": weights,
        "optimizer": {"name": "adamw", "lr": 0.0003, "moments": [_noise(4096), _noise(4096)]},
    }
    history = [{"epoch": each, "loss": 1 / (each + 1), "step": 2**53 + each} for each in range(2_000)]
    hour, day = timedelta(hours=1), timedelta(days=1)
    site.put(fit, "checkpoint", checkpoint)
    site.age("checkpoint", timedelta(minutes=4), expires=30 * day)
    site.put(fit, "history", history, signing_keys="s2026=env:UI_KEY")
    site.age("history", timedelta(minutes=5), expires=30 * day)
    site.put(before, "checkpoint/previous", {**checkpoint, "epoch": 40})
    site.age("checkpoint/previous", day + 2 * hour, expires=6 * day)
    site.age("pages", timedelta(seconds=40))
    site.put(load, "customers", [{"id": each, "name": f"customer {each}"} for each in range(20_000)])
    site.age("customers", 3 * hour, expires=-2 * hour)
    site.put(load, "settings", {"window": 7, "note": "small, and so in its row"})
    site.age("settings", 9 * day)
    site.put(load, "salaries", list(range(25_000)), encryption_keys="k2026=env:UI_KEY")
    site.age("salaries", 2 * day, expires=5 * day)
    site.put(payroll, "payroll", {"rows": list(range(20_000))})
    site.age("payroll", 6 * day)
    site.put(fit, HOSTILE, [HOSTILE] * 3_000)
    site.age(HOSTILE, 400 * day)
    site.ask("ready", dag_id=fit.dag_id, run_id=fit.run_id)  # makes the mapped task instances
    evaluate = TaskAddress(fit.dag_id, fit.run_id, "evaluate", 1, site.region_of(fit.run_id, "evaluate"))
    site.put(evaluate, "scores", [each / 7 for each in range(8_000)])
    site.age("scores", 8 * hour, expires=30 * day)
    gone = site.put(fit, "gone", list(range(40_000)))
    site.age("gone", 12 * day)
    site.s3.client.delete_object(Bucket=site.s3.bucket, Key=_name(gone))
    damaged = site.put(fit, "damaged", list(range(50_000)))
    site.age("damaged", 13 * day)
    damage(site, damaged)
    site.put_text(fit, "copied", open_envelope_of(site, "payroll"))
    site.age("copied", 14 * day)
    site.put_text(fit, "other-backend", "s3://elsewhere/xcom/task/fit.json")
    site.age("other-backend", 15 * day)
    bomb = str(site.home / "bomb")
    site.put(fit, "pickled", Bomb(bomb), codec="pickle", inline_limit=0)
    site.age("pickled", 16 * day)
    _fill_assets(site)
    _record_run(site)
    return State(fit, load, evaluate, payroll, bomb)


def _noise(*shape: int) -> Any:
    """An array; bytes where NumPy is not installed."""
    try:
        import numpy as np
    except ImportError:
        return random.Random(7).randbytes(4 * math.prod(shape))
    return np.random.default_rng(7).random(shape, "float32")


def _fill_assets(site: Site) -> None:
    orders, hidden = AssetAddress(name="orders"), AssetAddress(name="probe_b")
    site.age("watermark", timedelta(minutes=50))
    site.put(orders, "last", "2026-11-26")
    site.put(hidden, "secret-of-b", list(range(30_000)))


def _record_run(site: Site) -> None:
    with site.database._engine.begin() as connection:
        LedgerTable("team-a", None).write(connection, Ledger(RUNS, "canary"))
    at = (datetime.now(timezone.utc) - timedelta(hours=5)).strftime("%F %T.%f")
    site.database.sql("UPDATE offload_collector SET recorded_at = :at", at=at)


def _carry_out(site: Site, address: TaskAddress) -> None:
    """Run the task for real: a supervisor, a task process, the worker's backend."""
    place = {"dag_id": address.dag_id, "run_id": address.run_id}
    assert site.ask("ready", **place)
    started = site.ask("start", **place, task_id=address.task_id, map_index=-1, env={})
    code = site.ask("wait", pid=started["pid"], seconds=120)
    log = site.home / "logs" / started["log"]
    assert code == 0, log.read_text() if log.exists() else code


def open_envelope_of(site: Site, key: str) -> str:
    """The text in the envelope of a row."""
    [(value,)] = site.database.sql("SELECT value FROM task_state_store WHERE key = :key", key=key)
    text = open_envelope(json.loads(value))
    assert text is not None
    return text


def _run(site: Site, dag_id: str, run_id: str, task_id: str) -> TaskAddress:
    site.ask("trigger", dag_id=dag_id, conf={}, run_id=run_id)
    return TaskAddress(dag_id, run_id, task_id)


def _name(ref: str) -> str:
    return ref.partition("#")[0].split("/", 3)[3]


def damage(site: Site, ref: str, before_seal: int = 0) -> None:
    """Turn one bit of the blob: of its seal, or so many bytes before that."""
    name, seal = _name(ref), int(ref.partition("&seal=")[2].partition("&")[0])
    body = bytearray(site.s3.client.get_object(Bucket=site.s3.bucket, Key=name)["Body"].read())
    body[-seal - before_seal] ^= 1
    site.s3.client.put_object(Bucket=site.s3.bucket, Key=name, Body=bytes(body))
