"""Values that somebody asks for: shown, sent as files, or refused with what to do; never run."""

from __future__ import annotations

import json
import random
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from demo.processes import wait_until
from offload_backend.airflow.ui.app import HEADERS
from offload_backend.airflow.ui.contents import AT_ONCE
from tests.ui.state import HOSTILE, damage

if TYPE_CHECKING:
    from tests.ui.site import Site
    from tests.ui.state import State


def get(site: Site, what: str, key: str, dag_id: str = "train_forecast") -> httpx.Response:
    with site.client() as client:
        return client.get(f"/offload/api/tasks/{what}", params={"dag_id": dag_id, "id": site.id_of(key)})


def test_json_is_shown_digit_for_digit(site: Site, state: State) -> None:
    shown = get(site, "value", "history").json()
    assert (shown["form"], shown["cut"]) == ("json", False)
    assert f'"step": {2**53 + 1}' in shown["text"]
    assert json.loads(shown["text"])[1999]["epoch"] == 1999


def test_of_a_large_value_the_beginning_is_shown(site: Site, state: State) -> None:
    shown = get(site, "value", "customers", "ingest_orders").json()
    assert (shown["form"], shown["cut"]) == ("json", True)
    assert shown["text"].startswith('[{"id":0,"name":"customer 0"}')
    assert len(shown["text"]) == 64 * 1024 < shown["size"]


def test_what_indents_to_much_more_is_cut(site: Site, state: State) -> None:
    value: Any = list(range(3_000))
    for _ in range(200):
        value = [value]
    site.put(state.load, "deep", value)
    shown = get(site, "value", "deep", "ingest_orders").json()
    assert shown["cut"]
    assert len(shown["text"]) < 1_100_000
    site.database.sql("DELETE FROM task_state_store WHERE key = 'deep'")


def test_a_value_in_its_row_is_shown(site: Site, state: State) -> None:
    shown = get(site, "value", "settings", "ingest_orders").json()
    assert json.loads(shown["text"]) == {"window": 7, "note": "small, and so in its row"}


def test_an_assets_value_is_shown(site: Site, state: State) -> None:
    with site.client() as client:
        shown = client.get(f"/offload/api/assets/{site.asset_id('orders')}/value?key=watermark").json()
    assert json.loads(shown["text"])["source"] == "really run"


def test_of_a_tree_the_structure_is_told_and_no_array_read(site: Site, state: State) -> None:
    with site.s3.recorded() as operations:
        shown = get(site, "value", "checkpoint").json()
    assert shown["form"] == "outline"
    kind = "numpy.ndarray[128,256] <f4" if find_spec("numpy") else "bytes"
    assert f"value['model']['encoder']: {kind}" in shown["text"]
    assert "0.1375" not in shown["text"]
    assert operations == ["GetObject"]


def test_a_structure_without_end_is_not_told(site: Site, state: State) -> None:
    many = {f"{each:060}": b"x" for each in range(60_000)}
    assert "size=" in site.put(state.load, "many", many)
    refused = get(site, "value", "many", "ingest_orders")
    assert refused.status_code == 422
    assert refused.json()["problem"] == "the value has too many parts to be told here"
    site.database.sql("DELETE FROM task_state_store WHERE key = 'many'")


def test_a_download_is_the_value_as_it_is_encoded(site: Site, state: State) -> None:
    sent = get(site, "download", "customers", "ingest_orders")
    assert sent.json() == [{"id": each, "name": f"customer {each}"} for each in range(20_000)]
    assert int(sent.headers["Content-Length"]) == len(sent.content)
    assert sent.headers["Content-Type"] == "application/octet-stream"
    assert sent.headers["Content-Disposition"].startswith('attachment; filename="customers.json"')
    tree = get(site, "download", "checkpoint")
    assert tree.headers["Content-Disposition"].startswith('attachment; filename="checkpoint.safetensors"')
    safetensors = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed here")
    assert safetensors.load(tree.content)["model.encoder"].shape == (128, 256)


def test_a_download_that_turns_out_damaged_is_cut_short(site: Site, state: State) -> None:
    ref = site.put(state.load, "long", list(range(700_000)))
    damage(site, ref, before_seal=1_000)
    try:
        with pytest.raises(httpx.RemoteProtocolError):
            get(site, "download", "long", "ingest_orders")
    finally:
        site.database.sql("DELETE FROM task_state_store WHERE key = 'long'")


def test_a_hostile_name_stays_a_name(site: Site, state: State) -> None:
    sent = get(site, "download", HOSTILE)
    disposition = sent.headers["Content-Disposition"]
    assert disposition.startswith('attachment; filename="_img_src_x_onerror__document.title__run___.json"')
    assert "<" not in disposition
    assert sent.json() == [HOSTILE] * 3_000


