from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from offload_backend.errors import OffloadError
from offload_backend.lifecycle.hooks import Hooks
from offload_backend.stores.folders import TEMPORARY
from offload_backend.stores.local import LocalBlobStore
from tests.cli.collected import Site

OFFLOAD = str(Path(sys.executable).with_name("offload"))
EVERY_VERB = ["adopt", "mark", "purge", "run", "status", "show", "restore", "pin", "unpin", "export-roots"]
PASSWORD = "canary-password-5151"


@pytest.fixture
def site(no_configuration, tmp_path: Path) -> Site:
    return Site(tmp_path / "site").fill()


@pytest.fixture
def adopted(site: Site) -> Site:
    assert site.run("gc", "adopt").exit_code == 0
    return site


@pytest.fixture
def matured(adopted: Site) -> Site:
    """Two orphans have been marked for longer than the quarantine."""
    assert adopted.run("gc", "mark").exit_code == 0
    adopted.age_marks(days=8)
    return adopted


def advice(result) -> str:
    """What was told on stderr, white space as it comes."""
    return " ".join(result.stderr.split())


def test_the_verbs_are_these():
    shown = subprocess.run([OFFLOAD, "gc", "--help"], capture_output=True, text=True, check=True)
    for verb in EVERY_VERB:
        assert re.search(rf"\b{verb}\b", shown.stdout), verb


def test_garbage_goes_after_adoption_a_mark_a_report_and_a_quarantine(site):
    adopted = site.run("gc", "adopt")
    assert adopted.exit_code == 0
    assert "Next: offload gc run" in adopted.stderr

    first = site.run("gc", "run", "--delete")
    assert first.exit_code == 0
    assert "Nothing can be deleted before" in first.stderr
    assert len(site.orphans()) == 2

    site.age_marks(days=8)
    dry = site.run("gc", "purge")
    assert dry.exit_code == 0
    assert "Nothing was deleted; 2 blobs" in dry.stderr
    assert len(site.orphans()) == 2

    live = site.live()
    done = site.run("gc", "purge", "--delete")
    assert done.exit_code == 0
    assert "2 blobs" in done.stderr
    assert site.blobs() == live
    assert len(live) == 20


def test_run_marks_and_purges_and_is_one_json_document(matured):
    reported = matured.json("gc", "run")
    assert (reported["mark"]["state"], reported["purge"]["dry"]) == ("concluded", True)
    assert reported["purge"]["doomed"]["count"] == 2
    assert len(matured.orphans()) == 2
    purged = matured.json("gc", "run", "--delete")["purge"]
    assert (purged["deleted"]["count"], purged["failed"]) == (2, {})
    assert matured.orphans() == set()


def test_a_refusal_ends_with_3_and_tells_measured_limit_and_override(matured):
    refused = matured.run("gc", "purge", "--delete", "--max-count", "1")
    assert refused.exit_code == 3
    assert refused.stdout == ""
    told = advice(refused)
    assert "measured: 2 blobs would go at once limit: 1 override:" in told
    assert "--accept count" in told
    assert len(matured.orphans()) == 2
    assert matured.run("gc", "purge", "--delete", "--max-count", "1", "--accept", "count").exit_code == 0
    assert matured.orphans() == set()


def test_a_refusal_is_json_too(site):
    [refusal] = site.json("gc", "mark", code=3)["refusals"]
    assert refusal.keys() == {"rule", "measured", "limit", "override"}
    assert refusal["rule"] == "owner"
    assert "gc adopt" in refusal["override"]


def test_a_mark_that_is_refused_purges_nothing(matured):
    for canary in matured.folder.rglob("_gc/canary/*"):
        canary.unlink()
    found = matured.json("gc", "run", "--delete", code=3)
    assert found["mark"]["state"] == "refused"
    assert found["purge"] is None
    assert len(matured.orphans()) == 2


def test_another_database_may_not_collect_these_blobs_until_it_adopts_them(matured, tmp_path):
    other = Site(tmp_path / "other").fill()
    stranger = Site(matured.folder, core_store=other.core_store)
    refused = stranger.run("gc", "run", "--delete")
    assert refused.exit_code == 3
    assert "offload gc adopt" in refused.stderr
    assert len(matured.blobs()) == 22
    assert stranger.run("gc", "adopt").exit_code == 3
    adopted = stranger.run("gc", "adopt", "--accept", "adopted")
    assert adopted.exit_code == 0
    assert "replaced" in adopted.stdout
    assert stranger.run("gc", "run", "--delete").exit_code == 3  # none of its refs is here
    assert len(matured.blobs()) == 22


