from __future__ import annotations

import pytest

from tests.cli.collected import Site


@pytest.fixture
def site(no_configuration, tmp_path) -> Site:
    return Site(tmp_path / "site").fill()


def test_all_is_well(site):
    verified = site.run("verify")
    assert verified.exit_code == 0
    assert "No ref dangles." in verified.stderr
    assert "2 blobs" in verified.stderr
    assert site.json("verify")["orphans"]["count"] == 2


def test_a_row_whose_blob_is_gone_ends_with_5_and_is_named(site):
    gone = min(site.live())
    gone.unlink()
    dangling = site.run("verify")
    assert dangling.exit_code == 5
    assert gone.name in dangling.stdout
    assert "task etl.load run run" in dangling.stdout
    assert "1 ref without a blob" in dangling.stderr
    found = site.json("verify", code=5)
    assert (found["dangling"], found["corrupt"]) == (1, 0)


def test_a_damaged_blob_is_found_when_contents_are_read(site):
    damaged = min(site.live())
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    assert site.run("verify").exit_code == 0
    found = site.json("verify", "--contents", code=5)
    assert (found["dangling"], found["corrupt"], found["checked"]["count"]) == (0, 1, 20)


def test_what_is_young_is_no_orphan(site):
    assert site.json("verify", "--min-age", "40d")["orphans"]["count"] == 0


def test_an_empty_database_is_told_apart_from_a_wrong_one(site, tmp_path):
    (tmp_path / "empty.db").touch()
    wrong = Site(site.folder, core_store=f"sqlite:///{tmp_path}/empty.db").run("verify")
    assert wrong.exit_code == 2
    assert "no table" in wrong.stderr