@pytest.mark.parametrize(
    ("key", "kind", "words"),
    [
        ("gone", "gone", "lifecycle rule"),
        ("damaged", "damaged", "changed after it was written"),
        ("copied", "refused", "stored for other state"),
    ],
)
def test_a_blob_in_trouble_is_told_as_such(site: Site, state: State, key: str, kind: str, words: str) -> None:
    checked = get(site, "check", key)
    assert checked.status_code == 200
    assert checked.json()["kind"] == kind
    for what in ("value", "download"):
        answer = get(site, what, key)
        assert answer.status_code == {"gone": 404, "damaged": 409, "refused": 422}[kind]
        assert answer.json()["kind"] == kind
        assert words in answer.json()["problem"] + answer.json()["hint"]


def test_a_sound_blob_is_there_for_one_request_of_its_end(site: Site, state: State) -> None:
    with site.s3.recorded() as operations:
        assert get(site, "check", "checkpoint").json() == {"kind": "there"}
    assert operations == ["GetObject"]


def test_a_pickle_is_neither_run_nor_sent(site: Site, state: State) -> None:
    for what in ("value", "download"):
        answer = get(site, what, "pickled")
        assert answer.status_code == 422
        assert "to read one is to run it" in answer.json()["problem"]
    assert not Path(state.bomb).exists()
    assert get(site, "check", "pickled").json() == {"kind": "there"}


def test_what_another_backend_stored_is_not_opened(site: Site, state: State) -> None:
    for what in ("value", "download"):
        answer = get(site, what, "other-backend")
        assert (answer.status_code, answer.json()["kind"]) == (422, "refused")


def test_without_the_key_the_answer_names_the_setting(site: Site, state: State) -> None:
    answer = get(site, "value", "salaries", "ingest_orders")
    assert answer.status_code == 422
    assert "encryption_keys" in answer.json()["hint"]
    assert get(site, "check", "salaries", "ingest_orders").json() == {"kind": "there"}


def test_a_store_that_refuses_is_told_without_credentials(site: Site, state: State) -> None:
    site.s3.fail("GetObject", 403, "AccessDenied")
    try:
        checked = get(site, "check", "checkpoint").json()
        answer = get(site, "value", "checkpoint")
    finally:
        site.s3.faults.clear()
    assert checked["kind"] == "unseen"
    assert answer.status_code == 503
    assert "s3:GetObject" in answer.json()["hint"]
    assert "testing-secret" not in answer.text


def test_a_row_that_is_gone_is_not_found(site: Site, state: State) -> None:
    with site.client() as client:
        assert client.get("/offload/api/tasks/value?dag_id=train_forecast&id=999999").status_code == 404
        assert client.get(f"/offload/api/assets/{site.asset_id('orders')}/value?key=no").status_code == 404


def test_a_failure_has_the_headers_and_says_nothing_of_its_cause(site: Site, state: State) -> None:
    site.database.sql("ALTER TABLE task_state_store RENAME TO elsewhere")
    try:
        with site.client() as client:
            answer = client.get("/offload/api/tasks")
    finally:
        site.database.sql("ALTER TABLE elsewhere RENAME TO task_state_store")
    assert answer.status_code == 500
    assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
    assert answer.json() == {"problem": "Airflow's API server failed.", "hint": "Its log says why."}


def test_so_many_downloads_run_at_once_and_a_browser_that_hangs_up_makes_room(site: Site, state: State) -> None:
    site.put(state.load, "large", random.Random(7).randbytes(32 * 2**20))
    params = {"dag_id": "ingest_orders", "id": str(site.id_of("large"))}
    with site.client() as client, ExitStack() as downloads:

        def ask() -> httpx.Response:
            """An answer whose body nobody takes."""
            return downloads.enter_context(client.stream("GET", "/offload/api/tasks/download", params=params))

        assert [ask().status_code for _ in range(AT_ONCE)] == [200] * AT_ONCE
        refused = ask()
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
        assert "Try again" in json.loads(refused.read())["hint"]
        assert {name: refused.headers.get(name) for name in HEADERS} == HEADERS
        assert client.get("/offload/api/tasks/value", params=params).status_code == 200
        downloads.close()
        wait_until(lambda: ask().status_code == 200, "room for another download", 30)
    site.database.sql("DELETE FROM task_state_store WHERE key = 'large'")


def test_every_answer_has_the_headers(site: Site, state: State) -> None:
    with site.client() as client:
        for path in ("", "static/page.js", "static/no.js", "api/tasks", "api/tasks?limit=0"):
            answer = client.get(f"/offload/{path}")
            assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS, path
    policy = HEADERS["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "*" not in policy
