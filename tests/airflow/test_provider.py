"""What Airflow's own command line knows of the package."""

from __future__ import annotations

from offload_backend import __version__
from offload_backend.airflow.provider import get_provider_info
from offload_backend.settings import Settings
from tests.airflow.harness import Airflow


def test_airflow_lists_the_provider(airflow: Airflow) -> None:
    listed = airflow.cli("providers", "list", "--output", "plain")
    (line,) = [line for line in listed.stdout.splitlines() if line.startswith("offload-backend")]
    assert line.split()[-1] == __version__


def test_airflow_describes_every_setting_with_its_default(airflow: Airflow) -> None:
    shown = airflow.cli("config", "list", "--section", "offload_backend", "--defaults", "--show-values").stdout
    for name, field in Settings.model_fields.items():
        assert f"# {name} = " in shown, name
        assert (field.description or "")[:60] in shown, name
    assert "# inline_limit = 65535" in shown


def test_the_declaration_has_text_for_every_default() -> None:
    options = get_provider_info()["config"]["offload_backend"]["options"]
    assert options.keys() == Settings.model_fields.keys()
    assert all(isinstance(option["default"], str) for option in options.values())
    assert options["storage_options"]["sensitive"]
    loaded = Settings.load({name: option["default"] for name, option in options.items() if option["default"]})
    assert loaded == Settings.load({})
