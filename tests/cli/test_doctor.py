"""``offload doctor`` on a directory and an embedded core store: each thing that can be wrong, made wrong."""

from __future__ import annotations

import json
import os
import shutil
import threading
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from offload_backend import connect
from offload_backend.airflow import OffloadStateBackend
from offload_backend.cli import examining, installed
from offload_backend.cli.examining import examine
from offload_backend.cli.main import app
from offload_backend.corestores.sql import SqlCoreStore
from offload_backend.diagnosis import environment
from offload_backend.diagnosis.finding import Check, Fix, SkippedError, Status, diagnose, ok, warn
from offload_backend.row import open_envelope, row_text
from offload_backend.settings import Settings
from offload_backend.signature import Signatures
from offload_backend.stores.local import LocalBlobStore
from tests.cli.deployments import TASK
from tests.cli.doctors import examined

CLASS = "AIRFLOW__WORKERS__STATE_STORE_BACKEND"
OURS = "offload_backend.airflow.OffloadStateBackend"
PEER = "airflow.providers.common.io.state_store.backend.StateStoreObjectStorageBackend"
OWN = "AIRFLOW__OFFLOAD_BACKEND__"
KEY = "00" * 32


class Derived(OffloadStateBackend):
    """A user's own."""


@pytest.fixture
def standalone(monkeypatch):
    monkeypatch.setattr(installed, "_is_installed", lambda name: False)


@pytest.fixture
def doctor(deployment, standalone):
    """Examines a deployment that has one value, with further arguments; without Airflow."""
    deployment.set("checkpoint")
    return lambda *more: examined("--path", deployment.path, "--core-store", deployment.core_store, *more)


def files(deployment):
    return {path for path in (deployment.directory / "blobs").rglob("*") if path.is_file()}


def test_where_nothing_is_wrong_it_says_so_and_leaves_nothing_behind(doctor, deployment):
    before = files(deployment)
    found = doctor()
    assert found.code == 0
    assert found.with_status("fail") == found.with_status("warn") == set()
    assert {"put", "get", "range", "list", "delete", "store-clock", "owner", "refs", "core-store"} <= (
        found.with_status("ok")
    )
    assert files(deployment) == before


def test_for_people_what_is_to_be_done_comes_last(deployment, standalone, tmp_path):
    done = deployment.offload("doctor", "--deployment", "other")
    assert done.exit_code == 0, done.output
    assert "OK" in done.stdout
    checks, _, advice = done.stdout.partition("\nWARN owner:")
    assert "owner" in checks
    assert "mend:  offload gc adopt" in advice
    assert "warn" in done.stderr


@pytest.mark.parametrize(
    "variable", [f"{OWN}PATHS", f"{OWN}PART_SIZE", "AIRFLOW__STATE_STORE__DEFAULT_RETENTION_DAYS"]
)
def test_a_setting_that_is_wrong_is_exit_code_2_and_says_which(doctor, monkeypatch, variable):
    monkeypatch.setenv(variable, "7x")
    found = doctor()
    assert found.code == 2
    assert variable.rpartition("__")[2].lower() in found.only("settings", "fail")["seen"]
    found.only("everything else", "skip")
    assert found.statuses("versions")[0] == "ok"


def test_a_file_that_cannot_be_read_stops_nothing(doctor, tmp_path):
    (tmp_path / "airflow-home").mkdir()
    (tmp_path / "airflow-home" / "airflow.cfg").write_text("no section\n")
    found = doctor()
    assert (found.code, found.only("settings", "fail")["setting"]) == (2, True)
    assert "AIRFLOW_CONFIG" in found.only("settings", "fail")["mend"]


def test_where_each_setting_was_read_is_told_and_no_secret_is(doctor, monkeypatch, tmp_path):
    (tmp_path / "airflow-home").mkdir()
    file = tmp_path / "airflow-home" / "airflow.cfg"
    file.write_text("[offload_backend]\nconcurrency = 7\npart_size = 6000000\n[common.io]\n")
    monkeypatch.setenv(f"{OWN}PART_SIZE", "7000000")
    monkeypatch.setenv(f"{OWN}STORAGE_OPTIONS", '{"secret": "not-to-be-shown"}')
    monkeypatch.setenv(f"{OWN}CORE_STORE", "postgresql://me:not-to-be-shown@host/db")
    monkeypatch.setenv(f"{OWN}SIGNING_KEYS", "k1=env:THE_KEY")
    monkeypatch.setenv("THE_KEY", KEY)
    found = doctor()
    assert found.source("path") == "--path"
    assert found.source("concurrency") == f"{file} [offload_backend] concurrency"
    assert found.source("part_size") == f"{OWN}PART_SIZE"
    assert found.source("read_timeout") == "default"
    shown = {each["name"]: each["value"] for each in found.document["settings"]}
    assert (shown["part_size"], shown["signing_keys"]) == ("7000000", "k1=env")
    assert shown["storage_options"] == shown["core_store"] == "(set, not shown)"
    assert "not-to-be-shown" not in found.printed
    assert KEY not in found.printed


