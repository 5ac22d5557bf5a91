"""The hooks in ``examples/``, in the collector as commands run it."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.cli.collected import Site
from tests.cli.conftest import no_configuration

__all__ = ["no_configuration"]  # a fixture


@pytest.fixture
def site(no_configuration, tmp_path, monkeypatch) -> Site:
    """Two of its blobs have been marked for longer than the quarantine; the example's hooks are configured."""
    site = Site(tmp_path / "site").fill()
    for verb in ("adopt", "mark"):
        assert site.run("gc", verb).exit_code == 0
    site.age_marks(days=8)
    monkeypatch.setenv("STATE_ARCHIVE", (tmp_path / "archive").as_uri())
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__PATH", (site.folder / "blobs").as_uri())
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__HOOKS", "examples.collector_hooks.ArchiveAndAlert")
    return site


def test_what_is_deleted_is_in_the_archive_byte_for_byte(site, tmp_path):
    contents = {path.name: path.read_bytes() for path in site.orphans()}
    assert site.json("gc", "purge")["deleted"]["count"] == 0
    assert site.json("gc", "purge", "--delete")["deleted"]["count"] == 2
    assert site.orphans() == set()
    archived = {path.name: path.read_bytes() for path in (tmp_path / "archive").rglob("*.json.zst")}
    assert archived == contents


def test_what_cannot_be_archived_is_kept(site, tmp_path):
    kept, gone = sorted(site.orphans())
    in_the_way = tmp_path / "archive" / kept.relative_to(site.folder / "blobs")
    (in_the_way / "a folder").mkdir(parents=True)
    report = site.json("gc", "purge", "--delete")
    assert (report["deleted"]["count"], report["spared"]["count"]) == (1, 1)
    assert site.orphans() == {kept}
    assert not gone.exists()


def test_what_has_another_size_in_the_archive_is_kept(site, tmp_path):
    for orphan in site.orphans():
        copy = tmp_path / "archive" / orphan.relative_to(site.folder / "blobs")
        copy.parent.mkdir(parents=True)
        copy.write_bytes(b"half")
    assert site.json("gc", "purge", "--delete")["spared"]["count"] == 2
    assert len(site.orphans()) == 2


def test_a_dangling_ref_is_alerted_and_logged(site, chat, caplog):
    min(site.live()).unlink()
    assert site.run("verify").exit_code == 5
    [alert] = chat
    assert alert["text"].startswith("1 refs dangle; the first is that of ")
    assert "task etl.load run run key" in alert["text"]
    assert any("is gone" in record.getMessage() for record in caplog.records)


def test_an_alert_that_cannot_be_sent_does_not_hide_what_was_found(site, monkeypatch):
    min(site.live()).unlink()
    monkeypatch.setenv("STATE_ALERTS", "http://127.0.0.1:1/")
    assert site.run("verify").exit_code == 5


@pytest.fixture
def chat(monkeypatch):
    """Where alerts are posted to; all that was heard."""
    heard = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("STATE_ALERTS", f"http://127.0.0.1:{server.server_port}/")
        yield heard
        server.shutdown()
        thread.join()
