from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from offload_backend import connect
from offload_backend.cli import installed
from offload_backend.cli.opening import Kind, open_deployment, parse_core_store
from offload_backend.corestores.airflow_rows import AirflowRows
from offload_backend.corestores.sql import SqlCoreStore
from offload_backend.errors import ConfigError, RefusedError
from offload_backend.stores.local import LocalBlobStore

CONNECTION = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"


@pytest.fixture(autouse=True)
def without_airflow(no_configuration, monkeypatch):
    """No configuration, and no Airflow that would know another one."""
    monkeypatch.setattr(installed, "_is_installed", lambda name: False)


@pytest.fixture
def file(tmp_path):
    """The URL of a SQLite file that is there."""
    sqlite3.connect(tmp_path / "there.db").close()
    return f"sqlite:///{tmp_path}/there.db"


def configure(tmp_path, text):
    (tmp_path / "airflow-home").mkdir()
    (tmp_path / "airflow-home" / "airflow.cfg").write_text(text)


@pytest.mark.parametrize(
    ("text", "kind", "url"),
    [
        ("postgresql://u:p@host/db", Kind.EMBEDDED, "postgresql://u:p@host/db"),
        ("airflow+postgresql://u:p@host/db", Kind.AIRFLOW, "postgresql://u:p@host/db"),
        ("airflow+postgresql+psycopg2://host/db", Kind.AIRFLOW, "postgresql+psycopg2://host/db"),
        ("airflow+mysql+mysqldb://host/db", Kind.AIRFLOW, "mysql+mysqldb://host/db"),
        ("airflow-rest+https://host", Kind.REST, "https://host"),
        ("roots+file:///export.jsonl.gz", Kind.EXPORT, "file:///export.jsonl.gz"),
    ],
)
def test_the_form_of_a_core_store_tells_its_kind(text, kind, url):
    parsed = parse_core_store(text)
    assert (parsed.kind, parsed.url) == (kind, url)
    assert "p@" not in repr(parsed)


@pytest.mark.parametrize("text", ["", "state.db", "memory://", "airflow+", "roots+/export.jsonl"])
def test_what_is_no_url_of_a_lasting_place_is_a_configuration_error(text):
    with pytest.raises(ConfigError) as caught:
        parse_core_store(text)
    assert "--core-store" in caught.value.hint


@pytest.mark.parametrize("prefix", ["", "airflow+"])
def test_a_sqlite_file_that_is_not_there_is_not_made(tmp_path, prefix):
    with pytest.raises(ConfigError, match="does not exist") as caught:
        open_deployment(core_store=f"{prefix}sqlite:///{tmp_path}/typo.db")
    assert ("airflow db migrate" in caught.value.hint) == bool(prefix)
    assert not (tmp_path / "typo.db").exists()


def test_options_count_before_the_configuration(tmp_path, file):
    configure(
        tmp_path,
        "[offload_backend]\npath = s3://configured/prefix\ndeployment = configured\nreclaim = never\n"
        "core_store = postgresql://configured/db\n[state_store]\nstate_cleanup_batch_size = 7\n",
    )
    opened = open_deployment(f"file://{tmp_path}/blobs", file, "given")
    assert (opened.settings.path, opened.settings.deployment) == (f"file://{tmp_path}/blobs", "given")
    assert (opened.core_store.kind, opened.core_store.url) == (Kind.EMBEDDED, file)
    assert (opened.settings.reclaim, opened.batch_size) == ("never", 7)
    configured = open_deployment()
    assert (configured.settings.path, configured.settings.deployment) == ("s3://configured/prefix", "configured")
    assert configured.core_store.url == "postgresql://configured/db"


def test_the_parts_are_those_of_the_deployment(tmp_path, file):
    opened = open_deployment(f"file://{tmp_path}/blobs", file)
    assert isinstance(opened.store(), LocalBlobStore)
    assert opened.store().location == f"file://{tmp_path}/blobs"
    assert opened.offloader().settings is opened.settings
    with opened.rows() as rows:
        assert isinstance(rows, SqlCoreStore)
    with open_deployment(core_store=f"airflow+{file}").rows() as rows:
        assert isinstance(rows, AirflowRows)


@pytest.mark.parametrize(
    ("form", "name"),
    [
        ("{file}", "SqlRoots"),
        ("airflow+{file}", "AirflowRoots"),
        ("airflow-rest+https://airflow.example", "RestRoots"),
    ],
)
def test_each_kind_has_its_source_of_roots(file, form, name):
    with open_deployment(core_store=form.format(file=file)).roots() as roots:
        assert type(roots).__name__ == name