@pytest.mark.parametrize("setting", ["PATH", "READ_PATHS"])
def test_a_password_that_a_slash_has_cut_in_two_is_not_shown(no_configuration, monkeypatch, setting):
    monkeypatch.setenv(f"{OWN}PATH", "s3://bucket/state")
    monkeypatch.setenv(f"{OWN}{setting}", "sftp://me:not/to-be-shown@host/state")
    found = examined()
    shown = {each["name"]: each["value"] for each in found.document["settings"]}
    assert shown[setting.lower()] == "(no storage URL, not shown)"
    assert "to-be-shown" not in found.printed


def test_what_comes_from_airflows_own_settings_says_so(no_configuration, monkeypatch, tmp_path):
    path = "AIRFLOW__COMMON_IO__STATE_STORE_OBJECTSTORAGE_PATH"
    monkeypatch.setenv(path, f"file://{tmp_path}/peer")
    monkeypatch.setenv("AIRFLOW__STATE_STORE__MAX_VALUE_STORAGE_BYTES", "1000")
    found = examined()
    assert found.source("path") == path
    (tmp_path / "airflow-home").mkdir()
    file = tmp_path / "airflow-home" / "airflow.cfg"
    file.write_text("[offload_backend]\npath =\nreclaim = never\nconcurrency = 7\n")  # as Airflow writes its own
    monkeypatch.setenv(f"{OWN}CONCURRENCY", "")
    found = examined()
    assert found.source("path") == path
    assert found.source("reclaim") == f"{file} [offload_backend] reclaim"
    assert found.source("concurrency") == "default"
    assert found.source("inline_limit") == "[state_store] max_value_storage_bytes"


def test_settings_that_weaken_something_are_warned_of(doctor, monkeypatch):
    monkeypatch.setenv(f"{OWN}CODEC", "pickle")
    monkeypatch.setenv(f"{OWN}SIGNING_KEYS", "k1=env:THE_KEY")
    monkeypatch.setenv(f"{OWN}UNSIGNED_REFS", "accept")
    monkeypatch.setenv("THE_KEY", KEY)
    found = doctor()
    assert found.statuses("settings") == ["ok", "warn", "warn"]
    assert found.code == 0


@pytest.mark.parametrize(
    ("variables", "status", "says"),
    [
        ({CLASS: OURS}, "ok", OURS),
        ({CLASS: f"{__name__}.Derived"}, "ok", "derived"),
        ({}, "warn", "not set"),
        ({CLASS: PEER}, "fail", "ships with Airflow"),
        ({CLASS: "offload_backend.airflow.OffloadBackend"}, "fail", "cannot be imported: AttributeError"),
        ({CLASS: "no_such_package.Backend"}, "fail", "cannot be imported: ModuleNotFoundError"),
        ({CLASS: "collections.OrderedDict"}, "fail", "is not this backend"),
        ({"AIRFLOW__WORKERS__STATE_BACKEND": OURS}, "fail", "[workers] state_backend"),
    ],
)
def test_the_class_that_workers_use(deployment, monkeypatch, variables, status, says):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = examined("--path", deployment.path, "--core-store", deployment.core_store)
    assert says in found.only("worker-class", status)["seen"]
    assert found.code == (2 if status == "fail" else 0)


def test_our_class_in_the_servers_setting_and_a_name_that_is_not_read(deployment, monkeypatch):
    monkeypatch.setenv("AIRFLOW__STATE_STORE__BACKEND", OURS)
    monkeypatch.setenv(CLASS, OURS)
    monkeypatch.setenv("AIRFLOW__WORKERS__STATE_BACKEND", OURS)
    found = examined("--path", deployment.path, "--core-store", deployment.core_store)
    assert found.statuses("worker-class") == ["fail", "ok", "warn"]


