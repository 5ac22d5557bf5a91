"""Keys through a real Airflow: client, HTTP, routes and database, not only through our own check."""

from __future__ import annotations

from tests.airflow.harness import Airflow

GOOD = ["a/b/c", "a%2Fb", "../x", "x/..", "a/./b", "/lead", "trail/", "model.gz", " ", "...", "k?x=1#y", "日" * 512]
BAD = [".", "..", "", "line\nbreak", "carriage\rreturn", "x" * 513, "\ud800"]

ROUND_TRIP = """
result = {}
for key in conf["good"]:
    store.set("keep", "kept")
    store.set(key, ["x" * 70_000, key])
    back = store.get(key)
    store.delete(key)
    result[key] = [back == ["x" * 70_000, key], store.get(key, "gone"), store.get("keep")]
"""

REFUSED = """
result = []
store.set("keep", "kept")
for key in eval(conf["bad"]):
    try:
        store.set(key, "x")
        result.append("stored")
    except ValueError as error:
        result.append(type(error).__name__)
result.append(store.get("keep"))
"""


def test_every_key_that_is_accepted_makes_the_round_trip(airflow: Airflow) -> None:
    run = airflow.run("probe", "sync", conf={"code": ROUND_TRIP, "good": GOOD}, tries=1)
    assert run.attempts[0].state == "success", run.log
    assert run.result("sync") == {key: [True, "gone", "kept"] for key in GOOD}


def test_keys_that_airflow_mishandles_are_refused_and_harm_nothing(airflow: Airflow) -> None:
    run = airflow.run("probe", "sync", conf={"code": REFUSED, "bad": repr(BAD)}, tries=1)
    assert run.attempts[0].state == "success", run.log
    assert run.result("sync") == ["InvalidKeyError"] * len(BAD) + ["kept"]
