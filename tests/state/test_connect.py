"""Where rows and blobs go, and which setting decides it."""

from __future__ import annotations

import json
import subprocess
import sys
import traceback

import pytest

from offload_backend import connect
from offload_backend.address import TaskAddress
from offload_backend.configuration import read_configuration
from offload_backend.corestores.memory import MemoryCoreStore
from offload_backend.corestores.sql import SqlCoreStore
from offload_backend.errors import ConfigError
from tests.state.conftest import BIG

TASK = TaskAddress("dag", "run", "task")


@pytest.fixture
def home(tmp_path):
    (tmp_path / "airflow-home").mkdir()
    return tmp_path / "airflow-home"


@pytest.fixture
def airflow_cfg(home):
    def write(text):
        (home / "airflow.cfg").write_text(text)

    return write


def use(**options):
    with connect(**options) as stores:
        task_store = stores.task_store("dag", "run", "task")
        task_store.set("key", BIG)
        assert task_store.get("key") == BIG


def test_with_nothing_configured_rows_and_blobs_stay_in_the_data_directory(tmp_path):
    use(inline_limit=200)
    own = tmp_path / "data-home" / "offload-backend"
    assert (own / "state.db").is_file()
    assert len(list((own / "blobs").rglob("*.json.zst"))) == 1
    assert own.stat().st_mode & 0o077 == 0