def test_a_command_for_a_setting_that_airflow_does_not_follow(deployment, monkeypatch):
    monkeypatch.setenv(f"{OWN}PATH_CMD", "echo s3://bucket/state")
    found = examined("--core-store", f"airflow+{deployment.core_store}")
    assert "PATH_CMD is set" in found.only("indirect-settings", "fail")["seen"]
    assert "AirflowConfigException" in found.only("settings", "fail")["seen"]
    assert found.code == 2


def test_a_directory_that_is_not_there_is_made_when_asked_to(doctor, deployment):
    shutil.rmtree(deployment.directory / "blobs")
    (deployment.directory / "blobs").touch()
    assert "is no directory" in doctor().all("path")[1]["seen"]
    (deployment.directory / "blobs").unlink()
    path = f"file://{deployment.directory}/elsewhere"
    arguments = ["doctor", "--path", path, "--core-store", deployment.core_store, "--output", "json"]
    told = []
    for more in ([], ["--fix"]):
        done = CliRunner().invoke(app, [*arguments, *more])
        told.append([each for each in json.loads(done.stdout)["checks"] if each["check"] in ("path", "put")])
    (_, missing, skipped), (made, _) = told
    assert missing["status"] == "warn"
    assert "--fix" in missing["mend"]
    assert (skipped["status"], "no directory" in skipped["seen"]) == ("skip", True)
    assert (made["status"], made["fixed"]) == ("ok", f"{deployment.directory}/elsewhere made")


@pytest.mark.parametrize("path", ["relative/path", "s3://", "nonsense://here/state", "s3://bucket/a/../b"])
def test_a_path_that_names_no_place_is_a_failure_once(doctor, path):
    found = doctor("--path", path)
    assert found.only("path", "fail")["setting"]
    assert found.code == 2
    assert "put" in found.with_status("skip")
    assert "list" in found.with_status("skip")


def test_a_place_that_does_not_last_is_warned_of(doctor, deployment):
    found = doctor("--path", "memory://somewhere")
    assert found.statuses("path") == ["ok", "warn"]
    assert found.only("get", "ok")