@pytest.mark.parametrize("form", ["airflow-rest+https://airflow.example", "roots+file:///export.jsonl.gz"])
def test_rows_behind_an_api_or_in_an_export_cannot_be_removed(form):
    with pytest.raises(RefusedError, match="compared and removed"), open_deployment(core_store=form).rows():
        pass


@pytest.mark.parametrize("source", ["environment", "file"])
def test_airflows_configured_database_is_used(tmp_path, monkeypatch, file, source):
    if source == "environment":
        monkeypatch.setenv(CONNECTION, file)
    else:
        configure(tmp_path, f"[database]\nsql_alchemy_conn = {file}\n")
    for given in (None, "airflow"):
        opened = open_deployment(core_store=given)
        assert (opened.core_store.kind, opened.core_store.url) == (Kind.AIRFLOW, file)


def test_what_is_configured_as_airflows_database_and_is_no_url_is_told_without_its_text(monkeypatch):
    monkeypatch.setenv(CONNECTION, "postgresql//user:hidden@host/db")
    with pytest.raises(ConfigError, match=r"\[database\] sql_alchemy_conn is not a URL") as caught:
        open_deployment()
    assert "hidden" not in str(caught.value)


def test_two_places_for_rows_are_ambiguous_until_one_is_named(monkeypatch, file):
    monkeypatch.setenv(CONNECTION, file)
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__CORE_STORE", file)
    with pytest.raises(ConfigError, match="two places") as caught:
        open_deployment()
    assert "--core-store airflow" in caught.value.hint
    assert open_deployment(core_store="airflow").core_store.kind is Kind.AIRFLOW
    assert open_deployment(core_store=file).core_store.kind is Kind.EMBEDDED


@pytest.mark.parametrize("suffix", ["_CMD", "_SECRET"])
def test_a_command_or_secret_that_only_airflow_follows_is_told(monkeypatch, suffix):
    monkeypatch.setenv(f"{CONNECTION}{suffix}", "echo hidden")
    with pytest.raises(ConfigError, match="command or secret") as caught:
        open_deployment()
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("given", [None, "airflow", "airflow+{file}"])
def test_rows_that_a_class_of_its_own_keeps_cannot_be_listed(monkeypatch, file, given):
    given = given and given.format(file=file)
    monkeypatch.setenv(CONNECTION, file)
    monkeypatch.setenv("AIRFLOW__STATE_STORE__BACKEND", "my_company.Backend")
    with pytest.raises(ConfigError, match=r"\[state_store\] backend") as caught:
        open_deployment(core_store=given)
    name, _, backend = caught.value.hint.rpartition(" ")[2].partition("=")
    monkeypatch.setenv(name, backend)
    assert open_deployment(core_store=given).core_store.kind is Kind.AIRFLOW


def test_a_configured_url_of_airflows_database_says_nothing_about_rows_elsewhere(monkeypatch, file):
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__CORE_STORE", f"airflow+{file}")
    monkeypatch.setenv("AIRFLOW__STATE_STORE__BACKEND", "my_company.Backend")
    with pytest.raises(ConfigError, match=r"\[state_store\] backend"):
        open_deployment()
    assert open_deployment(core_store=file).core_store.kind is Kind.EMBEDDED


def test_a_schema_that_the_url_does_not_tell_is_asked_for(monkeypatch, file):
    monkeypatch.setenv(CONNECTION, file)
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_SCHEMA", "airflow")
    with pytest.raises(ConfigError, match="sql_alchemy_schema") as caught:
        open_deployment()
    assert "search_path" in caught.value.hint


def test_without_any_configuration_it_is_what_connect_uses(tmp_path):
    with pytest.raises(ConfigError, match="no core store is configured"):
        open_deployment()
    assert not (tmp_path / "data").exists()
    with connect() as stores:
        stores.task_store("dag", "run", "task").set("key", "x" * 100_000)
    opened = open_deployment()
    (blob,) = opened.store().list()
    with opened.rows() as rows:
        (found,) = rows.found()
    assert Path(blob.name).name.partition(".")[0] in found.row.text
    assert open_deployment(f"file://{tmp_path}/other").settings.path == f"file://{tmp_path}/other"


def test_a_connection_needs_airflow_and_that_is_said(file):
    with pytest.raises(ConfigError, match="connections exist only inside Airflow"):
        open_deployment("s3://conn_id@bucket/prefix", file).store()


def test_a_setting_that_is_wrong_is_told(monkeypatch, file):
    monkeypatch.setenv("AIRFLOW__STATE_STORE__STATE_CLEANUP_BATCH_SIZE", "many")
    with pytest.raises(ConfigError, match="state_cleanup_batch_size"):
        open_deployment(core_store=file)
    with pytest.raises(ConfigError, match="deployment"):
        open_deployment(core_store=file, deployment="a b")
