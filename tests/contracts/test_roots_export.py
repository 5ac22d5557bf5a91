"""Exports of roots: complete or an error, each good for one process, and never taken for a newer one."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import re
import shutil
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from offload_backend.address import TaskAddress, new_blob_id
from offload_backend.corestores import roots_export
from offload_backend.corestores.roots_export import RUNS, ExportedRoots, export_roots
from offload_backend.corestores.sql import SqlCoreStore
from offload_backend.corestores.sql_roots import SqlRoots
from offload_backend.errors import ConfigError, CoreStoreError
from offload_backend.rootsource import Hidden, Ledger, Origin
from offload_backend.row import row_text
from offload_backend.testing.root_source import canary, ref_to
from tests.golden import write_roots

TASK = TaskAddress("dag", "run", "task")
GOLDEN = Path(write_roots.__file__).with_name("roots_v1.jsonl.gz")
FORMATS = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")


@pytest.fixture
def core_store(tmp_path):
    store = SqlCoreStore(f"sqlite:///{tmp_path}/state.db")
    for number in range(3):
        store.set(TASK, str(number), row_text(ref_to(new_blob_id())), expires_at=None)
    store.set(TASK, "inline", f'{{"kept": "{new_blob_id()}"}}', expires_at=None)
    yield store
    store.close()


@pytest.fixture
def database(core_store, tmp_path):
    source = SqlRoots(f"sqlite:///{tmp_path}/state.db", "default")
    source.record(canary(5))
    yield source
    source.close()


@pytest.fixture
def file(tmp_path):
    return tmp_path / "export.jsonl.gz"


def test_an_export_has_the_databases_roots_origin_and_ledger(database, file):
    before = database.origin()
    ledger = database.ledger()
    done = export_roots(database, file, "default")
    exported = ExportedRoots(file, "default")
    assert shown(exported) == shown(database)
    assert done.roots == len(list(database.roots(()))) == 5
    origin = exported.origin()
    assert (origin.kind, origin.fingerprint, origin.location) == (before.kind, before.fingerprint, before.location)
    assert exported.ledger() == done.ledger == ledger
    exported.close()


def shown(source):
    return [(root.ids, root.ref, root.holder) for root in source.roots(())]


def test_the_time_is_that_before_the_snapshot_by_the_clock_that_is_behind(database, file, monkeypatch):
    for ahead in (timedelta(hours=1), -timedelta(hours=1)):
        monkeypatch.setattr(SqlRoots, "now", lambda _, ahead=ahead: datetime.now(timezone.utc) + ahead)
        before = datetime.now(timezone.utc)
        done = export_roots(database, file, "default")
        read_at = ExportedRoots(file, "default").origin().read_at
        assert done.read_at == read_at
        assert read_at <= datetime.now(timezone.utc) + min(ahead, timedelta(0))
        assert read_at >= before + min(ahead, timedelta(0))


def test_what_is_committed_while_an_export_is_written_is_later_than_its_time(
    database, core_store, file, monkeypatch
):
    real = SqlRoots.roots
    committed = []

    def roots(source, addresses):
        committed.append(datetime.now(timezone.utc))
        core_store.set(TASK, "late", row_text(ref_to(new_blob_id())), expires_at=None)
        return real(source, addresses)

    monkeypatch.setattr(SqlRoots, "roots", roots)
    done = export_roots(database, file, "default")
    assert done.read_at <= committed[0]


def test_an_export_holds_no_text_of_a_row(database, core_store, file):
    core_store.set(TASK, "inline", f'{{"secret": "hunter2", "id": "{new_blob_id()}"}}', expires_at=None)
    export_roots(database, file, "default")
    assert b"hunter2" not in gzip.decompress(file.read_bytes())
    assert file.stat().st_mode & 0o077 == 0


class TestRuns:
    """Which runs an export is good for."""

    def test_each_export_takes_its_runs_from_the_database_for_itself(self, database, file, tmp_path):
        first = export_roots(database, file, "default")
        assert (first.ledger.sequence, database.ledger().sequence) == (5, 5 + RUNS)
        second = export_roots(database, tmp_path / "second.gz", "default")
        assert second.ledger.sequence == 5 + RUNS
        assert database.ledger().sequence == 5 + 2 * RUNS

    def test_one_process_may_make_several_runs_and_no_more(self, database, file):
        export_roots(database, file, "default")
        exported = ExportedRoots(file, "default")
        for _ in range(RUNS):
            ledger = exported.ledger()
            exported.record(Ledger(ledger.sequence + 1, ledger.canary))
            assert exported.ledger().sequence == ledger.sequence + 1
        with pytest.raises(CoreStoreError, match=f"run {6 + RUNS} is none of those left") as caught:
            exported.record(Ledger(6 + RUNS, ledger.canary))
        assert "export-roots again" in caught.value.hint
        with pytest.raises(CoreStoreError, match="run 6 is none of those left"):
            exported.record(Ledger(6, ledger.canary))

    def test_no_run_of_an_export_is_ahead_of_the_database(self, database, file):
        export_roots(database, file, "default")
        last = ExportedRoots(file, "default")
        last.record(Ledger(5 + RUNS, last.ledger().canary))
        assert last.ledger().sequence <= database.ledger().sequence

    @pytest.mark.parametrize("runs", [1, 2])
    def test_an_export_used_again_is_behind_the_bucket(self, database, file, runs):
        export_roots(database, file, "default")
        bucket = spend(ExportedRoots(file, "default"), runs)
        assert ExportedRoots(file, "default").ledger().sequence < bucket

    def test_an_older_export_is_behind_the_bucket_once_a_newer_one_was_used(self, database, file, tmp_path):
        newer = tmp_path / "newer.gz"
        export_roots(database, file, "default")
        export_roots(database, newer, "default")
        bucket = spend(ExportedRoots(newer, "default"))
        assert ExportedRoots(file, "default").ledger().sequence < bucket

    @pytest.mark.parametrize("used", ["export", "database"])
    def test_an_export_of_a_restored_database_is_behind_the_bucket(self, database, file, tmp_path, used):
        backup = shutil.copy(tmp_path / "state.db", tmp_path / "backup.db")
        shutil.copy(tmp_path / "state.db-wal", tmp_path / "backup.db-wal")
        if used == "export":
            export_roots(database, file, "default")
            bucket = spend(ExportedRoots(file, "default"))
        else:
            bucket = spend(database)
        restored = SqlRoots(f"sqlite:///{backup}", "default")
        done = export_roots(restored, file, "default")
        assert done.ledger.sequence < bucket
        restored.close()

    def test_exports_and_runs_on_the_database_itself_may_take_turns(self, database, file):
        export_roots(database, file, "default")
        bucket = spend(ExportedRoots(file, "default"))
        assert database.ledger().sequence >= bucket
        bucket = spend(database)
        export_roots(database, file, "default")
        assert ExportedRoots(file, "default").ledger().sequence >= bucket


def spend(source, runs=1):
    """Make runs as the collector does; the highest number that the bucket has then seen."""
    for _ in range(runs):
        ledger = source.ledger()
        source.record(Ledger(ledger.sequence + 1, ledger.canary))
    return ledger.sequence + 1


class TestAdoption:
    """The way from a bucket to a database that it cannot reach, and back."""

    def test_the_first_adoption_goes_on_with_the_command_that_it_names(self, core_store, file, tmp_path):
        database = SqlRoots(f"sqlite:///{tmp_path}/state.db", "default")
        assert export_roots(database, file, "default").ledger is None
        exported = ExportedRoots(file, "default")
        assert exported.ledger() is None
        assert database.ledger() is None
        wanted = canary(1)
        with pytest.raises(CoreStoreError, match="cannot take a new canary") as caught:
            exported.record(wanted)
        sequence, ref = re.search(r"export-roots --sequence (\d+) --canary '(.*)' FILE", caught.value.hint).groups()
        export_roots(database, file, "default", sequence=int(sequence), canary=ref)
        adopted = ExportedRoots(file, "default")
        assert adopted.ledger() == wanted
        assert adopted.origin().fingerprint == exported.origin().fingerprint
        assert wanted.canary in {root.ref for root in adopted.roots(())}
        assert spend(adopted) == 2
        database.close()

    def test_a_restored_database_is_brought_up_to_the_bucket(self, database, file):
        export_roots(database, file, "default")
        wanted = canary(900)
        with pytest.raises(CoreStoreError) as caught:
            ExportedRoots(file, "default").record(wanted)
        assert "--sequence 900" in caught.value.hint
        export_roots(database, file, "default", sequence=900, canary=wanted.canary)
        assert ExportedRoots(file, "default").ledger() == wanted
        assert database.ledger() == Ledger(900 + RUNS, wanted.canary)

    def test_a_lower_sequence_does_not_bring_the_database_back(self, database, file):
        done = export_roots(database, file, "default", sequence=2)
        assert done.ledger.sequence == 5


class TestDamage:
    """An export is complete, or nothing at all is believed."""

    @pytest.fixture
    def exported(self, database, file):
        export_roots(database, file, "default")
        return file

    def test_a_file_cut_anywhere_is_an_error_for_every_call(self, exported):
        whole = exported.read_bytes()
        for length in (*range(0, len(whole), 37), len(whole) - 1):
            exported.write_bytes(whole[:length])
            assert_refused(exported)

    def test_a_missing_changed_added_or_repeated_line_is_an_error(self, exported):
        lines = gzip.decompress(exported.read_bytes()).splitlines(keepends=True)
        damaged = [lines[:number] + lines[number + 1 :] for number in range(len(lines))]
        damaged += [[*lines[:number], lines[number], *lines[number:]] for number in range(len(lines))]
        damaged += [[*lines[:2], lines[2].replace(b"key", b"KEY"), *lines[3:]]]
        damaged += [[lines[0].replace(b'"replica":false', b'"replica":true '), *lines[1:]]]
        damaged += [[lines[0].replace(b'"sequence":5', b'"sequence":6'), *lines[1:]]]
        damaged += [[*lines, b"\n"], [*lines[:-1], lines[-1].rstrip(b"\n")], [lines[0], *reversed(lines[1:-1])]]
        for some in damaged:
            assert some != lines
            exported.write_bytes(gzip.compress(b"".join(some)))
            assert_refused(exported)

    def test_every_flipped_bit_of_the_packed_file_is_an_error_or_changes_nothing(self, exported):
        whole = exported.read_bytes()
        expected = list(ExportedRoots(exported, "default").roots(()))
        for position in range(0, len(whole), 11):
            flipped = bytes([*whole[:position], whole[position] ^ 4, *whole[position + 1 :]])
            exported.write_bytes(flipped)
            with contextlib.suppress(CoreStoreError, ConfigError):
                assert list(ExportedRoots(exported, "default").roots(())) == expected

    @pytest.mark.parametrize(
        "change",
        [
            {"ids": []},
            {"ids": ["x"]},
            {"ids": [7]},
            {"ids": None},
            {"updated_at": "yesterday"},
            {"holder": ...},
            {"ref": ...},
        ],
        ids=str,
    )
    def test_a_line_that_is_no_root_is_an_error_even_if_the_footer_fits(self, exported, change):
        lines = [json.loads(line) for line in gzip.decompress(exported.read_bytes()).splitlines()]
        name, value = next(iter(change.items()))
        lines[2].pop(name)
        if value is not ...:
            lines[2][name] = value
        exported.write_bytes(packed(lines[:-1]))
        assert_refused(exported)

    @pytest.mark.parametrize("name", ["kind", "fingerprint", "read_at", "started_at", "ledger", "replica"])
    def test_a_header_that_lacks_a_member_is_an_error_even_if_the_footer_fits(self, exported, name):
        lines = [json.loads(line) for line in gzip.decompress(exported.read_bytes()).splitlines()]
        del lines[0][name]
        exported.write_bytes(packed(lines[:-1]))
        assert_refused(exported)

    def test_a_file_that_is_replaced_between_two_readings_is_an_error(self, exported, database):
        reader = ExportedRoots(exported, "default")
        reader.origin()
        export_roots(database, exported, "default")
        with pytest.raises(CoreStoreError, match="replaced"):
            list(reader.roots(()))

    def test_a_file_that_is_none_or_of_another_deployment_or_version_is_a_configuration_error(self, exported):
        with pytest.raises(ConfigError, match="no such export"):
            ExportedRoots(exported.with_name("missing"), "default").origin()
        with pytest.raises(ConfigError, match="of deployment 'default', not 'other'"):
            list(ExportedRoots(exported, "other").roots(()))
        for header, message in (({}, "no export of roots"), ({"offload_roots": 2}, "another version")):
            exported.write_bytes(packed([header]))
            with pytest.raises(ConfigError, match=message):
                ExportedRoots(exported, "default").ledger()

    def test_text_that_is_not_packed_is_an_error(self, exported):
        exported.write_bytes(gzip.decompress(exported.read_bytes()))
        assert_refused(exported)


def packed(lines):
    data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    footer = {"count": len(lines) - 1, "sha256": hashlib.sha256(data).hexdigest()}
    return gzip.compress(data + json.dumps(footer).encode() + b"\n")


def assert_refused(file):
    for call in (ExportedRoots.origin, ExportedRoots.ledger, lambda reader: list(reader.roots(()))):
        with pytest.raises((CoreStoreError, ConfigError)):
            call(ExportedRoots(file, "default"))


class Broken:
    """A database that fails in the middle, hides a row, forgets its canary or cannot be read whole."""

    def __init__(self, source, found, kind="sql"):
        self._source = source
        self._found = found
        self._kind = kind

    def __getattr__(self, name):
        return getattr(self._source, name)

    def origin(self):
        return Origin(self._kind, "fingerprint", "location")

    def roots(self, addresses):
        yield from list(self._source.roots(addresses))[1:]
        if self._found is not None:
            raise self._found


@pytest.mark.parametrize(
    ("source", "error"),
    [
        (lambda database: Broken(database, CoreStoreError("gone")), CoreStoreError),
        (lambda database: Broken(database, None), CoreStoreError),
        (lambda database: Broken(database, None, kind="airflow-rest"), ConfigError),
    ],
    ids=["fails", "no canary", "asked by address"],
)
def test_an_export_that_cannot_be_complete_leaves_what_was_there(database, file, source, error):
    file.write_bytes(b"before")
    with pytest.raises(error):
        export_roots(source(database), file, "default")
    assert file.read_bytes() == b"before"
    assert [found.name for found in file.parent.glob("*export*")] == [file.name]


def test_a_hidden_row_is_an_error(database, file, monkeypatch):
    monkeypatch.setattr(SqlRoots, "roots", lambda *_: iter([Hidden(TASK, "403")]))
    with pytest.raises(CoreStoreError, match="403"):
        export_roots(database, file, "default")
    assert not file.exists()


def test_a_directory_that_is_not_there_is_an_error_of_ours(database, tmp_path):
    with pytest.raises(CoreStoreError, match="cannot be written: No such file"):
        export_roots(database, tmp_path / "missing" / "export.gz", "default")


class TestGolden:
    """The file of the first release."""

    def test_it_is_read_as_what_was_written(self):
        exported = ExportedRoots(GOLDEN, "golden")
        assert list(exported.roots(())) == write_roots.ROOTS
        assert exported.ledger() == Ledger(41, write_roots.CANARY)
        read_at = write_roots.NOW - timedelta(milliseconds=500)
        origin = write_roots.ORIGIN
        assert exported.origin() == Origin(origin.kind, origin.fingerprint, origin.location, read_at=read_at)

    def test_the_script_writes_today_what_it_wrote(self, file):
        write_roots.write(file)
        assert gzip.decompress(file.read_bytes()) == gzip.decompress(GOLDEN.read_bytes())

    def test_the_document_shows_it(self):
        assert f"```json\n{gzip.decompress(GOLDEN.read_bytes()).decode()}```" in FORMATS
        assert (
            json.loads(gzip.decompress(GOLDEN.read_bytes()).splitlines()[0])["offload_roots"] == roots_export.FORMAT
        )
