"""The curves, the typed values and the incremental checkpoints at tiny sizes, against moto. Never their times."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import arena, changes, curves, incremental, plots, report, types

RESULTS = Path(report.__file__).parent / "results"


@pytest.fixture(scope="module")
def entered():
    with arena.enter(quick=True) as found:
        yield found


@pytest.fixture
def place(entered):
    """Of one server for all tests; a case that fails anywhere fails its test."""
    entered.failures.clear()
    yield entered
    assert entered.failures == []


@pytest.fixture(scope="module")
def of_sizes(entered):
    return entered.results("sizes", list(curves.sizes(entered, curves.QUICK)))


@pytest.fixture(scope="module")
def of_tasks(entered):
    return entered.results("tasks", list(curves.tasks(entered, (2,), 0.2)))


def test_every_size_is_stored_read_and_counted(of_sizes):
    measured = of_sizes["measurements"]
    assert {(m["work"], m["contestant"], m["operation"]) for m in measured} == {
        (f"{shape} 10 kB", contestant, operation)
        for shape, contestants in (("records", ("ours", "peer")), ("bytes", ("ours", "transport")))
        for contestant in contestants
        for operation in ("set", "get")
    }
    for m in measured:
        assert m["seconds"] > 0
        assert sum(m["requests"].values()) == (1 if m["contestant"] == "ours" else 2)


def test_the_curve_of_sizes_reaches_from_a_kilobyte_to_four_gigabytes():
    for shape, most in (("records", 1_000), ("bytes", 4_000)):
        sizes = [point.megabytes for point in curves.SIZES if point.shape == shape]
        assert (sizes[0], sizes[-1]) == (0.001, most)
        assert sizes == sorted(sizes)


def test_tasks_work_at_the_same_time_each_in_a_process(of_tasks):
    measured = of_tasks["measurements"]
    assert {(m["work"], m["contestant"], m["tasks"]) for m in measured} == {
        (size, contestant, 2) for size in ("4 kB", "1 MB") for contestant in ("ours", "peer")
    }
    for m in measured:
        assert m["pairs per second"] * 0.2 >= 2
        assert m["set p50"] <= m["set p95"]
        assert m["threads"] >= 1
        assert m["memory"] > 1_000_000
    assert (curves.TASKS[0], curves.TASKS[-1]) == (1, 64)


def test_plots_are_drawn_from_their_data_alone(of_sizes, of_tasks, tmp_path):
    pytest.importorskip("matplotlib", reason="make bench-curves installs it")
    for results in (of_sizes, of_tasks):
        (tmp_path / f"{results['command']}.json").write_text(json.dumps(results))
    (tmp_path / "collector.json").write_text((RESULTS / "collector.json").read_text())
    drawn = plots.draw(tmp_path)
    assert [path.stem for path in drawn] == list(plots.PLOTS)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)


@pytest.mark.parametrize("value", ["array, random", "models"])
def test_typed_values_come_back_in_every_way_that_takes_them(place, monkeypatch, value):
    monkeypatch.setattr(types, "VALUES", {value: types.VALUES[value]})
    measured = list(types.measure(place, scale=1e-4))
    refused = {m["way"] for m in measured if "refused" in m}
    assert refused == {"array, random": {"xcom"}, "models": {"base64"}}[value]
    for way in types.NAMES.keys() - refused:
        assert [m["operation"] for m in measured if m["way"] == way] == ["set", "get"]
    text = types.table(place.results("x", measured))
    assert text.count(f"| {types.VALUES[value]} |") == len(types.NAMES)


def test_what_the_next_checkpoint_sends_is_counted(place):
    some = ("5 % in one stretch",)
    measured = list(incremental.measure(place, incremental.QUICK, some))
    assert len(measured) == len(incremental.QUICK) * len(some) * len(incremental.NAMES)
    for m in measured:  # nothing so small is copied
        assert m["stored"] <= m["sent"] < m["stored"] + 2_000
        assert sum(m["requests"].values()) >= 1
    assert "| records: 5 % in one stretch | offload-backend |" in incremental.table(place.results("x", measured))


@pytest.mark.parametrize("change", changes.CHANGES)
@pytest.mark.parametrize("base", changes.BASES)
def test_changes_change_what_they_say(base, change):
    make, fresh = changes.BASES[base]
    before, again = make(0.1), make(0.1)
    after = changes.CHANGES[change](before, fresh)
    assert all(one == other for one, other in zip(before, again, strict=True)), "the value itself was changed"
    same = sum(one == other for one, other in zip(before, after, strict=False)) / len(before)
    grown = len(after) / len(before) - 1
    share, growth = {
        "nothing": (1, 0),
        "1 % appended": (1, 0.01),
        "5 % in one stretch": (0.95, 0),
        "1 % scattered": (0.99, 0),
        "0.1 % inserted at the front": (0, 0.001),
        "everything": (0, 0),
    }[change]
    assert same == pytest.approx(share, abs=0.01)
    assert grown == pytest.approx(growth, abs=0.005)


@pytest.mark.parametrize("module", [types, incremental])
def test_the_readme_shows_the_last_results(module):
    shown = report.README.read_text().partition(module.MARKS[0])[2].partition(module.MARKS[1])[0].strip()
    if module.RESULTS.exists():
        results = json.loads(module.RESULTS.read_text())
        assert results["server"] == "s3bench"
        assert shown == module.table(results).strip()
    else:
        assert shown == "Not yet run."


def test_the_readme_shows_a_plot_of_all_data_there_are():
    shown = report.README.read_text().partition(plots.MARKS[0])[2].partition(plots.MARKS[1])[0]
    assert shown.strip() == plots.gallery()
    for name in plots.PLOTS:
        if (RESULTS / f"{name.partition('-')[0]}.json").exists():
            assert f"results/{name}.png" in shown
