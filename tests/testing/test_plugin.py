"""The plug-in as pytest loads it by its entry point: what it finds, what it fails, and what it leaves alone."""

from __future__ import annotations

import os
import sys
from importlib.metadata import entry_points
from importlib.util import find_spec

import pytest

from offload_backend.testing import plugin

pytest_plugins = ["pytester"]

SET = 'offload_state.task().store.set("key", "x")\n'


@pytest.fixture
def outcomes(pytester):
    """What becomes of a test with this body, and what is printed."""

    def run(body, *, marks="", fixtures="offload_state, offload_faults", arguments=()):
        lines = [f"    {line}" for line in body.strip().splitlines()]
        pytester.makepyfile("\n".join(["import pytest", marks, f"def test_it({fixtures}):", *lines]))
        result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "--strict-markers", "-rA", *arguments)
        return result.parseoutcomes(), result.stdout.str()

    return run


def test_the_entry_point_is_installed():
    [found] = entry_points(group="pytest11", name="offload")
    assert found.load() is plugin


def test_its_fixtures_and_its_marker_explain_themselves(pytester):
    result = pytester.runpytest_inprocess("--fixtures")
    shown = result.stdout.str()
    for name in plugin.__all__:
        assert name.startswith("offload_")
        assert f"\n{name}" in shown
    assert "no docstring available" not in "".join(shown.split("\noffload_")[1:]).partition("---")[0]
    pytester.runpytest_inprocess("--markers").stdout.fnmatch_lines(["@pytest.mark.offload_leaves(what, ...)*"])


def test_it_defines_nothing_else_that_pytest_would_meet(pytester):
    """Neither options nor settings of its own."""
    result = pytester.runpytest_inprocess("--help")
    assert "offload" not in result.stdout.str()


