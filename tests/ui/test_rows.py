"""What the page is told of rows: by what they and their refs say, page by page, without asking the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from offload_backend.ref import BlobRef, format_ref
from offload_backend.row import envelope
from tests.ui.state import HOSTILE, RUNS

if TYPE_CHECKING:
    from tests.ui.site import Site
    from tests.ui.state import State


def asked(site: Site, question: str, **query: Any) -> Any:
    with site.client() as client:
        answer = client.get(f"/offload/api/{question}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()


def keys(site: Site, question: str = "tasks", **query: Any) -> list[str]:
    return [row["key"] for row in asked(site, question, **query)["rows"]]


def test_a_row_tells_what_its_ref_tells(site: Site, state: State) -> None:
    [row] = asked(site, "tasks", text="checkpoint/previous")["rows"]
    [(text, written, expires)] = site.database.sql(
        "SELECT value, updated_at, expires_at FROM task_state_store WHERE key = 'checkpoint/previous'"
    )
    assert row["id"] == site.id_of("checkpoint/previous")
    assert (row["dag_id"], row["task_id"], row["index"]) == ("train_forecast", "fit", -1)
    assert (row["kept"], row["codec"], row["about"]) == ("offloaded", "tree", "dict[5]")
    assert f"size={row['stored']}&raw={row['raw']}&" in text
    assert row["url"] in text
    assert row["url"].endswith(".safetensors.zst")
    assert row["written"].replace("T", " ").startswith(written[:19])
    assert row["expires"].replace("T", " ").startswith(expires[:19])
    assert (row["encrypted"], row["signer"]) == ("", "")


def test_encrypted_and_signed_are_told(site: Site, state: State) -> None:
    [encrypted] = asked(site, "tasks", text="salaries")["rows"]
    [signed] = asked(site, "tasks", text="history")["rows"]
    assert (encrypted["encrypted"], signed["signer"]) == ("k2026", "s2026")


def test_an_asset_row_tells_who_wrote_it(site: Site, state: State) -> None:
    [row] = asked(site, "assets", text="watermark")["rows"]
    assert (row["name"], row["uri"], row["asset_id"]) == ("orders", "s3://shop/orders", site.asset_id("orders"))
    writer = row["writer"]
    assert (writer["kind"], writer["dag_id"], writer["task_id"]) == ("task", "ingest_orders", "load")
    assert writer["run_id"] == state.load.run_id
    assert writer["map_index"] == -1


def test_offloaded_inline_and_all(site: Site, state: State) -> None:
    offloaded, inline, everything = (
        set(keys(site, kept=kept, limit=200)) for kept in ("offloaded", "inline", "all")
    )
    assert inline == {"settings"}
    assert everything == offloaded | inline
    assert {"checkpoint", "other-backend", "gone", HOSTILE} < offloaded
    [row] = asked(site, "tasks", kept="inline")["rows"]
    assert (row["kept"], row["about"], row["raw"]) == ("inline", "dict[2]", None)


def test_a_text_that_only_holds_a_ref_is_inline(site: Site, state: State) -> None:
    ref = site.offloaded(state.load, "quoted", list(range(20_000)))
    for number, value in enumerate((ref, [ref], {"ref": ref})):
        site.put(state.load, f"quoted-{number}", value)
    try:
        assert keys(site, text="quoted") == []
        assert len(keys(site, text="quoted", kept="inline")) == 3
    finally:
        site.database.sql("DELETE FROM task_state_store WHERE key LIKE 'quoted-%'")


@pytest.mark.parametrize("order", ["key", "place", "stored", "written", "expires"])
def test_every_order_both_ways(site: Site, state: State, order: str) -> None:
    up, down = (asked(site, "tasks", order=order, descending=way)["rows"] for way in ("false", "true"))
    field = {"key": "key", "stored": "stored", "written": "written", "expires": "expires"}.get(order, "dag_id")
    values = [row[field] for row in up if row[field] is not None and row["kept"] == "offloaded"]
    assert values == sorted(values)
    assert len(set(values)) > 1
    assert [row[field] for row in down if row[field] is not None and row["kept"] == "offloaded"] == sorted(
        values, reverse=True
    )


def test_pages_hold_every_row_once(site: Site, state: State) -> None:
    whole = keys(site, limit=200)
    pages = [key for offset in range(0, 20, 5) for key in keys(site, limit=5, offset=offset)]
    assert pages == whole
    assert asked(site, "tasks", limit=1)["count"] == len(whole)
    assert keys(site, offset=1000) == []


def test_the_filter_looks_into_keys_and_names_whatever_the_case(site: Site, state: State) -> None:
    assert keys(site, text="CUSTOM") == ["customers"]
    assert set(keys(site, text="Nightly")) == {"pages", "customers", "salaries"}
    assert keys(site, text="payroll") == ["payroll"]
    assert keys(site, text="%") == []
    assert "pages" not in keys(site, text="img_src")


def test_the_scope_is_kept(site: Site, state: State) -> None:
    fit = state.fit
    assert set(keys(site, dag_id="ingest_orders")) == {"pages", "customers", "salaries"}
    assert "checkpoint/previous" not in keys(site, dag_id=fit.dag_id, run_id=fit.run_id)
    assert keys(site, dag_id=fit.dag_id, task_id="evaluate") == ["scores"]
    assert keys(site, dag_id=fit.dag_id, run_id=fit.run_id, task_id="evaluate", index=1) == ["scores"]
    assert keys(site, dag_id=fit.dag_id, run_id=fit.run_id, task_id="evaluate", index=0) == []
    assert keys(site, dag_id=fit.dag_id, run_id=fit.run_id, task_id="fit", index=0) == []
    assert "checkpoint" in keys(site, dag_id=fit.dag_id, run_id=fit.run_id, task_id="fit", index=-1)
    assert keys(site, "assets", asset_id=site.asset_id("probe_b")) == ["secret-of-b"]


def test_the_totals_are_the_sums_of_the_rows(site: Site, state: State) -> None:
    rows = asked(site, "tasks", limit=200, kept="all")["rows"]
    totals = asked(site, "tasks/totals")
    offloaded = [row for row in rows if row["kept"] != "inline"]
    assert (totals["rows"], totals["offloaded"], totals["expired"]) == (len(rows), len(offloaded), 1)
    assert totals["stored"] == sum(row["stored"] or 0 for row in offloaded)
    assert totals["largest"][0]["name"] == "train_forecast"
    scoped = asked(site, "tasks/totals", dag_id="ingest_orders")
    assert [each["name"] for each in scoped["largest"]] == ["ingest_orders"]
    assert scoped["largest"][0]["stored"] == scoped["stored"]


def test_a_forged_size_does_not_break_the_sums(site: Site, state: State) -> None:
    url = "s3://state/state/v1/team-a/task/x/y/z/-1/k/01999999-9999-7aaa-8bbb-cccccccccc07.json.zst"
    text = format_ref(BlobRef(url, 10**18, 10**18, "0" * 64, "json", seal=100, about="<b>"))
    with site.client() as client:
        before = client.get("/offload/api/tasks/totals").json()["stored"]
        for number in range(3):
            site.put_text(state.load, f"forged-{number}", text)
        try:
            assert client.get("/offload/api/tasks/totals").json()["stored"] == before + 3 * 10**14
        finally:
            site.database.sql("DELETE FROM task_state_store WHERE key LIKE 'forged-%'")


def test_a_row_too_long_to_be_described_is_listed_all_the_same(site: Site, state: State) -> None:
    site.put(state.load, "long", "x")
    long = envelope(f'"{"x" * 200_000}"')
    site.database.sql("UPDATE task_state_store SET value = :long WHERE key = 'long'", long=long)
    try:
        [row] = asked(site, "tasks", text="long", kept="inline")["rows"]
        assert (row["kept"], row["about"]) == ("inline", "")
        assert row["stored"] > 200_000
    finally:
        site.database.sql("DELETE FROM task_state_store WHERE key = 'long'")


def test_what_this_server_knows_of_the_deployment(site: Site, state: State) -> None:
    told = asked(site, "about")
    assert (told["deployment"], told["location"]) == ("team-a", "s3://state/state")
    assert told["collector"]["runs"] == RUNS
    assert "blobs@" not in str(told)


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=201", "offset=-1", "kept=x", "order=value", "index=x", "asset_id=-1", "text=" + "x" * 501],
)
def test_what_makes_no_sense_is_refused(site: Site, state: State, query: str) -> None:
    with site.client() as client:
        assert client.get(f"/offload/api/tasks?{query}").status_code == 422


def test_postgresql_counts_as_sqlite_does() -> None:
    postgres_url = pytest.importorskip("tests.postgres_server").server().get_uri()
    from sqlalchemy import Column, Integer, MetaData, Table, Text, create_engine, insert, select

    from offload_backend.airflow.ui.sizes import is_ref, stored_bytes

    own = format_ref(BlobRef("s3://b/p/v1/x", 4711, 9000, "0" * 64, "json", seal=100))
    texts = [
        (envelope(own), True, 4711),
        (envelope("s3://b/p/peer.json"), True, 0),
        (envelope("s3://b#offload=1&size=9e999&"), True, 9),
        (envelope("s3://b#offload=1&size=-7&"), True, 0),
        (envelope("s3://b#offload=1&size=x&"), True, 0),
        (envelope('{"a": "s3://b#offload=1&size=7&"}'), False, None),
        (envelope('"s3://b#offload=1&size=7&"'), False, None),
        (envelope('["s3://b#offload=1&size=7&"]'), False, None),
        (envelope("data:application/vnd.offload.tree+json,://#offload=1&size=7&"), False, None),
        ('{"a": 1}', False, None),
    ]
    table = Table("ui_sizes", MetaData(), Column("id", Integer, primary_key=True), Column("value", Text))
    for url in (postgres_url.replace("postgresql:", "postgresql+psycopg:", 1), "sqlite://"):
        engine = create_engine(url)
        with engine.begin() as connection:
            table.drop(connection, checkfirst=True)
            table.create(connection)
            connection.execute(
                insert(table), [{"id": each, "value": text} for each, (text, *_) in enumerate(texts)]
            )
            query = select(is_ref(table.c.value), stored_bytes(table.c.value)).order_by(table.c.id)
            for (text, offloaded, size), found in zip(texts, connection.execute(query), strict=True):
                assert (bool(found[0]), found[1]) == (offloaded, len(text) if size is None else size), (url, text)
            table.drop(connection)
        engine.dispose()
