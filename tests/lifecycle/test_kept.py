"""What is kept by a second line, where the first one holds already."""

from __future__ import annotations

from offload_backend.address import blob_name, new_blob_id
from offload_backend.blobstore import BlobInfo
from offload_backend.corestores.rest_client import Answer
from offload_backend.lifecycle import control
from offload_backend.lifecycle.census import Census
from offload_backend.lifecycle.records import Layout
from tests.lifecycle.simulation import DAY, START, TASK, Site


def test_a_listing_of_another_deployment_holds_no_blob_of_ours():
    theirs, ours = (blob_name(name, TASK, "key", new_blob_id(), "json.zst") for name in ("prod-2", "prod"))
    with Census(Layout("prod")) as census:
        census.add_listing(BlobInfo(name, 1, START) for name in (theirs, ours))
        census.judge(START + DAY)
        assert census.execute("SELECT name FROM blob WHERE verdict = 'marked'") == [(ours,)]


def test_the_run_that_was_just_concluded_is_not_pruned_however_many_began_since(monkeypatch):
    monkeypatch.setattr(control, "KEPT_RUNS", 2)
    site = Site()
    site.adopt()
    site.live(1)
    concluded = site.mark().run
    for _ in range(3):
        site.store.unlisted = set(site.store.control("canary"))
        site.refused(site.mark)
    control.Control(site.store, "prod").prune(concluded, before=START)
    assert any(concluded in name for name in site.store.control("manifest"))
    assert len({name.split("/")[4] for name in site.store.control("runs/")}) == 3


def test_an_answer_that_refuses_shows_nothing_whatever_it_holds():
    run = {"dag_id": "dag", "dag_run_id": "run"}
    assert Answer(200, run).object == run
    for status in (201, 400, 403, 404):
        assert Answer(status, run).object == {}