class TestAtTheEnd:
    def test_nothing_is_left_and_nothing_is_said(self, outcomes):
        assert outcomes(SET)[0] == {"passed": 1}

    def test_an_orphan_fails_the_test(self, outcomes):
        found, shown = outcomes(
            f"{SET}offload_state.rows.delete(*next((r.address, r.key) for r in offload_state.rows.rows()))"
        )
        assert found == {"passed": 1, "errors": 1}
        assert "blobs that no row refers to:\n  v1/default/task/dag/run/task/-1/key/" in shown
        assert "@pytest.mark.offload_leaves('orphans')" in shown

    def test_a_dangling_ref_fails_the_test(self, outcomes):
        found, shown = outcomes(f"{SET}offload_faults.lose_blobs()")
        assert found == {"passed": 1, "errors": 1}
        assert "rows whose values cannot be had:\n  task dag.task run run 'key': BlobNotFoundError" in shown
        assert "@pytest.mark.offload_leaves('dangling')" in shown

    def test_a_damaged_blob_fails_the_test(self, outcomes):
        damage = "store = offload_faults.blobs.inner\n[name] = store._blobs\n"
        damage += "data, at = store._blobs[name]\nstore._blobs[name] = data[:-1] + bytes([data[-1] ^ 1]), at\n"
        found, shown = outcomes(SET + damage)
        assert found == {"passed": 1, "errors": 1}
        assert "BlobCorruptError" in shown

    def test_a_fault_that_did_not_happen_fails_the_test(self, outcomes):
        found, shown = outcomes(f"offload_faults.fail_download()\n{SET}")
        assert found == {"passed": 1, "errors": 1}
        assert "faults that were asked for and did not happen:\n  download" in shown

    def test_all_of_it_is_told_at_once(self, outcomes):
        found, shown = outcomes(f"{SET}offload_faults.lose_blobs()\noffload_faults.fail_upload()")
        assert found == {"passed": 1, "errors": 1}
        assert "@pytest.mark.offload_leaves('dangling', 'faults')" in shown

    @pytest.mark.parametrize(
        ("body", "what"),
        [
            (f"{SET}offload_faults.lose_blobs()", "dangling"),
            ("offload_faults.fail_upload()", "faults"),
            (f"{SET}offload_state.rows.close()", "orphans"),
        ],
        ids=["dangling", "faults", "orphans"],
    )
    def test_what_a_test_is_marked_for_it_may_leave_and_nothing_else(self, outcomes, body, what):
        assert outcomes(body, marks=f'@pytest.mark.offload_leaves("faults", "{what}")')[0] == {"passed": 1}
        others = {"dangling", "faults", "orphans"} - {what}
        marks = f"@pytest.mark.offload_leaves(*{sorted(others)})"
        assert outcomes(body, marks=marks)[0] == {"passed": 1, "errors": 1}

    def test_marks_add_up(self, outcomes):
        marks = '@pytest.mark.offload_leaves("faults")\n@pytest.mark.offload_leaves("dangling")'
        body = f"{SET}offload_faults.lose_blobs()\noffload_faults.fail_upload()"
        assert outcomes(body, marks=marks)[0] == {"passed": 1}

    def test_a_mark_for_what_there_is_not_is_an_error(self, outcomes):
        found, shown = outcomes("pass", marks='@pytest.mark.offload_leaves("orphan")')
        assert found == {"errors": 1}
        assert "offload_leaves knows ('orphans', 'dangling', 'faults'), and not ('orphan',)" in shown

    @pytest.mark.parametrize(
        "ending",
        ["assert False", "pytest.skip('enough')", "pytest.xfail('known')"],
        ids=["failed", "skipped", "xfailed"],
    )
    def test_a_test_that_did_not_pass_is_not_told_so_twice(self, outcomes, ending):
        found, shown = outcomes(f"{SET}offload_faults.lose_blobs()\n{ending}")
        assert "errors" not in found
        assert "dangling" not in shown

    def test_other_peoples_objects_and_rows_are_none_of_it(self, outcomes):
        other = 'offload_faults.blobs.inner.put("other/file", [b"x"])\n'
        plain = "address = offload_state.task().address\n"
        plain += 'offload_state.rows.set(address, "plain", \'{"a": 1}\', expires_at=None)\n'
        assert outcomes(SET + other + plain)[0] == {"passed": 1}


class TestWithoutItsNeeds:
    @pytest.mark.parametrize(
        ("fixture", "module", "extra"),
        [
            ("offload_s3", "moto", "testing"),
            ("offload_s3", "flask", "testing"),
            ("offload_s3", "boto3", "testing"),
            ("offload_airflow", "airflow", "airflow"),
        ],
    )
    def test_a_fixture_names_the_extra(self, pytester, fixture, module, extra):
        pytester.makeconftest(f"import sys\nsys.modules[{module!r}] = None\n")
        pytester.makepyfile(f"def test_it({fixture}): pass\ndef test_other(offload_state): pass")
        result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
        result.assert_outcomes(errors=1, passed=1)
        result.stdout.fnmatch_lines([f"*{module}* is not installed: pip install 'offload-backend?{extra}?'"])


@pytest.mark.parametrize("fixture", ["offload_state", "offload_airflow"])
def test_a_path_among_the_settings_is_an_error(pytester, fixture):
    pytest.importorskip("airflow.sdk")
    pytester.makepyfile(
        f"""
        import pytest

        @pytest.fixture
        def offload_settings():
            return {{"path": "s3://bucket/production"}}

        def test_it({fixture}): pass
        """
    )
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*override the fixture offload_path*"])


def test_it_can_be_kept_out(pytester):
    pytester.makepyfile("def test_it(offload_state): pass")
    result = pytester.runpytest_subprocess("-p", "no:offload", "-p", "no:cacheprovider")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*fixture 'offload_state' not found"])


