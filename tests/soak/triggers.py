"""What runs in the triggerer: a nap for deferred tasks, and a watcher that keeps state with its asset."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseEventTrigger, BaseTrigger, TriggerEvent

from tests.soak.witness import Witness

WATCHED = "checkpoint"
EVENTS_EVERY = 25


class Nap(BaseTrigger):
    """Fires after some seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{type(self).__module__}.{type(self).__name__}", {"seconds": self.seconds}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        await asyncio.sleep(self.seconds)
        yield TriggerEvent({"slept": self.seconds})


class Watch(BaseEventTrigger):
    """Checks and sets its asset's state again and again, over all lives of the triggerer; reports it at times."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{type(self).__module__}.{type(self).__name__}", {}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        store, witness = self.asset_state_store, Witness("watcher")
        dice = random.Random(witness.memory.count)
        while True:
            began = time.monotonic()
            witness.judge(WATCHED, await store.aget(WATCHED), time.monotonic() - began)
            count, value = witness.new(WATCHED, dice, largest=300_000)
            began = witness.begin("set", WATCHED, count)
            await store.aset(WATCHED, value)
            witness.end("set", WATCHED, count, began)
            if count % EVENTS_EVERY == 0:
                yield TriggerEvent({"count": count})
            await asyncio.sleep(1.0)
