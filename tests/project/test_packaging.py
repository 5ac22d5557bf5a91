"""What is built is what is here; installed by itself it works, and what it lacks it names."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from email.parser import HeaderParser
from importlib.util import find_spec
from pathlib import Path

import pytest

from offload_backend import __version__

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")
STEM = f"offload_backend-{__version__}"
DRIVERS = {
    "airflow": "airflow.sdk",
    "azure": "adlfs",
    "encryption": "cryptography",
    "gcs": "gcsfs",
    "plot": "matplotlib",
    "postgres": "psycopg",
    "rest": "httpx",
    "s3": "boto3",
    "testing": "moto",
}
"""What each extra brings."""


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """What it prints; nothing of this process's own configuration is handed on."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHON", "VIRTUAL"))
    }
    kept |= {"AIRFLOW_HOME": str(cwd / "airflow-home"), **environment}
    done = subprocess.run(command, cwd=cwd, env=kept, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(source: Path, folder: Path, *options: str) -> Path:
    """The one file that was built, by the pinned build system and without a network."""
    if find_spec("hatchling") is None:
        pytest.skip("hatchling is not installed here: run `make test`")
    run(sys.executable, "-m", "hatchling", "build", "-d", folder, *options, cwd=source)
    (built,) = folder.iterdir()
    return built


def tracked(*below: str) -> set[str]:
    """Files of the repository; not in a copy of it that is no repository."""
    if not (ROOT / ".git").exists():
        pytest.skip("no git repository here to compare with")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *below]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout
    return {name for name in names.split("\0") if name and (ROOT / name).is_file()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("wheel"), "-t", "wheel")


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("sdist"), "-t", "sdist")


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    about = {f"{STEM}.dist-info/{name}" for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt")}
    about.add(f"{STEM}.dist-info/licenses/LICENSE")
    found = contents(wheel)
    assert wheel.name == f"{STEM}-py3-none-any.whl"
    assert set(found) == tracked("offload_backend") | about
    assert {"offload_backend/py.typed", "offload_backend/airflow/ui/static/index.html"} <= set(found)
    assert found[f"{STEM}.dist-info/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()


def test_the_sdist_holds_the_repository_and_builds_the_same_wheel(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
        archive.extractall(tmp_path, filter="data")
    assert names == {name for name in tracked() if not name.startswith(".ci/")} | {"PKG-INFO"}
    again = build(tmp_path / STEM, tmp_path / "built", "-t", "wheel")
    assert again.read_bytes() == wheel.read_bytes()


def test_the_metadata_says_what_an_index_and_an_installer_ask_for(wheel: Path) -> None:
    found = contents(wheel)
    about = HeaderParser().parsestr(found[f"{STEM}.dist-info/METADATA"].decode())
    assert (about["Name"], about["Version"]) == ("offload-backend", __version__)
    assert (about["Requires-Python"], about["License-Expression"]) == (">=3.10", "Apache-2.0")
    assert about["Description-Content-Type"] == "text/markdown"
    assert str(about.get_payload()) == (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(about.get_all("Provides-Extra", [])) == {*DRIVERS, "all"}
    everything = {line for line in about.get_all("Requires-Dist", []) if line.endswith("extra == 'all'")}
    each = {line for line in about.get_all("Requires-Dist", []) if "extra ==" in line} - everything
    wanted = {line.partition(";")[0] for line in each if not line.endswith("'testing'")}
    assert {line.partition(";")[0] for line in everything} == wanted
    points = found[f"{STEM}.dist-info/entry_points.txt"].decode()
    for group in ("console_scripts", "airflow.plugins", "apache_airflow_provider", "pytest11"):
        assert f"[{group}]" in points


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The executables of an environment with the wheel, and what it needs, alone."""
    folder = tmp_path_factory.mktemp("installed")
    if not UV.exists():
        pytest.skip("uv is not installed here: run `make test`")
    run(UV, "venv", "--quiet", "--python", sys.executable, folder / "venv", cwd=folder)
    install(folder / "venv" / "bin", str(wheel))
    return folder / "venv" / "bin"


def install(executables: Path, *what: str) -> None:
    pinned = ("--constraint", ROOT / "requirements" / "test.txt")
    python = executables / "python"
    run(UV, "pip", "install", "--quiet", "--python", python, *pinned, *what, cwd=executables)


def test_the_base_install_is_whole_and_its_command_works(installed: Path, tmp_path: Path) -> None:
    run(UV, "pip", "check", "--python", installed / "python", cwd=tmp_path)
    assert run(installed / "offload", "--version", cwd=tmp_path) == f"offload-backend {__version__}\n"
    assert "Verified: the result is that of an unbroken run" in run(installed / "offload", "demo", cwd=tmp_path)


STORED = """
from datetime import datetime, timezone
from offload_backend import connect

value = {"at": datetime.now(timezone.utc), "bulk": bytes(200_000), "list": list(range(50_000))}
with connect(path="file:///{folder}/blobs", core_store="sqlite:////{folder}/state.db") as stores:
    task = stores.task_store("train", run_id="r", task_id="fit")
    task.set("checkpoint", value)
    assert task.get("checkpoint") == value
"""


def test_the_base_install_stores_values_in_directories(installed: Path, tmp_path: Path) -> None:
    run(installed / "python", "-c", STORED.replace("{folder}", str(tmp_path).lstrip("/")), cwd=tmp_path)


LACKING = """
import importlib.util
import tempfile
from offload_backend import connect
from offload_backend.errors import OffloadError

folder = tempfile.mkdtemp()
use = dict(path=f"file://{folder}", core_store="memory://", encryption_keys="", inline_limit=0)
try:
    with connect(**use | {asked}) as stores:
        stores.task_store("train", run_id="r", task_id="fit").set("checkpoint", "x" * 100)
except OffloadError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("extra", "asked"),
    [
        ("azure", {"path": "abfs://container/state"}),
        ("encryption", {"encryption_keys": "k1=env:OFFLOAD_ENCRYPTION_KEY"}),
        ("gcs", {"path": "gs://bucket/state"}),
        ("postgres", {"core_store": "postgresql+psycopg://u@127.0.0.1:9/x"}),
        ("s3", {"path": "s3://bucket/state", "transport": "boto3"}),
        ("s3", {"path": "s3://bucket/state", "transport": "fsspec"}),
    ],
    ids=["azure", "encryption", "gcs", "postgres", "s3", "s3fs"],
)
def test_what_the_base_install_lacks_it_names(
    installed: Path, tmp_path: Path, extra: str, asked: dict[str, str]
) -> None:
    script = LACKING.replace("{asked}", repr(asked))
    told = run(installed / "python", "-c", script, cwd=tmp_path, OFFLOAD_ENCRYPTION_KEY=f"{'A' * 43}=")
    assert f"'offload-backend[{extra}]'" in told


def test_every_extra_can_be_installed_and_brings_its_driver(installed: Path, wheel: Path, tmp_path: Path) -> None:
    """Last of all, for afterwards nothing is lacking there."""
    for driver in DRIVERS.values():
        found = f"import importlib.util as u; print(u.find_spec({driver.partition('.')[0]!r}) is None)"
        assert run(installed / "python", "-c", found, cwd=tmp_path) == "True\n", driver
    for extra, driver in DRIVERS.items():
        install(installed, f"{wheel}[{extra}]")
        run(installed / "python", "-c", f"import {driver}", cwd=tmp_path)
    run(UV, "pip", "check", "--python", installed / "python", cwd=tmp_path)
    run(installed / "python", "-c", "from offload_backend.airflow import OffloadStateBackend", cwd=tmp_path)