def test_blobs_that_cannot_be_deleted_end_with_4_and_are_named_with_the_reason(matured, monkeypatch):
    stubborn = min(matured.orphans())
    delete = LocalBlobStore.delete

    def deny(store, names):
        report = delete(store, [name for name in names if not name.endswith(stubborn.name)])
        denied = {name: "denied" for name in names if name.endswith(stubborn.name)}
        return type(report)(report.deleted, {**report.failed, **denied})

    monkeypatch.setattr(LocalBlobStore, "delete", deny)
    partial = matured.json("gc", "run", "--delete", code=4)["purge"]
    assert partial["deleted"]["count"] == 1
    assert [(Path(name).name, reason) for name, reason in partial["failed"].items()] == [(stubborn.name, "denied")]
    again = matured.run("gc", "run", "--delete")
    assert again.exit_code == 4
    assert stubborn.name in again.stdout
    assert "run it again" in again.stderr
    monkeypatch.undo()
    assert matured.run("gc", "run", "--delete").exit_code == 0
    assert matured.orphans() == set()


def test_settings_can_be_overridden_for_one_run(adopted):
    assert adopted.json("gc", "mark", "--min-age", "40d")["counts"]["young"]["count"] == 2
    found = adopted.json("gc", "mark", "--min-age", "96h", "--quarantine", "14d", "--max-ratio", "0.5")["limits"]
    assert (found["min_age"], found["quarantine"], found["max_ratio"]) == (96 * 3600, 14 * 86_400, 0.5)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["mark", "--accept", "everything"], "clock-backwards, clock-skew"),
        (["mark", "--min-age", "3 weeks"], "gc_min_age"),
        (["purge", "--max-count", "many"], "--max-count"),
        (["pin", "not-an-id"], "names no blob"),
        (["restore", "last", "not-an-id"], "names no blob"),
    ],
)
def test_what_is_asked_wrongly_ends_with_2(adopted, arguments, told):
    wrong = adopted.run("gc", *arguments)
    assert wrong.exit_code == 2
    assert told in wrong.stderr
    assert wrong.stdout == ""


def test_status_tells_how_things_stand_and_what_to_do(site):
    before = site.run("gc", "status")
    assert before.exit_code == 0
    assert "nobody" in before.stdout
    assert "Next: offload gc adopt" in before.stderr
    site.run("gc", "adopt")
    site.run("gc", "mark")
    found = site.json("gc", "status")
    assert found["waiting"]["count"] == 2
    assert [run["verb"] for run in found["runs"]] == ["mark"]
    assert found["refusals"] == []
    after = site.run("gc", "status")
    assert found["manifest"] in after.stdout
    assert "2 blobs" in after.stdout


def test_show_lists_the_candidates_of_a_run(adopted):
    adopted.run("gc", "mark")
    names = {path.name for path in adopted.orphans()}
    shown = adopted.run("gc", "show", "last")
    assert shown.exit_code == 0
    assert all(name in shown.stdout for name in names)
    lines = adopted.run("gc", "show", "last", "--all").stdout.splitlines()
    assert {line.rpartition("/")[2] for line in lines[1:]} == names
    every = adopted.json("gc", "show", "--all")
    assert {Path(found["name"]).name for found in every["all_candidates"]} == names
    assert every["candidates"] == 2


def test_show_of_a_run_without_candidates_is_complete_too(matured):
    matured.run("gc", "purge")
    assert matured.json("gc", "show", "--all")["all_candidates"] == []


def test_there_is_no_such_run(adopted):
    missing = adopted.run("gc", "show", "17")
    assert missing.exit_code == 1
    assert "gc status" in missing.stderr


def test_what_is_restored_waits_anew_and_what_is_pinned_stays(matured):
    first, second = sorted(path.name.partition(".")[0] for path in matured.orphans())
    assert matured.json("gc", "restore", first)["restored"] == 1
    url = f"file:///anywhere/v1/prod/task/d/r/t/-1/k/{second}.json.zst#offload=1&about=a/b"
    assert matured.json("gc", "pin", url)["changed"] == [second]
    assert matured.json("gc", "run", "--delete")["purge"]["deleted"]["count"] == 0
    assert len(matured.orphans()) == 2
    assert matured.json("gc", "unpin", second)["pinned"] == 0