def test_the_data_directory_is_below_the_home_directory_by_default(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    use()
    assert (tmp_path / ".local" / "share" / "offload-backend" / "state.db").is_file()


def test_a_data_directory_that_cannot_be_made_is_a_configuration_error(monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", "/dev/null")
    with pytest.raises(ConfigError, match="cannot be made") as caught:
        connect()
    assert "core_store" in caught.value.hint


def test_airflow_cfg_says_where_rows_and_blobs_go(tmp_path, airflow_cfg):
    airflow_cfg(
        f"""
        [offload_backend]
        path = {tmp_path}/blobs
        core_store = sqlite:///{tmp_path}/rows.db
        inline_limit = 100
        """
    )
    use()
    assert SqlCoreStore(f"sqlite:///{tmp_path}/rows.db").get(TASK, "key") is not None
    assert len(list((tmp_path / "blobs").rglob("*.json.zst"))) == 1
    assert not (tmp_path / "data-home").exists()


def test_airflow_config_names_another_file(tmp_path, monkeypatch):
    (tmp_path / "other.cfg").write_text(f"[offload_backend]\npath = {tmp_path}/other\ninline_limit = 0\n")
    monkeypatch.setenv("AIRFLOW_CONFIG", str(tmp_path / "other.cfg"))
    use()
    assert (tmp_path / "other").exists()


def test_an_environment_variable_counts_before_the_file_and_an_argument_before_both(
    tmp_path, airflow_cfg, monkeypatch
):
    airflow_cfg(f"[offload_backend]\npath = {tmp_path}/file\ninline_limit = 0\n")
    use()
    assert (tmp_path / "file").exists()
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__PATH", str(tmp_path / "variable"))
    use()
    assert (tmp_path / "variable").exists()
    use(path=tmp_path / "argument")
    assert (tmp_path / "argument").exists()


def test_the_path_of_airflows_own_backend_is_used_where_there_is_no_other(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW__COMMON_IO__STATE_STORE_OBJECTSTORAGE_PATH", f"file://{tmp_path}/peer")
    use(inline_limit=0)
    assert (tmp_path / "peer").exists()
    use(inline_limit=0, path=tmp_path / "own")
    assert (tmp_path / "own").exists()


def test_values_of_airflows_own_backend_stay_readable_after_moving_to_another_path(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW__COMMON_IO__STATE_STORE_OBJECTSTORAGE_PATH", f"file://{tmp_path}/peer")
    theirs = tmp_path / "peer" / "dag" / "run" / "task" / "-1" / "key"
    theirs.parent.mkdir(parents=True)
    theirs.write_text(json.dumps(BIG))
    rows = MemoryCoreStore()
    row = json.dumps({"__airflow_state_ref__": f"file://{theirs}"})
    rows.set(TASK, "key", row, expires_at=None)
    with connect(tmp_path / "own", rows) as stores:
        assert stores.task_store("dag", "run", "task").get("key") == BIG


def test_a_row_stays_within_what_airflow_allows_without_a_warning(monkeypatch, tmp_path):
    monkeypatch.setenv("AIRFLOW__STATE_STORE__MAX_VALUE_STORAGE_BYTES", "50")
    use(path=tmp_path / "blobs", core_store="memory://")
    assert len(list((tmp_path / "blobs").rglob("*.json.zst"))) == 1


def test_a_relative_path_object_stays_where_it_was(tmp_path, monkeypatch):
    from pathlib import Path

    monkeypatch.chdir(tmp_path)
    with connect(Path("blobs"), "memory://", inline_limit=0) as stores:
        monkeypatch.chdir("/")
        stores.task_store("dag", "run", "task").set("key", 1)
    assert (tmp_path / "blobs").exists()


def test_every_memory_core_store_is_another_one(tmp_path):
    connect(tmp_path, "memory://").task_store("dag", "run", "task").set("key", 1)
    assert connect(tmp_path, "memory://").task_store("dag", "run", "task").get("key") is None


def test_a_core_store_that_was_lent_is_not_closed(tmp_path):
    class Lent(MemoryCoreStore):
        def close(self):
            raise AssertionError("closed")

    with connect(tmp_path, Lent()) as stores:
        stores.task_store("dag", "run", "task").set("key", 1)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[offload_backend]\npaht = s3://bucket\n", "no setting 'paht'"),
        ("[offload_backend]\ninline_limit = many\n", "inline_limit"),
        ("[offload_backend]\nstorage_options_cmd = cat secret\n", "only Airflow follows"),
        ("[state_store]\ndefault_retention_days = -1\n", "default_retention_days is -1"),
        ("[state_store]\nclear_on_success = perhaps\n", "clear_on_success is 'perhaps'"),
        ("no section\n", "cannot be read"),
        ("[offload_backend]\npath = s3://bucket/%(nothing)s\n", "cannot be read"),
    ],
)
def test_a_wrong_setting_is_an_error_that_names_it(airflow_cfg, text, complaint):
    airflow_cfg(text)
    with pytest.raises(ConfigError, match=complaint.replace("(", r"\(")) as caught:
        connect()
    assert caught.value.hint


def test_a_mistyped_environment_variable_is_an_error(monkeypatch):
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__PAHT", "s3://bucket")
    with pytest.raises(ConfigError, match="no setting 'paht'"):
        connect()


def test_an_unknown_argument_is_an_error():
    with pytest.raises(ConfigError, match="no setting 'compression'"):
        connect(compression=3)


@pytest.mark.parametrize("core_store", ["postgresql://user:hunter2@host:port/x", "nonsense"])
def test_a_core_store_that_cannot_be_used_is_an_error_without_its_password(tmp_path, core_store):
    with pytest.raises(ConfigError, match="core store") as caught:
        connect(tmp_path, core_store)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_the_password_of_the_core_store_is_not_shown_with_the_settings(monkeypatch):
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__CORE_STORE", "postgresql://user:hunter2@host/x")
    assert "hunter2" not in repr(read_configuration().settings({}))


def test_nothing_heavy_is_imported_before_it_is_needed():
    heavy = {"sqlalchemy", "airflow", "boto3", "fsspec"}
    code = f"import sys, offload_backend.state; print(sorted({heavy} & set(sys.modules)))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stdout == "[]\n"
    )


ASK_AIRFLOW = """
from airflow.sdk.configuration import conf
import json, sys
print(json.dumps([conf.get(*option, fallback="") for option in json.loads(sys.argv[1])]))
"""


def test_options_are_read_as_airflow_reads_them(home, airflow_cfg, monkeypatch):
    pytest.importorskip("airflow.sdk")
    options = [
        ("common.io", "state_store_objectstorage_path"),
        ("offload_backend", "path"),
        ("offload_backend", "deployment"),
        ("offload_backend", "storage_options"),
        ("state_store", "default_retention_days"),
        ("state_store", "clear_on_success"),
        ("workers", "state_store_backend"),
    ]
    airflow_cfg(
        """
        [common.io]
        state_store_objectstorage_path = file://$STATE_ROOT/peer
        [offload_backend]
        path = s3://bucket/100%%
        deployment = from_file
        storage_options = {"key": "a%%b"}
        [state_store]
        default_retention_days = 7
        Clear_On_Success = f
        clear_on_success = t
        [workers]
        state_store_backend = ${HOOKS}.Backend
        """
    )
    monkeypatch.setenv("STATE_ROOT", "/shared")
    monkeypatch.setenv("HOOKS", "$PACKAGE.state")
    monkeypatch.setenv("PACKAGE", "mypackage")
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__DEPLOYMENT", "from_$PACKAGE")
    asked = subprocess.run(
        [sys.executable, "-c", ASK_AIRFLOW, json.dumps(options)], capture_output=True, text=True, check=False
    )
    configuration = read_configuration()
    assert [configuration.get(*option) for option in options] == json.loads(asked.stdout.splitlines()[-1])
    assert configuration.get("offload_backend", "deployment") == "from_mypackage"
