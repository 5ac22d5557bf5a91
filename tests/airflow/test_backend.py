"""OffloadStateBackend behind Airflow's real accessors, rows in memory, blobs in a local directory."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import logging
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from airflow.sdk.execution_time import context
from airflow.sdk.state import AssetScope, BaseStoreBackend, TaskScope

from offload_backend import NEVER_EXPIRE
from offload_backend.address import AssetAddress, TaskAddress
from offload_backend.airflow import OffloadStateBackend
from offload_backend.airflow.backend import address_of
from offload_backend.errors import (
    BlobNotFoundError,
    ConfigError,
    ForeignRefError,
    InvalidKeyError,
    UnsupportedValueError,
)
from tests import seam as seams

BIG = {"rows": [{"id": n, "text": f"row {n} ü"} for n in range(5000)]}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__PATH", f"file://{tmp_path}/blobs")
    return tmp_path / "blobs"


@pytest.fixture
def seam(root: Path, monkeypatch: pytest.MonkeyPatch) -> seams.Seam:
    return seams.start(monkeypatch, seams.OURS)


def blobs(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def test_it_implements_every_abstract_method_with_airflows_own_parameters() -> None:
    assert not OffloadStateBackend.__abstractmethods__
    for name, base in inspect.getmembers(BaseStoreBackend, inspect.isfunction):
        if name.startswith("_"):
            continue
        ours = getattr(OffloadStateBackend, name)
        assert list(inspect.signature(ours).parameters) == list(inspect.signature(base).parameters), name
        assert inspect.iscoroutinefunction(ours) == inspect.iscoroutinefunction(base), name


def test_the_names_of_the_pre_release_documents_are_the_same_hooks() -> None:
    for kind in ("task", "asset"):
        for old, new in (
            (f"serialize_{kind}_store_to_ref", f"serialize_{kind}_state_store_to_ref"),
            (f"deserialize_{kind}_store_from_ref", f"deserialize_{kind}_state_store_from_ref"),
        ):
            assert getattr(OffloadStateBackend, old) is getattr(OffloadStateBackend, new)


def test_a_large_value_becomes_a_blob_and_a_small_row_and_comes_back(seam: seams.Seam, root: Path) -> None:
    seam.task().set("checkpoint", BIG, retention=timedelta(days=1))
    assert seam.task().get("checkpoint") == BIG
    (blob,) = blobs(root)
    ref = seam.supervisor.ref("checkpoint")
    assert ref.startswith(f"file://{blob}#offload=1&")
    assert len(ref) < 600


def test_a_small_value_stays_in_the_row_as_airflow_writes_it(seam: seams.Seam, root: Path) -> None:
    seam.task().set("progress", {"step": 3})
    assert seam.supervisor.rows["task", "progress"] == json.dumps(
        {"__airflow_state_ref__": json.dumps({"step": 3})}
    )
    assert seam.task().get("progress") == {"step": 3}
    assert not blobs(root)


@pytest.mark.parametrize("value", [0, False, "", [], {}, -0.0, "s3://bucket/key", '"quoted"', 2**64 - 1])
def test_falsy_and_ref_like_values_come_back_as_they_are(seam: seams.Seam, value: object) -> None:
    seam.task().set("k", value)
    back = seam.task().get("k", default="default")
    assert (back, type(back), repr(back)) == (value, type(value), repr(value))


def test_a_missing_key_gives_the_default(seam: seams.Seam) -> None:
    assert seam.task().get("nothing", default="fresh") == "fresh"


def test_none_is_refused_by_airflow_and_by_the_hook(seam: seams.Seam) -> None:
    with pytest.raises(ValueError, match="None"):
        seam.task().set("k", None)
    with pytest.raises(UnsupportedValueError):
        seam.backend().serialize_task_state_store_to_ref(value=None, key="k", scope=TaskScope("d", "r", "t"))


def test_a_value_that_looks_like_an_envelope_comes_back_as_a_value(seam: seams.Seam) -> None:
    value = {"__airflow_state_ref__": "s3://bucket/forged"}
    seam.task().set("k", value)
    assert seam.task().get("k") == value


def test_an_sdk_that_keeps_none_inline_gets_none_for_small_values_only(
    seam: seams.Seam, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BaseStoreBackend, "serialize_task_state_store_to_ref", lambda self, **_: None)
    monkeypatch.setattr(BaseStoreBackend, "serialize_asset_state_store_to_ref", lambda self, **_: None)
    backend, task, asset = seam.backend(), TaskScope("d", "r", "t"), AssetScope(name="a")
    assert backend.serialize_task_state_store_to_ref(value=1, key="k", scope=task) is None
    assert backend.serialize_asset_state_store_to_ref(value=1, key="k", scope=asset) is None
    assert "#offload=1" in backend.serialize_task_state_store_to_ref(value=BIG, key="k", scope=task)
    envelope = {"__airflow_state_ref__": "x"}
    assert json.loads(backend.serialize_task_state_store_to_ref(value=envelope, key="k", scope=task)) == envelope


@pytest.mark.parametrize("count", [10, 800, 2000, 4000, 8000, 20000])
def test_no_row_trips_airflows_size_warning(seam: seams.Seam, count: int, caplog: pytest.LogCaptureFixture) -> None:
    for value in ("ü" * count, '"' * count, "a" * count, ["\U0001f600"] * (count // 4)):
        seam.task().set("k", value)
        assert len(seam.supervisor.rows["task", "k"]) <= 65535
        assert seam.task().get("k") == value
    assert "exceeds configured" not in caplog.text


def test_the_inline_limit_follows_airflows_own_limit(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__STATE_STORE__MAX_VALUE_STORAGE_BYTES", "1000")
    seam = seams.start(monkeypatch, seams.OURS)
    seam.task().set("k", "x" * 940)
    assert not blobs(root)
    seam.task().set("k", "x" * 980)
    assert len(blobs(root)) == 1


def test_assets_by_name_and_by_uri_are_separate_blobs_of_one_row(seam: seams.Seam, root: Path) -> None:
    seam.supervisor.assets.update({"name:orders": "a1", "uri:s3://orders": "a1"})
    seam.asset(name="orders").set("mark", BIG)
    assert seam.asset(uri="s3://orders").get("mark") == BIG
    seam.asset(uri="s3://orders").set("mark", [BIG])
    assert seam.asset(name="orders").get("mark") == [BIG]
    assert len(blobs(root)) == 2


def test_two_assets_whose_name_and_uri_are_equal_strings_never_meet(seam: seams.Seam, root: Path) -> None:
    seam.asset(name="same").set("k", ["by name", BIG])
    seam.asset(uri="same").set("k", ["by uri", BIG])
    assert seam.asset(name="same").get("k")[0] == "by name"
    assert seam.asset(uri="same").get("k")[0] == "by uri"


@pytest.mark.parametrize("key", [".", "..", "", "a\nb", "a\r\nb", "x" * 513, "\ud800"])
def test_keys_that_airflows_api_mishandles_are_refused_before_a_blob_is_written(
    seam: seams.Seam, root: Path, key: str
) -> None:
    with pytest.raises(InvalidKeyError):
        seam.task().set(key, BIG)
    assert not blobs(root)
    assert not seam.supervisor.rows


@pytest.mark.parametrize(
    "key", ["a/b/c", "a%2Fb", "model.gz", "x.zip", "é" * 512, "日" * 512, "\U0001f600" * 512, " ", "NUL\x00", "..."]
)
def test_any_other_key_works(seam: seams.Seam, key: str) -> None:
    seam.task().set(key, BIG)
    assert seam.task().get(key) == BIG


def test_a_value_that_nothing_holds_is_refused_with_its_path_and_nothing_is_written(
    seam: seams.Seam, root: Path
) -> None:
    with pytest.raises(UnsupportedValueError, match=r'value\["metrics"\]\[3\]'):
        seam.task().set("k", {"metrics": [1.0, 2.0, 3.0, object()]})
    with pytest.raises(UnsupportedValueError, match="function"):
        seam.task().set("k", {**BIG, "last": (1, print)})
    assert not blobs(root)
    assert not seam.supervisor.rows


@pytest.mark.parametrize("store", ["task", "asset"])
@pytest.mark.parametrize(
    "value",
    [
        datetime(2026, 11, 23, 12, tzinfo=timezone.utc),
        (1, {"a": {2, 3}}),
        {1: b"\x00\xff"},
        float("inf"),
        [(number, str(number)) for number in range(20_000)],
    ],
    ids=["datetime", "tuple", "int key", "infinity", "large"],
)
def test_values_beyond_json_come_back_type_for_type(seam: seams.Seam, root: Path, store: str, value: Any) -> None:
    accessor = seam.task() if store == "task" else seam.asset(name="orders")
    accessor.set("k", value)
    seam.restart()
    found = accessor.get("k")
    assert type(found) is type(value)
    assert found == value
    assert len(blobs(root)) == (1 if isinstance(value, list) else 0)
    accessor.delete("k")
    assert accessor.get("k", "default") == "default"


def test_a_watermark_beyond_json_is_awaited_and_stays_in_its_row(seam: seams.Seam, root: Path) -> None:
    noon = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)

    async def use() -> Any:
        await seam.asset(name="orders").aset("watermark", noon)
        return await seam.asset(name="orders").aget("watermark")

    assert asyncio.run(use()) == noon
    assert not blobs(root)


def test_an_unset_path_is_an_error_at_the_first_use_even_for_a_small_value(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    seam = seams.start(monkeypatch, seams.OURS)
    with pytest.raises(ConfigError, match=r"\[offload_backend\] path, for example path = s3://"):
        seam.task().set("k", 1)
    assert not seam.supervisor.rows
    assert not list(tmp_path.iterdir())


def test_a_misspelt_setting_is_an_error_that_lists_the_settings(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__INLINE_LIMITS", "5")
    seam = seams.start(monkeypatch, seams.OURS)
    with pytest.raises(ConfigError, match=r"inline_limits'(.|\n)*inline_limit, "):
        seam.task().set("k", 1)


def test_the_peers_path_is_used_where_no_other_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__COMMON_IO__STATE_STORE_OBJECTSTORAGE_PATH", f"file://{tmp_path}/peer")
    seam = seams.start(monkeypatch, seams.OURS)
    seam.task().set("k", BIG)
    assert len(blobs(tmp_path / "peer")) == 1


@pytest.mark.parametrize("compression", ["", "gzip", "bz2", "xz", "lzma", "zip"])
@pytest.mark.parametrize("moved", [False, True])
def test_what_the_peer_has_written_reads_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: str, moved: bool
) -> None:
    pytest.importorskip("airflow.providers.common.io.state_store.backend")
    monkeypatch.setenv("AIRFLOW__COMMON_IO__STATE_STORE_OBJECTSTORAGE_PATH", f"file://{tmp_path}/peer")
    monkeypatch.setenv("AIRFLOW__COMMON_IO__STATE_STORE_OBJECTSTORAGE_COMPRESSION", compression)
    theirs = seams.start(monkeypatch, seams.PEER)
    theirs.task("d/ä", "r 1").set("k.gz", BIG)
    theirs.asset(name="orders").set("mark", {"n": [1, 2.5, None, "ü"]})
    if moved:
        monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__PATH", f"file://{tmp_path}/ours")
    ours = seams.start(monkeypatch, seams.OURS)
    ours.supervisor.rows.update(theirs.supervisor.rows)
    assert ours.task("d/ä", "r 1").get("k.gz") == BIG
    assert ours.asset(name="orders").get("mark") == {"n": [1, 2.5, None, "ü"]}


def test_a_blob_the_peer_wrote_and_that_is_gone_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__COMMON_IO__STATE_STORE_OBJECTSTORAGE_PATH", f"file://{tmp_path}/peer")
    seam = seams.start(monkeypatch, seams.OURS)
    seam.supervisor.rows["task", "k"] = json.dumps({"__airflow_state_ref__": f"file://{tmp_path}/peer/d/r/t/-1/k"})
    with pytest.raises(BlobNotFoundError):
        seam.task().get("k", default="default")


def test_scopes_of_3_3_and_3_4_become_addresses() -> None:
    assert address_of(TaskScope("d", "r", "t", 2)) == TaskAddress("d", "r", "t", 2)
    assert address_of(AssetScope(name="n")) == AssetAddress(name="n")
    assert address_of(AssetScope(uri="u")) == AssetAddress(uri="u")
    with pytest.raises(TypeError):
        address_of(AssetScope(asset_id=3))
    if "region_id" not in inspect.signature(TaskScope).parameters:
        return
    region = UUID(int=7)
    assert address_of(TaskScope("d", "r", "t", 2, region)) == TaskAddress("d", "r", "t", 2, region)
    assert address_of(TaskScope("d", "r", "t", 2, UUID(int=0))) == TaskAddress("d", "r", "t", 2)


def test_delete_gives_back_the_space_of_what_this_attempt_wrote(seam: seams.Seam, root: Path) -> None:
    for n in range(5):
        seam.task().set("k", [n, BIG])
    seam.task().set("other", BIG)
    seam.task().delete("k")
    assert len(blobs(root)) == 1
    assert seam.task().get("other") == BIG


def test_delete_gives_back_the_space_of_what_an_earlier_attempt_wrote(seam: seams.Seam, root: Path) -> None:
    seam.task().set("k", BIG)
    seam.restart()
    assert seam.task().get("k") == BIG
    seam.task().delete("k")
    assert not blobs(root)


def test_delete_leaves_what_another_thread_may_be_about_to_commit(seam: seams.Seam, root: Path) -> None:
    scope = TaskScope("d", "r", "t")
    held: list[str] = []
    thread = threading.Thread(
        target=lambda: held.append(
            seam.backend().serialize_task_state_store_to_ref(value=BIG, key="k", scope=scope)
        )
    )
    thread.start()
    thread.join()
    seam.task().delete("k")
    seam.supervisor.rows["task", "k"] = json.dumps({"__airflow_state_ref__": held[0]})
    assert seam.task().get("k") == BIG


def test_clear_gives_back_the_space_of_this_map_index_only(seam: seams.Seam, root: Path) -> None:
    seam.task(map_index=1).set("k", BIG)
    seam.asset(name="a").set("k", BIG)
    seam.backend().serialize_task_state_store_to_ref(value=BIG, key="k", scope=TaskScope("d", "r", "t", 2))
    seam.task(map_index=1).clear()
    left = [str(path.relative_to(root)) for path in blobs(root)]
    assert len(left) == 2
    assert not any("/t/1/" in name for name in left)


def test_clear_on_success_keeps_everything_since_the_rows_are_still_there(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__STATE_STORE__CLEAR_ON_SUCCESS", "True")
    seam = seams.start(monkeypatch, seams.OURS)
    seam.task().set("k", BIG)
    seam.task()._clear_backend_only()
    seam.restart()  # the worker dies before success is reported; the next attempt resumes
    assert seam.task().get("k") == BIG


def test_reclaim_never_deletes_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__RECLAIM", "never")
    seam = seams.start(monkeypatch, seams.OURS)
    seam.task().set("k", BIG)
    seam.task().delete("k")
    assert len(blobs(root)) == 1


def test_storage_trouble_while_deleting_is_logged_and_never_raised(
    seam: seams.Seam, root: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    seam.task().set("k", BIG)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "unlink", refuse)
    with caplog.at_level(logging.WARNING):
        seam.task().delete("k")
    assert "left behind" in caplog.text
    assert not seam.supervisor.rows


def test_a_task_that_never_touches_state_reads_no_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__STATE_STORE__CLEAR_ON_SUCCESS", "True")
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__PATH", "nonsense, which any use would refuse")
    seam = seams.start(monkeypatch, seams.OURS)
    seam.task()._clear_backend_only()
    seam.asset(name="a").clear()
    seam.task().delete("k")


def test_a_ref_outside_the_path_is_refused(seam: seams.Seam, tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text("{}")
    for ref in (f"file://{secret}", f"file://{tmp_path}/blobs/../secret.json", "file:///etc/passwd"):
        seam.supervisor.rows["task", "k"] = json.dumps({"__airflow_state_ref__": ref})
        with pytest.raises(ForeignRefError):
            seam.task().get("k")


def test_a_cancelled_delete_never_takes_what_is_set_afterwards(seam: seams.Seam, root: Path) -> None:
    """What is dead is settled before the work goes to a thread that may start late."""

    async def main() -> None:
        accessor = seam.asset(name="a")
        await accessor.aset("k", ["old", BIG])
        backend = seam.backend()
        late: list[list[str]] = []
        backend._delete = late.append
        await accessor.adelete("k")
        await accessor.aset("k", ["new", BIG])
        type(backend)._delete(backend, late[0])
        assert (await accessor.aget("k"))[0] == "new"

    asyncio.run(main())
    assert len(blobs(root)) == 1


def test_a_value_below_a_wider_path_keeps_its_own_connection_and_stays_readable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__PATH", f"file://{tmp_path}/state/airflow")
    seam = seams.start(monkeypatch, seams.OURS)
    seam.task().set("k", BIG)
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__PATH", f"file://{tmp_path}/state")
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__READ_PATHS", f"file://{tmp_path}/state/airflow")
    seam.restart()
    assert seam.task().get("k") == BIG


@pytest.mark.parametrize("deployment", ["007", "2026_11", "t", "12e3"])
def test_settings_are_read_as_text(root: Path, monkeypatch: pytest.MonkeyPatch, deployment: str) -> None:
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__DEPLOYMENT", deployment)
    seam = seams.start(monkeypatch, seams.OURS)
    seam.task().set("k", BIG)
    assert f"/v1/{deployment}/task/" in seam.supervisor.ref("k")


@pytest.mark.parametrize("ref", [5, True, ["x"], {"a": 1}])
def test_an_envelope_without_text_is_refused(seam: seams.Seam, ref: object) -> None:
    seam.supervisor.rows["task", "k"] = json.dumps({"__airflow_state_ref__": ref})
    with pytest.raises(ForeignRefError):
        seam.task().get("k")


def test_a_foreign_refs_credentials_are_not_repeated(seam: seams.Seam) -> None:
    for ref in ("sftp://user:hunter2@host/x", "https://host/x?X-Amz-Signature=hunter2", "s3://k:hunter2@b/x#y=1"):
        seam.supervisor.rows["task", "k"] = json.dumps({"__airflow_state_ref__": ref})
        with pytest.raises(ForeignRefError) as caught:
            seam.task().get("k")
        assert "hunter2" not in str(caught.value)


def test_percent_encoded_dots_in_a_peers_ref_are_refused(seam: seams.Seam, tmp_path: Path) -> None:
    seam.supervisor.rows["task", "k"] = json.dumps(
        {"__airflow_state_ref__": f"file://{tmp_path}/blobs/d/%2e%2E/secret.json"}
    )
    with pytest.raises(ForeignRefError):
        seam.task().get("k")


def test_a_path_of_the_peers_that_we_cannot_use_does_not_stop_our_own(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__COMMON_IO__STATE_STORE_OBJECTSTORAGE_PATH", "relative path/with space")
    seam = seams.start(monkeypatch, seams.OURS)
    seam.task().set("k", BIG)
    assert seam.task().get("k") == BIG


async def _async_round_trip(seam: seams.Seam) -> list[object]:
    accessor = seam.asset(name="a")

    async def one(n: int) -> object:
        await accessor.aset(f"k{n}", [n, BIG])
        return (await accessor.aget(f"k{n}"))[0]

    found = await asyncio.gather(*(one(n) for n in range(8)))
    await accessor.adelete("k0")
    await accessor.aclear()
    return found


def test_many_coroutines_use_it_at_once_on_one_event_loop(seam: seams.Seam, root: Path) -> None:
    assert asyncio.run(_async_round_trip(seam)) == list(range(8))
    assert not seam.supervisor.rows


def test_sixteen_threads_use_it_at_once(seam: seams.Seam) -> None:
    failures: list[BaseException] = []

    def work(n: int) -> None:
        try:
            for i in range(5):
                seam.task(task_id=f"t{n}").set(f"k{n}", [n, i, BIG])
                assert seam.task(task_id=f"t{n}").get(f"k{n}")[:2] == [n, i]
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_never_expire_is_airflows_own_object() -> None:
    assert NEVER_EXPIRE is context.NEVER_EXPIRE


def test_server_side_methods_say_what_to_configure_instead(seam: seams.Seam) -> None:
    backend, scope = OffloadStateBackend(), TaskScope("d", "r", "t")
    for call in (lambda: backend.get(scope, "k"), lambda: backend.set(scope, "k", "1")):
        with pytest.raises(ConfigError, match=r"\[workers\] state_store_backend"):
            call()
    for coroutine in (backend.aget(scope, "k"), backend.aset(scope, "k", "1")):
        with pytest.raises(ConfigError):
            asyncio.run(coroutine)


def test_importing_the_class_by_its_dotted_path_works_as_airflow_does_it() -> None:
    module, _, name = seams.OURS.rpartition(".")
    assert getattr(importlib.import_module(module), name) is OffloadStateBackend