def test_a_whole_run_is_restored_by_its_number(matured):
    number = int(matured.json("gc", "status")["runs"][-1]["run"].partition("-")[0])
    assert matured.json("gc", "restore", str(number))["restored"] == 2
    assert matured.json("gc", "purge", "--delete")["deleted"]["count"] == 0


def test_the_last_mark_is_restored_whatever_ran_since(matured):
    purge = matured.json("gc", "purge")["run"]
    assert "marked nothing" in matured.run("gc", "restore", purge).stderr
    assert matured.json("gc", "restore", "last")["restored"] == 2


def test_restoring_what_was_not_marked_ends_with_4(matured):
    live = min(matured.live()).name.partition(".")[0]
    assert matured.json("gc", "restore", live, code=4)["unknown"] == [live]


def test_a_collector_without_the_database_works_from_an_export(adopted, tmp_path):
    file = tmp_path / "roots.jsonl.gz"
    exported = adopted.json("gc", "export-roots", str(file))
    assert exported["roots"] == 21  # the canary's as well
    split = Site(adopted.folder, core_store=f"roots+{file.as_uri()}")
    assert split.json("gc", "run")["mark"]["counts"]["marked"]["count"] == 2
    assert split.run("gc", "run").exit_code == 3  # an export is good for one command


class Loud(Hooks):
    """Prints where it should not."""

    def on_orphans_marked(self, report):
        print("printed by a hook")


def test_what_a_hook_prints_does_not_spoil_the_data(adopted, monkeypatch):
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__HOOKS", "tests.cli.test_gc.Loud")
    marked = adopted.run("gc", "mark", "--output", "json")
    assert json.loads(marked.stdout)["state"] == "concluded"
    assert "printed by a hook" in marked.stderr


def test_no_password_is_ever_printed(site, monkeypatch):
    url = f"postgresql://collector:{PASSWORD}@127.0.0.1:1/rows"
    for verb in EVERY_VERB:
        extra = ["01a20681-8c39-7dc6-be37-251b4a87528a"] if verb in ("restore", "pin", "unpin") else []
        extra = [str(site.folder / "roots")] if verb == "export-roots" else extra
        failed = Site(site.folder, core_store=url).run("gc", verb, *extra)
        assert PASSWORD not in failed.output, verb
        assert not isinstance(failed.exception, Exception) or isinstance(failed.exception, OffloadError), verb
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__CORE_STORE", url)
    failed = subprocess.run([OFFLOAD, "gc", "status", *site.place[:2]], capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert PASSWORD not in failed.stdout + failed.stderr
    assert "Traceback" not in failed.stderr


def test_in_a_pipe_stdout_is_data_and_stderr_is_words(adopted):
    command = [OFFLOAD, "gc", "mark", "--output", "json", *adopted.place]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["counts"]["marked"]["count"] == 2
    assert "2 blobs" in done.stderr
    assert "objects listed" not in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def test_whoever_watches_sees_how_far_it_is(adopted):
    data, seen = watched("gc", "mark", *adopted.place)
    assert data["state"] == "concluded"
    assert b"objects listed" in seen
    assert b"rows read" in seen


def test_leftovers_of_killed_uploads_go_also_while_somebody_watches(matured):
    [orphan, *_] = matured.orphans()
    leftover = orphan.with_name(f"{TEMPORARY}left")
    leftover.write_bytes(b"half")
    os.utime(leftover, (0, 0))
    data, _ = watched("gc", "purge", "--delete", *matured.place)
    assert data["leftovers"] == 1
    assert not leftover.exists()


def watched(*command):
    """What the command printed on stdout, and what it showed on a terminal meanwhile."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    line = [OFFLOAD, *command, "--output", "json"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=theirs, env=environment) as process:
        os.close(theirs)
        seen = b""
        while chunk := _read(ours):
            seen += chunk
        data = process.stdout.read()
    os.close(ours)
    assert process.returncode == 0, seen
    return json.loads(data), seen


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65_536)
    except OSError:  # how Linux says that the other side is closed
        return b""
