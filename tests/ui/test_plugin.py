"""What Airflow learns of the page, and what that costs processes that have no page."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from offload_backend.airflow.ui.plugin import OffloadPlugin

pytest.importorskip("airflow.api_fastapi", reason="apache-airflow is not installed here: run `make test`")

# As a task's process does it: airflow.sdk finds the plugins of all packages, for macros and listeners.
AS_A_TASK = """
import sys
import airflow.sdk.execution_time.task_runner
from airflow.sdk import plugins_manager
before = set(sys.modules)
plugins, errors = plugins_manager._get_plugins()
assert any(plugin.name == "offload_backend" for plugin in plugins) and not errors, errors
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
print(*sorted(name for name in set(sys.modules) - before if name.startswith("offload_backend")))
print({"fastapi", "uvicorn", "offload_backend.airflow.ui.app"} & set(sys.modules))
"""


def test_the_entry_point_is_the_plugin() -> None:
    [found] = entry_points(group="airflow.plugins", name="offload_backend")
    assert found.load() is OffloadPlugin


def test_a_task_process_imports_the_plugin_and_nothing_behind_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", AS_A_TASK], capture_output=True, text=True, check=True, timeout=120
    )
    tops, ours, heavy = done.stdout.splitlines()[-3:]
    assert set(ours.split()) <= {
        *("offload_backend", "offload_backend.airflow", "offload_backend.airflow.ui"),
        "offload_backend.airflow.ui.plugin",
    }
    assert heavy == "set()", (tops, heavy)


def test_airflow_takes_the_plugin_as_it_is() -> None:
    from airflow.api_fastapi.core_api.datamodels.plugins import ExternalViewResponse, FastAPIAppResponse

    plugin = OffloadPlugin()
    views = [ExternalViewResponse.model_validate(view) for view in plugin.external_views]
    assert [view.destination for view in views][:5] == ["nav", "dag", "dag_run", "task", "task_instance"]
    assert len({view.url_route for view in views}) == len(views)
    assert not any(view.href.startswith("/") for view in views), "Airflow may lie below a path"
    [app] = plugin.fastapi_apps
    FastAPIAppResponse.model_validate({**app, "app": type(app["app"]).__name__})


def test_the_asset_page_has_a_tab_where_airflow_has_one() -> None:
    from airflow import plugins_manager

    destinations = {view["destination"] for view in OffloadPlugin().external_views}
    assert ("asset" in destinations) == hasattr(plugins_manager, "BaseDestinationLiteral")


def test_where_the_page_cannot_be_made_the_api_server_starts_without(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "offload_backend.airflow.ui.app", None)
    plugin = OffloadPlugin()
    assert plugin.external_views
    assert plugin.fastapi_apps == []
    assert plugin.external_views == []
    assert "there is no page about offloaded state" in caplog.text
