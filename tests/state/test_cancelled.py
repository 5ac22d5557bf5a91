"""A set that nobody awaits any more: the value is the previous one or, whole, the new one, and nothing is left."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from offload_backend import connect
from tests.dead_servers import store_threads

pytestmark = pytest.mark.timeout(120)
PART = 5 * 1024 * 1024


@pytest.mark.parametrize(
    ("at", "heals"),
    [("PutObject", True), ("UploadPart", True), ("CompleteMultipartUpload", True), ("UploadPart", False)],
)
def test_an_aset_that_is_cancelled(bucket, fault_proxy, tmp_path, at, heals):
    options = {**bucket.options, "endpoint_url": fault_proxy.url}
    limits = {"give_up_after": "60s" if heals else "4s", "part_size": PART}
    new, gate = os.urandom(200_000 if at == "PutObject" else 11 * 1024 * 1024), threading.Event()

    async def cancel(task):
        setting = asyncio.create_task(task.aset("k", new))
        while at not in fault_proxy.operations and not setting.done():
            await asyncio.sleep(0.01)
        setting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await setting
        if heals:
            gate.set()

    rows = f"sqlite:///{tmp_path}/state.db"
    with connect(path=f"{bucket.url}/state", core_store=rows, storage_options=options, **limits) as stores:
        task = stores.task_store("d", run_id="r", task_id="t")
        task.set("k", ["before"])
        fault_proxy.hold(at, gate)
        try:
            asyncio.run(cancel(task))  # its end waits for the thread
            assert task.get("k") == (new if heals else ["before"])
            assert bucket.unfinished_uploads() == []
        finally:
            gate.set()
    for thread in store_threads():
        thread.join(60)
        assert not thread.is_alive()
