"""A watcher whose first touch of the state store happens on the triggerer's event loop."""

from __future__ import annotations

import asyncio
import traceback
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class WatermarkTrigger(BaseEventTrigger):
    """Reports what it read before and after writing, or the error that it met."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{type(self).__module__}.{type(self).__name__}", {}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        store = self.asset_state_store
        try:
            before = await store.aget("watermark", default="nothing")
            await store.aset("watermark", {"seen": "y" * 1000})
            after = await store.aget("watermark")
            yield TriggerEvent({"before": before, "after": after})
        except Exception:
            yield TriggerEvent({"error": traceback.format_exc()})
        await asyncio.Event().wait()  # one event is enough; ending would start it again
