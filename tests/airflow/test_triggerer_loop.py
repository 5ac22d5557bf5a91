"""Many watchers on one event loop: what is inline touches no network, and a blob keeps only its reader waiting."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import greenback
import pytest
from airflow.sdk.execution_time import context

from offload_backend.errors import StoreError
from offload_backend.stores import patience
from tests.airflow.running import in_a_trigger, running_task
from tests.dead_servers import dead_server

if TYPE_CHECKING:
    from collections.abc import Coroutine

pytestmark = pytest.mark.timeout(120)
WATCHERS = 200
LARGE = ["x" * 100] * 2_000


@pytest.fixture
def configured(bucket, fault_proxy, monkeypatch):
    """Airflow's accessors keep their values in a bucket, behind the proxy."""
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__PATH", f"{bucket.url}/state")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", fault_proxy.url)


def watched(count: int) -> list[Any]:
    return [context.AssetStateStoreAccessor(name=f"asset-{number}") for number in range(count)]


async def as_trigger(run: Coroutine[Any, Any, Any]) -> Any:
    """What Airflow's triggerer does before it runs a trigger."""
    await greenback.ensure_portal()
    return await run


def test_watchers_of_small_values_touch_no_network(configured: None, fault_proxy: Any) -> None:
    async def watch(store: Any, number: int) -> None:
        await store.aset("watermark", {"seen": number})
        assert await store.aget("watermark") == {"seen": number}

    async def main() -> None:
        await asyncio.gather(*(as_trigger(watch(store, n)) for n, store in enumerate(watched(WATCHERS))))

    with running_task():
        asyncio.run(main())
    assert fault_proxy.operations == []


def test_a_read_takes_none_of_the_loops_own_threads_and_nobody_waits_for_one_that_was_cancelled(
    configured: None, fault_proxy: Any
) -> None:
    gate = threading.Event()
    [store] = watched(1)

    async def main() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        reading = asyncio.create_task(as_trigger(store.aget("k")))
        while not fault_proxy.requests:
            await asyncio.sleep(0.01)
        assert await asyncio.to_thread(lambda: "another's") == "another's"
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading

    with running_task():
        store.set("k", LARGE)
        fault_proxy.requests.clear()
        fault_proxy.hold("GetObject", gate)
        try:
            asyncio.run(main())
            assert not gate.is_set()
            assert [each.name for each in threading.enumerate() if each.name == "offload-get"]
        finally:
            gate.set()


def test_other_triggers_go_on_while_one_reads_a_blob(configured: None, fault_proxy: Any) -> None:
    gate = threading.Event()
    slow, *others = watched(WATCHERS)

    async def main() -> None:
        reading = asyncio.create_task(as_trigger(slow.aget("k")))
        for store in others:
            await as_trigger(store.aset("k", 1))
        while not fault_proxy.requests:
            await asyncio.sleep(0.01)
        assert not reading.done()
        gate.set()
        assert await reading == LARGE

    with running_task():
        slow.set("k", LARGE)
        fault_proxy.requests.clear()
        fault_proxy.hold("GetObject", gate)
        try:
            asyncio.run(main())
        finally:
            gate.set()
    assert fault_proxy.operations == ["GetObject"]


def test_many_triggers_read_their_blobs_at_once(configured: None) -> None:
    stores = watched(40)

    async def main() -> list[Any]:
        return await asyncio.gather(*(as_trigger(store.aget("k")) for store in stores))

    with running_task():
        for number, store in enumerate(stores):
            store.set("k", [number, *LARGE])
        assert asyncio.run(main()) == [[number, *LARGE] for number in range(40)]


def test_a_value_that_is_overwritten_while_it_is_read_is_the_newer_one(
    configured: None, bucket: Any, fault_proxy: Any
) -> None:
    """In a trigger the row can be read again, which it cannot where the loop stands still."""
    (store,) = watched(1)
    with running_task() as task:
        store.set("k", LARGE)
        gone = task.supervisor.ref("k", "name:asset-0").partition("#")[0].removeprefix(f"{bucket.url}/")

        def overwrite(status: int, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
            store.set("k", [*LARGE, "newer"])
            bucket.client.delete_object(Bucket=bucket.name, Key=gone)
            return 404, {}, b"<Error><Code>NoSuchKey</Code></Error>"

        fault_proxy.change("GetObject", overwrite)
        with running_task(task.supervisor), in_a_trigger():
            assert asyncio.run(as_trigger(store.aget("k"))) == [*LARGE, "newer"]


@pytest.mark.parametrize("operation", ["aget", "aset"])
def test_a_loop_that_has_to_stand_still_does_so_for_less(
    configured: None, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    monkeypatch.setattr(patience, "ON_A_LOOP", 0.4)
    (store,) = watched(1)
    with running_task() as task, dead_server("never answers") as url:
        store.set("k", LARGE)
        row = dict(task.supervisor.rows)
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", url)
        with running_task(task.supervisor):
            call = store.aget("k") if operation == "aget" else store.aset("k", [*LARGE, 1])
            with pytest.raises(StoreError) as caught:
                asyncio.run(call)
    assert (caught.value.reason, caught.value.retryable) == ("unreachable", True)
    assert task.supervisor.rows == row
