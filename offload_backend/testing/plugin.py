"""What pytest finds by the entry point ``offload``: fixtures, and one marker. ``docs/testing.md`` shows their use.

Every run of pytest imports this where the package is installed, so it imports nothing but pytest.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from offload_backend.testing.airflow_state import AirflowState
    from offload_backend.testing.s3_bucket import S3Bucket
    from offload_backend.testing.standalone import StandAloneState
    from offload_backend.testing.state_faults import StateFaults
    from offload_backend.testing.tasks import StateUnderTest

__all__ = [
    "offload_airflow",
    "offload_faults",
    "offload_path",
    "offload_s3",
    "offload_s3_server",
    "offload_settings",
    "offload_state",
]

_CONTRACTS = ("blob_buffers", "blob_store", "core_store", "key_source", "kinds", "removable_rows", "root_source")
pytest.register_assert_rewrite(*(f"offload_backend.testing.{name}" for name in _CONTRACTS))

_MARKER = "offload_leaves"
_LEAVABLE = ("orphans", "dangling", "faults")
_has_failed = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    """Tell pytest of the marker."""
    words = ", ".join(map(repr, _LEAVABLE))
    config.addinivalue_line(
        "markers", f"{_MARKER}(what, ...): offload-backend: what the test may leave behind, of {words}"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Keep in mind that a test has failed, or was skipped: what it leaves behind is then not worth a word."""
    if call.excinfo is not None:
        item.stash[_has_failed] = True


@pytest.fixture
def offload_settings() -> dict[str, Any]:
    """Settings of ``[offload_backend]``, to be overridden. By default, every value is offloaded, however small."""
    return {"inline_limit": 0}


@pytest.fixture
def offload_path() -> str:
    """Where blobs go, to be overridden: by default, memory that is this test's own."""
    return f"memory://{uuid.uuid4().hex}"


@pytest.fixture
def offload_faults(offload_path: str, offload_settings: dict[str, Any]) -> StateFaults:
    """What goes wrong below ``offload_state`` and ``offload_airflow``: nothing, until it is told to."""
    from offload_backend.settings import Settings
    from offload_backend.stores.memory import MemoryBlobStore
    from offload_backend.stores.opening import open_store
    from offload_backend.testing.state_faults import StateFaults

    if offload_path.startswith("memory:"):  # open_store would keep it as long as the process lives
        return StateFaults(MemoryBlobStore(offload_path))
    return StateFaults(open_store(offload_path, Settings.load(_with_path(offload_path, offload_settings))))


@pytest.fixture
def offload_state(
    request: pytest.FixtureRequest, offload_path: str, offload_settings: dict[str, Any], offload_faults: StateFaults
) -> Iterator[StandAloneState]:
    """Task and asset state with the stores of :func:`offload_backend.connect`, over rows in memory."""
    from offload_backend.settings import Settings
    from offload_backend.testing.standalone import StandAloneState

    settings = Settings.load(_with_path(offload_path, offload_settings))
    with _left_in_order(request, state := StandAloneState(settings, offload_faults)):
        yield state


@pytest.fixture
def offload_airflow(
    request: pytest.FixtureRequest, offload_path: str, offload_settings: dict[str, Any], offload_faults: StateFaults
) -> Iterator[AirflowState]:
    """The same with Airflow's own accessors, as a task has them, and the backend behind them."""
    _require("airflow.sdk", "airflow")
    from offload_backend.testing.airflow_state import airflow_state

    with (
        airflow_state(_with_path(offload_path, offload_settings), offload_faults) as state,
        _left_in_order(request, state),
    ):
        yield state


@pytest.fixture(scope="session")
def offload_s3_server() -> Iterator[str]:
    """The URL of an S3 server (moto) that is started for the first test that asks for it."""
    for module in ("boto3", "flask", "moto"):
        _require(module, "testing")
    from offload_backend.testing.s3_bucket import serving

    with serving() as endpoint_url:
        yield endpoint_url


@pytest.fixture
def offload_s3(offload_s3_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Bucket]:
    """An empty bucket of that server, which the environment alone is enough to reach."""
    from offload_backend.testing.s3_bucket import fresh_bucket

    with fresh_bucket(offload_s3_server, str(tmp_path_factory.getbasetemp() / "no-aws-file")) as bucket:
        yield bucket


def _with_path(path: str, settings: dict[str, Any]) -> dict[str, Any]:
    if "path" in settings:
        pytest.fail("override the fixture offload_path, and leave the path out of offload_settings", pytrace=False)
    return {"path": path, **settings}


@contextmanager
def _left_in_order(request: pytest.FixtureRequest, state: StateUnderTest) -> Iterator[None]:
    """Fail the test, unless it has failed already, for what it leaves behind and is not marked for."""
    allowed = {what for marker in request.node.iter_markers(_MARKER) for what in marker.args}
    if unknown := allowed.difference(_LEAVABLE):
        pytest.fail(f"{_MARKER} knows {_LEAVABLE}, and not {tuple(unknown)}", pytrace=False)
    request.node.stash[_has_failed] = False  # of an earlier run of the same test
    yield
    if request.node.stash[_has_failed]:
        return
    left = state.leftovers()
    found = {
        "orphans": ["blobs that no row refers to:", *left.orphans],
        "dangling": ["rows whose values cannot be had:", *left.dangling],
        "faults": ["faults that were asked for and did not happen:", *state.faults.pending],
    }
    told = {word: lines for word, lines in found.items() if lines[1:] and word not in allowed}
    if told:
        mark = f"@pytest.mark.{_MARKER}({', '.join(map(repr, told))})"
        hint = f"Hint: a test that means to leave this behind is marked {mark}"
        pytest.fail("\n".join([*map("\n  ".join, told.values()), hint]), pytrace=False)


def _require(module: str, extra: str) -> None:
    """Fail, rather than skip, so that a missing package does not pass for a test that has run."""
    try:
        found = find_spec(module)
    except ModuleNotFoundError:
        found = None
    if found is None:
        pytest.fail(f"{module} is not installed: pip install 'offload-backend[{extra}]'", pytrace=False)
