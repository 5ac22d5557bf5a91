"""The benchmarks at tiny sizes: that they run, what they report and what they leave alone. Never their times."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from benchmarks import memory, plan, report, shapes

ROOT = Path(__file__).parents[2]
LATEST = ROOT / "benchmarks" / "results" / "latest.json"
MIB = 1024 * 1024
CONTESTANTS = {"ours", "peer", "peer-gzip", "peer-zstd"}


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """The results of one quick run, and what it printed."""
    out = tmp_path_factory.mktemp("benchmarks") / "results.json"
    before = [report.README.read_bytes(), LATEST.read_bytes()]
    command = [sys.executable, "-m", "benchmarks.run", "--quick", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [report.README.read_bytes(), LATEST.read_bytes()] == before, "a quick run changed what is committed"
    return json.loads(out.read_text()), done.stdout


def found(results, **about):
    return [m for m in results["measurements"] if all(m[name] == value for name, value in about.items())]


def test_a_quick_run_says_that_its_times_say_nothing(quick):
    results, printed = quick
    assert results["server"] == "moto"
    assert "times say nothing" in printed
    assert "times say nothing" in report.tables(results)


def test_every_step_of_the_plan_is_measured(quick):
    results, _ = quick
    expected = {(step.work.name, step.contestant) for step in plan.steps(plan.QUICK)}
    assert {(m["work"], m["contestant"]) for m in results["measurements"]} == expected
    assert {work.kind for work in plan.QUICK} == {work.kind for work in plan.FULL}
    assert {each for work in plan.QUICK for each in work.contestants} == {
        each for work in plan.FULL for each in work.contestants
    }
    assert results["failures"] == []


def test_all_backends_store_and_give_back_the_same_value(quick):
    """The process that measures a ``get`` compares the value; here, that it was really stored and of one size."""
    results, _ = quick
    for operation in ("set", "get"):
        measured = found(results, work="records 0.2 MB", operation=operation)
        assert {m["contestant"] for m in measured} == CONTESTANTS
        assert len({m["json"] for m in measured}) == 1
        stored = {m["contestant"]: m["stored"] for m in measured}
        assert max(stored["ours"], stored["peer-gzip"], stored["peer-zstd"]) < measured[0]["json"] / 3
        assert stored["peer"] > measured[0]["json"]


def test_bytes_are_beside_the_peers_transport_and_raw_tcp(quick):
    results, _ = quick
    for operation in ("set", "get"):
        measured = found(results, work="bytes 0.2 MB", operation=operation)
        assert {m["contestant"] for m in measured} == {"ours", "transport", "tcp"}
        assert all(m["seconds"] > 0 for m in measured)
        assert {m["json"] for m in measured if m["contestant"] != "tcp"} == {200_000}


def test_requests_are_counted_without_those_of_the_warm_up(quick):
    results, _ = quick
    for operation, request in (("set", "PutObject"), ("get", "GetObject")):
        (ours,) = found(results, work="records 0.2 MB", operation=operation, contestant="ours")
        assert ours["requests"] == {request: 1}
        (peer,) = found(results, work="records 0.2 MB", operation=operation, contestant="peer")
        assert peer["requests"][request] == 1
        (small,) = found(results, work="small", contestant="ours")
        assert small[f"{operation} requests"] == {request: small["operations"]}


def test_every_figure_of_the_comparison_is_there(quick):
    results, _ = quick
    for m in found(results, work="records 0.2 MB"):
        assert m["seconds"] > 0
        assert m["cpu"] > 0
        assert m["peak"] > 0
        assert m["kept"] >= 0
    for m in found(results, work="start"):
        assert all(m[name] > 0 for name in ("python", "airflow", "backend", "set", "modules"))
    for m in found(results, work="inline"):
        assert m["requests"] == {}
        assert m["microseconds"] > 0
    (phases,) = found(results, work="phases of records 0.2 MB")
    for operation in ("set", "get"):
        assert {"whole", "digest"} < set(phases[operation])


def test_the_tables_have_a_row_for_every_work(quick):
    results, _ = quick
    text = report.tables(results)
    for work in ("records 0.2 MB", "floats 0.2 MB", "text 0.2 MB"):
        assert f"| `set` {work} |" in text
        assert f"| `get` {work} |" in text
    assert "| `set` bytes 0.2 MB, common-io's transport alone |" in text
    assert "| `set` of 4 kB, offloaded |" in text
    assert "1 HeadBucket, 1 PutObject" in text
    assert "| offload-backend |" in text


def test_results_hold_floors_and_ratios_for_programs(quick):
    results, _ = quick
    assert {"what", "wanted", "loopback", "shaped", "reached"} == set(results["floors"][0])
    pairs = {(each["work"], each["operation"], each["rival"]) for each in results["ratios"]}
    assert ("records 0.2 MB", "set", "peer-zstd") in pairs
    assert ("bytes 0.2 MB", "get", "transport") in pairs


def test_the_readme_shows_the_tables_of_the_committed_results():
    results = json.loads(LATEST.read_text())
    assert results["server"] == "s3bench"
    assert not results["quick"]
    shown = report.README.read_text().partition(report.START)[2].partition(report.END)[0]
    assert shown.strip() == report.tables(results).strip()


def test_the_readme_changes_between_its_marks_only(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{report.START}\nold\n{report.END}\nafter\n")
    report.write_readme("new", readme)
    assert readme.read_text() == f"before\n{report.START}\nnew\n{report.END}\nafter\n"
    readme.write_text("no marks")
    with pytest.raises(ValueError, match="lacks"):
        report.write_readme("new", readme)


@pytest.mark.parametrize("shape", shapes.SHAPES)
def test_values_have_the_size_asked_for_and_are_always_the_same(shape):
    value = shapes.make(shape, 0.5)
    size = shapes.compare(value, shape)
    assert size == len(value if shape == "bytes" else orjson.dumps(value))
    assert abs(size - 500_000) < 25_000
    assert shapes.make(shape, 0.5) == value


@pytest.mark.parametrize(("field", "wrong"), [("id", 1.0), ("attempts", True), ("error", "x"), ("token", "")])
def test_a_value_that_came_back_changed_is_noticed(field, wrong):
    value = shapes.make("records", 0.01)
    value[1][field] = wrong
    with pytest.raises(AssertionError, match="element 1 came back changed"):
        shapes.compare(value, "records")


def changed_float(value):
    value[1_500] = 1.5
    return value


def changed_document(value):
    value["doc-1"]["sections"][0]["title"] += "!"
    return value


@pytest.mark.parametrize(
    ("shape", "change", "said"),
    [
        ("floats", changed_float, "element 1 came back changed"),
        ("text", changed_document, "element 1 came back changed"),
        ("bytes", lambda value: value[:-1] + b"?", "block 1 came back changed"),
        ("bytes", bytearray, "a bytearray came back, not a bytes"),
        ("text", lambda value: list(value.items()), "a list came back, not a dict"),
    ],
)
def test_a_change_is_noticed_in_every_shape(shape, change, said):
    with pytest.raises(AssertionError, match=said):
        shapes.compare(change(shapes.make(shape, 1.2)), shape)


def test_memory_that_is_given_back_within_the_block_counts_as_peak():
    with memory.Peak() as peak:
        block = bytearray(64 * MIB)
        del block
        rest = bytearray(16 * MIB)
    # The kernel counts pages in batches, so a few may be missing.
    assert 60 * MIB < peak.above < 96 * MIB
    assert 12 * MIB < peak.kept < 32 * MIB
    del rest


def test_contestants_take_turns_and_a_different_one_begins_each_time():
    work = plan.Work("value", ("a", "b"), 3, "records", 1, servers=("loopback",))
    order = [(step.repeat, step.contestant) for step in plan.steps((work,))]
    assert order == [(0, "a"), (0, "b"), (1, "b"), (1, "a"), (2, "a"), (2, "b")]