def test_a_directory_that_this_user_may_not_write_to(doctor, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert doctor().statuses("path") == ["ok", "fail"]


def test_a_store_that_gives_back_something_else_is_found_out(doctor, monkeypatch):
    monkeypatch.setattr(LocalBlobStore, "get", lambda self, name: iter([b"a proxy's page"]))
    monkeypatch.setattr(LocalBlobStore, "get_range", lambda self, name, start, length: b"x" * length)
    found = doctor()
    assert "not the 4,096" in found.only("get", "fail")["seen"]
    found.only("range", "fail")
    assert found.code == 1


def test_a_listing_that_lacks_what_was_just_put_is_found_out(doctor, monkeypatch):
    monkeypatch.setattr(LocalBlobStore, "list", lambda self, prefix="": iter(()))
    found = doctor()
    found.only("list", "fail")
    assert "tells no time" in found.only("store-clock", "skip")["seen"]


def test_a_full_disk_is_told_as_what_it_is_and_nothing_stays(doctor, deployment, monkeypatch):
    def full(self, file, chunks, name):
        with self._translated("put", name):
            raise OSError(28, "no space")

    monkeypatch.setattr(LocalBlobStore, "_write", full)
    found = doctor()
    assert "ENOSPC" in found.only("put", "fail")["seen"]
    assert "free space" in found.only("put", "fail")["mend"]
    found.only("get", "skip")
    assert found.code == 1


def test_what_cannot_be_deleted_is_warned_of_and_removed_by_a_later_run(doctor, deployment, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(
            LocalBlobStore, "delete", lambda self, names: SimpleNamespace(failed={names[0]: "no"}, deleted=())
        )
        found = doctor()
    assert "reclaim = never" in found.only("delete", "warn")["mend"]
    (probe,) = (deployment.directory / "blobs").rglob("doctor/*")
    assert probe.name in found.only("delete", "warn")["means"]
    assert doctor().statuses("list") == ["ok"], "a probe this young may be of a run that goes on"
    then = datetime.now(timezone.utc).timestamp() - 7200
    os.utime(probe, (then, then))
    assert doctor().statuses("list") == ["ok", "warn"]
    assert probe.exists()
    assert doctor("--fix").all("list")[0]["fixed"] == "1 old probe deleted"
    assert not probe.exists()


def test_who_interrupts_it_leaves_no_probe(doctor, deployment):
    before = files(deployment)

    def interrupted(name, done, total):
        if name == "delete":
            assert files(deployment) != before
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        examine(deployment.path, deployment.core_store, on_step=interrupted)
    assert files(deployment) == before


def test_a_task_that_never_deletes_needs_no_right_to(doctor, monkeypatch):
    monkeypatch.setenv(f"{OWN}RECLAIM", "never")
    monkeypatch.setattr(
        LocalBlobStore, "delete", lambda self, names: SimpleNamespace(failed={names[0]: "no"}, deleted=())
    )
    assert "not deleted" in doctor().only("delete", "ok")["seen"]


def test_clocks_that_differ(doctor, monkeypatch):
    monkeypatch.setattr(SqlCoreStore, "now", lambda self: datetime.now(timezone.utc) + timedelta(minutes=6))
    listed = LocalBlobStore.list

    def behind(self, prefix=""):
        for info in listed(self, prefix):
            yield type(info)(info.name, info.size, info.modified - timedelta(minutes=7))

    monkeypatch.setattr(LocalBlobStore, "list", behind)
    found = doctor()
    assert "behind the database's" in found.only("database-clock", "fail")["seen"]
    assert "ahead of the store's" in found.only("store-clock", "fail")["seen"]
    monkeypatch.setenv(f"{OWN}GC_MAX_SKEW", "10m")
    found = doctor()
    found.only("database-clock", "ok")
    found.only("store-clock", "ok")


def test_a_core_store_that_is_named_and_not_there_is_a_failure(deployment, standalone):
    found = examined("--path", deployment.path, "--core-store", f"sqlite:///{deployment.directory}/typo.db")
    assert "does not exist" in found.only("core-store", "fail")["seen"]
    assert found.code == 2
    for check in ("database-clock", "refs", "peer-refs"):
        found.only(check, "skip")
    assert "blobs belong to" in found.only("owner", "unknown")["seen"]


def test_of_rows_in_an_export_is_told_what_it_can_tell(doctor, deployment):
    export = deployment.directory / "roots.jsonl.gz"
    done = deployment.offload("gc", "export-roots", str(export), "--core-store", deployment.core_store)
    assert done.exit_code == 0, done.output
    found = doctor("--core-store", f"roots+file://{export}")
    assert found.code == 0
    found.only("owner", "ok")
    for check in ("database-clock", "refs", "peer-refs"):
        found.only(check, "skip")


def test_a_worker_needs_no_database(deployment, monkeypatch):
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "airflow-db-not-allowed:///")
    monkeypatch.setenv(CLASS, OURS)
    found = examined("--path", deployment.path)
    assert found.code == 0
    assert {"core-store", "owner"} <= found.with_status("unknown")
    found.only("put", "ok")


def test_who_owns_the_blobs(doctor, deployment):
    found = doctor("--deployment", "nobodys")
    assert "nobody has adopted" in found.only("owner", "warn")["seen"]
    assert "belong to this database" in doctor().only("owner", "ok")["seen"]
    shutil.copy(deployment.directory / "state.db", deployment.directory / "copy.db")
    found = doctor("--core-store", f"sqlite:///{deployment.directory}/copy.db")
    assert "the blobs belong to the database" in found.only("owner", "fail")["seen"]
    assert found.code == 1


def test_a_database_that_was_restored_is_found_out(doctor, deployment):
    shutil.copy(deployment.directory / "state.db", deployment.directory / "backup.db")
    assert deployment.offload("gc", "mark").exit_code == 0
    (deployment.directory / "backup.db").replace(deployment.directory / "state.db")
    refused, _ = doctor().all("owner")
    assert (refused["status"], "sequence" in refused["seen"]) == ("fail", True)


def test_settings_with_which_the_collector_refuses(doctor, monkeypatch):
    monkeypatch.setenv(f"{OWN}GC_MIN_AGE", "25h")
    monkeypatch.setenv(f"{OWN}COMMIT_WINDOW", "26h")
    found = doctor()
    assert "commit-window" in found.only("owner", "fail")["seen"]
    assert found.code == 2


def test_a_collector_that_has_not_run_for_long_is_warned_of(doctor, deployment):
    assert deployment.offload("gc", "mark").exit_code == 0
    assert doctor().statuses("owner") == ["ok", "ok"]
    (marker,) = (deployment.directory / "blobs").rglob("marker.json")
    then = (datetime.now(timezone.utc) - timedelta(days=9)).timestamp()
    os.utime(marker, (then, then))
    assert doctor().statuses("owner") == ["ok", "warn"]


def rewritten(deployment, change):
    """The value's row, with its ref changed."""
    rows = SqlCoreStore(deployment.core_store)
    (row,) = list(rows.rows())
    rows.set(TASK, row.key, row.text.replace(*change), expires_at=None)
    rows.close()


@pytest.mark.parametrize(
    ("change", "means", "mend"),
    [
        (("v1/default/", "v1/other/"), "deployment 'other'", "deployment"),
        (("offload=1", "offload=2"), "newer", "upgrade"),
        (("v1/default/task", "v1/default/no"), "no blob", "who writes rows"),
        (("codec=json", "codec=pickle"), "pickled", "codec = pickle"),
        (("frames=sealed", "key=k7&frames=encrypted"), "'k7'", "encryption_keys"),
    ],
)
def test_refs_that_could_not_be_read_are_told_with_what_mends_it(doctor, deployment, change, means, mend):
    rewritten(deployment, change)
    found = doctor()
    refs = found.only("refs", "fail")
    assert means in refs["means"]
    assert mend in refs["mend"]
    assert "key 'checkpoint'" in refs["seen"]


def test_refs_to_a_place_that_is_not_configured_name_it(doctor, deployment, monkeypatch):
    found = doctor("--path", f"file://{deployment.directory}/new")
    refs = found.only("refs", "fail")
    assert f"read_paths = {deployment.path}" in refs["mend"]
    assert found.code == 2
    monkeypatch.setenv(f"{OWN}READ_PATHS", deployment.path)
    found = doctor("--path", f"file://{deployment.directory}/new")
    read, old = found.all("refs")
    assert (read["status"], "1 ref to" in old["seen"], "move --from" in old["seen"]) == ("ok", True, True)
    found.only("read-paths", "ok")
    monkeypatch.setenv(f"{OWN}READ_PATHS", f"file://{deployment.directory}/unused")
    _, unused = doctor().all("refs")
    assert "may go" in unused["seen"]


def test_refs_that_are_not_as_a_setting_demands(doctor, deployment, monkeypatch):
    monkeypatch.setenv("THE_KEY", KEY)
    monkeypatch.setenv(f"{OWN}SIGNING_KEYS", "s1=env:THE_KEY")
    assert "not signed" in doctor().only("refs", "fail")["means"]
    monkeypatch.setenv(f"{OWN}UNSIGNED_REFS", "accept")
    monkeypatch.setenv(f"{OWN}ENCRYPTION_KEYS", "k1=env:THE_KEY")
    monkeypatch.setenv(f"{OWN}UNENCRYPTED_BLOBS", "refuse")
    assert "not encrypted" in doctor().only("refs", "fail")["means"]
    monkeypatch.delenv(f"{OWN}UNENCRYPTED_BLOBS")
    monkeypatch.setenv(f"{OWN}MAX_VALUE_BYTES", "50")
    assert "max_value_bytes" in doctor().only("refs", "fail")["mend"]


def test_refs_that_are_signed_with_a_key_that_is_not_there(doctor, deployment, monkeypatch):
    monkeypatch.setenv("THE_KEY", KEY)
    signed = Signatures(Settings(signing_keys=("s0=env:THE_KEY",)))
    rows = SqlCoreStore(deployment.core_store)
    (row,) = list(rows.rows())
    rows.set(TASK, row.key, row_text(signed.signed(open_envelope(json.loads(row.text)))), expires_at=None)
    rows.close()
    doctor().only("refs", "ok")
    monkeypatch.setenv(f"{OWN}SIGNING_KEYS", "s1=env:THE_KEY")
    assert "s0=<source>" in doctor().only("refs", "fail")["mend"]


def test_rows_of_any_form_on_many_pages(doctor, deployment, monkeypatch):
    monkeypatch.setattr("offload_backend.diagnosis.refs._PAGE", 2)
    rows = SqlCoreStore(deployment.core_store)
    for number, text in enumerate(["1", '"__airflow_state_ref__"', '{"__airflow_state_ref__": 1}', "[" * 50_000]):
        rows.set(TASK, f"key {number}", text, expires_at=None)
    rows.set(TASK, "broken", row_text("s3://bucket/v1#what=1"), expires_at=None)
    rows.close()
    deployment.set("another")
    found = doctor().only("refs", "fail")
    assert ("1 ref" in found["seen"], "break the grammar" in found["means"]) == (True, True)


def test_a_replica_is_warned_of(doctor, deployment):
    found = doctor("--core-store", f"sqlite:///file:{deployment.directory}/state.db?mode=ro&uri=true")
    assert found.statuses("core-store") == ["ok", "warn"]
    assert found.statuses("owner")[0] == "warn"
    assert found.code == 0


def test_no_path_at_all(deployment):
    found = examined("--core-store", f"airflow+{deployment.core_store}")
    assert "AIRFLOW__OFFLOAD_BACKEND__PATH" in found.only("path", "fail")["mend"]
    assert found.code == 2


def test_all_together_take_no_longer_than_they_may(monkeypatch):
    monkeypatch.setattr("offload_backend.diagnosis.finding.IN_ALL", -1.0)
    (result,) = diagnose([Check("late", lambda: [ok("well")])])
    assert result.finding.status is Status.SKIP


def test_what_the_peer_has_left(doctor, deployment, monkeypatch):
    assert "ships with Airflow" in doctor().only("peer-refs", "ok")["seen"]
    rows = SqlCoreStore(deployment.core_store)
    rows.set(TASK, "old", row_text(f"{deployment.path}/etl/run/load/-1/old"), expires_at=None)
    rows.close()
    found = doctor()
    assert "1 ref of" in found.only("peer-refs", "warn")["seen"]
    found.only("refs", "ok")
    found = doctor("--path", f"file://{deployment.directory}/new")
    assert len(found.all("refs")) == 2, "one of ours, one of the peer's"


def test_a_ref_of_the_peers_is_where_it_is_whatever_connection_it_names(doctor, deployment, monkeypatch):
    rows = SqlCoreStore(deployment.core_store)
    rows.set(TASK, "old", row_text("s3://theirs@bucket/state/etl/run/load/-1/old"), expires_at=None)
    rows.close()
    monkeypatch.setenv(f"{OWN}READ_PATHS", "s3://ours@bucket/state")
    read, old = doctor().all("refs")
    assert read["status"] == "ok", read
    assert "1 ref to s3://bucket/state" in old["seen"]


def test_more_rows_than_there_is_time_for_are_not_called_well(doctor, monkeypatch):
    monkeypatch.setattr("offload_backend.diagnosis.refs._ENOUGH", -1)
    found = doctor()
    found.only("refs", "unknown")
    found.only("peer-refs", "skip")


def test_a_location_in_read_paths_that_does_not_answer(doctor, deployment, monkeypatch):
    link = deployment.directory / "link"
    link.symlink_to(deployment.directory / "blobs")
    monkeypatch.setenv(f"{OWN}READ_PATHS", f"file://{link} nonsense://here/state")
    found = doctor()
    assert found.statuses("read-paths") == ["ok", "fail"] or "fail" in found.statuses("read-paths")
    assert found.code == 2


def test_keys(doctor, monkeypatch):
    monkeypatch.setenv(f"{OWN}ENCRYPTION_KEYS", "k1=env:THE_KEY k0=env:OLD_KEY")
    monkeypatch.setenv("THE_KEY", KEY)
    first, second = doctor().all("keys")
    assert (first["status"], second["status"]) == ("ok", "fail")
    assert "'k0'" in second["seen"]
    monkeypatch.setenv("OLD_KEY", f"{KEY}x")
    found = doctor()
    assert found.statuses("keys") == ["ok", "fail"]
    assert KEY not in found.printed
    monkeypatch.setenv(f"{OWN}ENCRYPTION_KEYS", f"k1=class:{__name__}.Forgetful")
    assert "does not give again" in doctor().only("keys", "fail")["seen"]


class Forgetful:
    """Gives another key each time, and none again."""

    def fresh(self):
        from offload_backend.crypto.source import Secret

        return Secret(os.urandom(32), b"wrapped")

    def unwrapped(self, wrapped):
        return (bytes(32),)


def test_hooks_that_cannot_be_made(doctor, monkeypatch):
    monkeypatch.setenv(f"{OWN}HOOKS", "no_such_package.Hooks")
    assert doctor().only("hooks", "fail")["setting"]


def test_what_is_missing_or_too_old(doctor, monkeypatch):
    monkeypatch.setenv("THE_KEY", KEY)
    monkeypatch.setenv(f"{OWN}ENCRYPTION_KEYS", "k1=env:THE_KEY")
    monkeypatch.setenv(f"{OWN}READ_PATHS", "gs://bucket/state s3://bucket/state")
    monkeypatch.setattr(environment, "find_spec", lambda name: None)
    real = environment.version
    monkeypatch.setattr(environment, "version", lambda name: "2.0.1" if name == "pydantic" else real(name))
    found = doctor("--core-store", "postgresql://localhost:1/db")
    assert {each["seen"].partition(" ")[0] for each in found.all("extras")} == {
        *("boto3", "cryptography", "gcsfs", "psycopg")
    }
    assert [each["seen"] for each in found.all("versions") if each["status"] == "fail"] == [
        "pydantic 2.0.1 is older than 2.10"
    ]


def test_memory(doctor, monkeypatch):
    monkeypatch.setattr(environment, "memory_limit", lambda: 100_000_000)
    assert "part_size" in doctor().only("memory", "warn")["mend"]
    monkeypatch.setattr(environment, "memory_limit", lambda: None)
    doctor().only("memory", "unknown")


def test_a_system_on_which_forks_are_trouble(doctor, monkeypatch):
    monkeypatch.setattr(environment.sys, "platform", "darwin")
    doctor().only("forks", "warn")
    monkeypatch.delattr(os, "fork")
    doctor().only("forks", "fail")


def test_a_check_that_breaks_stalls_or_says_nothing_stops_no_other():
    def breaks():
        yield ok("first")
        raise RuntimeError("a secret")

    stalled = threading.Event()

    def exits():
        raise SystemExit(3)

    checks = [
        Check("exits", exits),
        Check("breaks", breaks),
        Check("stalls", lambda: stalled.wait(60) and [], seconds=0.05),
        Check("says nothing", list),
        Check("is skipped", lambda: (_ for _ in ()).throw(SkippedError("no reason"))),
        Check("works", lambda: [ok("well")]),
    ]
    results = diagnose(checks)
    stalled.set()
    assert [(each.check, each.finding.status) for each in results] == [
        ("exits", Status.UNKNOWN),
        ("breaks", Status.OK),
        ("breaks", Status.UNKNOWN),
        ("stalls", Status.UNKNOWN),
        ("says nothing", Status.UNKNOWN),
        ("is skipped", Status.SKIP),
        ("works", Status.OK),
    ]
    assert "a secret" not in str(results)
    assert [each.check for each in results if "not done within" in each.finding.seen] == ["stalls"]


def test_a_configuration_that_waits_for_a_secret_is_not_waited_for(deployment, monkeypatch):
    stalled = threading.Event()
    monkeypatch.setattr(examining, "open_deployment", lambda *place: stalled.wait(60))
    monkeypatch.setattr(Check, "seconds", 0.2)
    found = examined("--path", deployment.path)
    stalled.set()
    assert "StalledError" in found.only("settings", "fail")["seen"]
    assert found.code == 2


def test_a_fix_that_fails_is_told_and_the_finding_stays():
    def act():
        raise OSError("nobody may")

    check = Check("broken", lambda: [warn("broken", "it is", fix=Fix("mend it", act))])
    (result,) = diagnose([check], fix=True)
    assert result.finding.status is Status.WARN
    assert result.fixed.startswith("could not be done: mend it")
    assert diagnose([check])[0].fixed == ""


def test_no_run_of_the_collector_looks_at_a_probe(deployment):
    deployment.set("checkpoint")
    before = deployment.as_json("verify")
    probe = deployment.directory / "blobs/v1/default/_gc/doctor/01999999-9999-7aaa-8bbb-cccccccccc00.json"
    probe.parent.mkdir()
    probe.write_text("{}")
    assert deployment.as_json("verify") == before
    assert deployment.offload("gc", "run", "--delete").exit_code == 0
    assert probe.exists()


def test_where_nothing_was_ever_stored_nothing_is_made(no_configuration, standalone, tmp_path):
    found = examined()
    assert found.statuses("path") == ["ok", "warn"]
    assert found.code == 0
    assert not (tmp_path / "data").exists()


def test_without_any_configuration_it_examines_what_connect_uses(no_configuration, standalone, tmp_path):
    with connect() as stores:
        stores.task_store("dag", "run", "task").set("key", "x" * 100_000)
    found = examined()
    found.only("refs", "ok")
    assert str(tmp_path / "data") in found.all("path")[0]["seen"]