def test_a_run_that_does_not_use_it_imports_nothing(pytester):
    pytester.makepyfile(
        """
        import sys

        def test_it():
            mine = {name for name in sys.modules if name.startswith("offload_backend")}
            assert mine == {"offload_backend", "offload_backend.testing", "offload_backend.testing.plugin"}
            assert not {"airflow", "pydantic", "fsspec", "boto3", "moto", "hypothesis"} & sys.modules.keys()
        """
    )
    options = ["-p", "no:hypothesispytest", "-p", "no:anyio", "-p", "no:cacheprovider"]
    pytester.runpytest_subprocess(*options).assert_outcomes(passed=1)


def test_airflow_is_as_it_was_afterwards(pytester):
    pytest.importorskip("airflow.sdk")
    pytester.makepyfile(
        """
        import os

        from airflow.sdk.execution_time import context, task_runner
        from offload_backend.airflow import worker

        BEFORE = worker.open_store, worker.load_settings

        def test_it(offload_airflow):
            with offload_airflow.task().attempt():
                backend = context._get_worker_state_store_backend()
                assert type(backend).__name__ == "OffloadStateBackend"
            with offload_airflow.task().attempt():
                assert context._get_worker_state_store_backend() is not backend

        def test_after():
            assert not hasattr(task_runner, "SUPERVISOR_COMMS")
            assert "AIRFLOW__WORKERS__STATE_STORE_BACKEND" not in os.environ
            assert context._get_worker_state_store_backend() is None
            assert BEFORE == (worker.open_store, worker.load_settings)
        """
    )
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=2)


@pytest.mark.skipif(find_spec("xdist") is None, reason="pytest-xdist is not installed: not tested with it")
def test_workers_of_xdist_do_not_meet(pytester):
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture
        def offload_path(offload_s3):
            return offload_s3.path

        @pytest.mark.parametrize("number", range(8))
        def test_it(offload_state, offload_s3, number):
            offload_state.task().store.set("key", number)
            assert len(offload_s3.keys()) == 1
            assert offload_state.task().store.get("key") == number
        """
    )
    result = pytester.runpytest_subprocess("-n", "2", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=8)


def test_a_test_has_memory_of_its_own(offload_path, offload_state):
    from offload_backend.stores import opening

    offload_state.task().store.set("key", 1)
    assert offload_path not in opening._memory_stores
    assert sys.getrefcount(offload_state) < 10


class TestOnS3:
    @pytest.fixture
    def offload_path(self, offload_s3):
        return offload_s3.path

    @pytest.fixture
    def state(self, state):
        return state

    def test_blobs_are_there(self, state, offload_s3):
        task = state.task("fit")
        task.run(lambda task_state_store: task_state_store.set("key", {"a": [1] * 1000}))
        [key] = offload_s3.keys()
        assert key.startswith("state/v1/default/task/dag/run/fit/-1/key/")
        assert task.store.get("key") == {"a": [1] * 1000}

    def test_a_bucket_is_empty(self, offload_s3):
        assert offload_s3.keys() == []

    def test_a_proxy_is_passed_by(self, monkeypatch, request):
        for name in ("HTTP_PROXY", "http_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv("no_proxy", "internal")
        state, bucket = request.getfixturevalue("offload_state"), request.getfixturevalue("offload_s3")
        state.task().store.set("key", 1)
        assert len(bucket.keys()) == 1
        assert os.environ["NO_PROXY"] == "internal,127.0.0.1"

    def test_the_environment_is_enough(self, offload_s3):
        import boto3

        assert offload_s3.name in {each["Name"] for each in boto3.client("s3").list_buckets()["Buckets"]}

    @pytest.mark.offload_leaves("dangling")
    def test_faults_are_there_too(self, state, offload_faults, offload_s3):
        from offload_backend.errors import BlobNotFoundError, StoreError

        store = state.task().store
        store.set("key", 1)
        offload_faults.fail_upload()
        with pytest.raises(StoreError):
            store.set("key", 2)
        assert store.get("key") == 1
        offload_faults.lose_blobs()
        assert offload_s3.keys() == []
        with pytest.raises(BlobNotFoundError):
            store.get("key")
