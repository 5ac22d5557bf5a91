"""Every metric is in the page's table, and the dashboard asks for no other."""

from __future__ import annotations

import json
import re
from pathlib import Path

from offload_backend.observation.metrics import METRICS, PREFIX
from tests.observation.table import PAGE, with_metrics

DASHBOARD = Path(__file__).parents[2] / "docs" / "grafana" / "offload-backend.json"
IN_PROMETHEUS = "airflow_" + PREFIX.replace(".", "_")
ENDINGS = {"counter": ["", "_total"], "gauge": [""]}
ENDINGS["timer"] = ["_sum", "_count", "_milliseconds", "_milliseconds_sum", "_milliseconds_count"]


def panels() -> list[dict]:
    return json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]


def asked_for() -> set[str]:
    expressions = [target["expr"] for panel in panels() for target in panel.get("targets", ())]
    return {name for expression in expressions for name in re.findall(rf"{IN_PROMETHEUS}(\w+)", expression)}


def test_the_table_is_made_of_the_declarations():
    text = PAGE.read_text(encoding="utf-8")
    assert with_metrics(text) == text, "run python -m tests.observation.table"


def test_the_dashboard_asks_for_every_metric_and_for_no_other():
    names = {metric.name.replace(".", "_"): ENDINGS[metric.kind] for metric in METRICS.values()}
    known = {name + ending for name, endings in names.items() for ending in endings}
    assert asked_for() - known == set()
    assert {name for name, endings in names.items() if not asked_for() & {name + end for end in endings}} == {
        "collector_last_purge_seconds"
    }


def test_the_dashboard_can_be_imported():
    """Ids are unique, panels do not overlap, and each query has the data source that is chosen in the dashboard."""
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    assert [each["name"] for each in board["templating"]["list"]] == ["datasource"]
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    taken = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
        for target in panel.get("targets", ()):
            assert target["datasource"]["uid"] == "${datasource}"
            assert target["expr"].count("(") == target["expr"].count(")")
