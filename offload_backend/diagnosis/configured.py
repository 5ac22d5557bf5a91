"""Checks of the configuration: what is set, where it was read, and which class Airflow's workers use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from typing import Any

from pydantic import SecretStr

from offload_backend.configuration import Configuration
from offload_backend.diagnosis.finding import Finding, SkippedError, failed, ok, warn
from offload_backend.durations import format_duration
from offload_backend.location import is_location
from offload_backend.settings import SECTION, Settings, default_text
from offload_backend.settings.keyplaces import key_places

__all__ = ["OURS", "PEER", "Told", "about_indirect_settings", "about_settings", "about_worker_class", "told"]

OURS = "offload_backend.airflow.OffloadStateBackend"
PEER = "airflow.providers.common.io.state_store.backend.StateStoreObjectStorageBackend"
PEER_PATH = ("common.io", "state_store_objectstorage_path")
_OWN_CLASS = "offload_backend.airflow.backend"
_USE_OURS = (
    f"set [workers] state_store_backend = {OURS} (environment: AIRFLOW__WORKERS__STATE_STORE_BACKEND) where tasks "
    "and triggers run"
)


@dataclass(frozen=True)
class Told:
    """One setting: its value as people may see it, and where it was read."""

    name: str
    value: str
    source: str


def told(settings: Settings, configuration: Configuration, given: Mapping[str, str]) -> list[Told]:
    """Every setting. ``given`` are those that came another way, by the option of a command."""
    return [
        Told(name, _shown(settings, name), _source(settings, configuration, given, name))
        for name in Settings.model_fields
    ]


def about_settings(settings: Settings, configuration: Configuration) -> Iterator[Finding]:
    """That they are valid, and which of them make something possible that somebody should know of."""
    where = [_places(configuration, name) for name in Settings.model_fields]
    variables = sum(bool(found) and found[0].startswith("AIRFLOW__") for found in where)
    lines = sum(map(bool, where)) - variables
    file = configuration.file
    here = "" if file is None or file.exists() else ", which is not there"
    yield ok(f"valid; {variables} set by variables AIRFLOW__{SECTION.upper()}__…, {lines} in {file}{here}")
    if settings.codec == "pickle":
        yield warn(
            "codec is pickle",
            "who can write rows and blobs can run code in every task that reads them",
            f"set [{SECTION}] codec = auto, once nothing pickled is left to be read",
        )
    if settings.signing_keys and settings.unsigned_refs == "accept":
        yield warn(
            "signing_keys are set, and unsigned_refs is accept",
            "a signature protects nothing as long as it can be left out",
            f"run offload rekey, and then set [{SECTION}] unsigned_refs = refuse",
        )


def about_indirect_settings(configuration: Configuration) -> Iterator[Finding]:
    """That commands and secrets are named only for settings for which Airflow follows them."""
    ignored = {
        place: name
        for name in Settings.model_fields
        for place in configuration.places(SECTION, name)
        if place not in _places(configuration, name)
    }
    if not ignored:
        yield ok("no command or secret is named for a setting that cannot have one")
    for place, name in ignored.items():
        yield failed(
            f"{place} is set",
            "Airflow (3.3.2) follows a command or secret for sensitive options alone: it ignores one in a file, "
            "and for one in the environment raises AirflowConfigException in every task that touches state",
            f"set [{SECTION}] {name} itself",
            setting=True,
        )


def about_worker_class(configuration: Configuration, *, has_airflow: bool) -> Iterator[Finding]:
    """That workers use our class, under the name of the setting that Airflow reads."""
    if configuration.core_backend.startswith("offload_backend."):
        yield failed(
            f"[state_store] backend = {configuration.core_backend}",
            "that is the server's setting; our class runs in workers",
            f"take it out there, and {_USE_OURS}",
            setting=True,
        )
    name, setting = configuration.worker_backend
    if not has_airflow and not name:
        raise SkippedError("there is no Airflow here: connect() needs no class")
    if not name:
        yield warn(
            f"{setting} is not set here",
            "tasks and triggers with this configuration keep everything in rows, and get refs instead of what was "
            "offloaded. On an API server or scheduler that is as it should be",
            _USE_OURS,
        )
    elif setting != "[workers] state_store_backend":
        yield failed(
            f"{setting} = {name}",
            "that name was used before Airflow 3.3 was released, and is not read any more",
            f"rename it: {_USE_OURS}",
            setting=True,
        )
    elif name == PEER:
        yield failed(
            f"{setting} names the backend that ships with Airflow",
            "it returns None for what this one has offloaded, and what it writes is not verified",
            f"{_USE_OURS}; what the other one wrote stays readable",
            setting=True,
        )
    else:
        yield _imported(name, setting)
    if name and configuration.places("workers", "state_backend") and setting.endswith("state_store_backend"):
        yield warn("[workers] state_backend is set as well", "Airflow does not read it", "take it out")


def _imported(name: str, setting: str) -> Finding:
    module, _, leaf = name.rpartition(".")
    try:
        found: Any = getattr(import_module(module), leaf)
        own = import_module(_OWN_CLASS).OffloadStateBackend
    except Exception as error:  # noqa: BLE001 - whatever an import runs; its text may hold anything
        return failed(
            f"{setting} = {name} cannot be imported: {type(error).__name__}",
            "every task that touches state fails",
            "pip install 'offload-backend[airflow]' into the environment in which tasks run, or correct the name",
            setting=True,
        )
    if found is own:
        return ok(f"{setting} = {name}")
    if isinstance(found, type) and issubclass(found, own):
        return ok(f"{setting} = {name}, which is derived from ours")
    return failed(
        f"{setting} = {name} is not this backend",
        "what this one has offloaded is not read by it",
        _USE_OURS,
        setting=True,
    )


def _places(configuration: Configuration, name: str) -> list[str]:
    """Where Airflow would read the setting: commands and secrets count for sensitive ones."""
    found = configuration.places(SECTION, name)
    if Settings.model_fields[name].annotation is SecretStr:
        return found
    return [place for place in found if not place.lower().endswith(("_cmd", "_secret"))]


def _source(settings: Settings, configuration: Configuration, given: Mapping[str, str], name: str) -> str:
    if name in given:
        return given[name]
    places = _places(configuration, name)[:1]
    if name == "path" and not places:
        places = configuration.places(*PEER_PATH)[:1]
    if name == "read_paths" and configuration.get(*PEER_PATH) in settings.read_paths:
        places.append("[common.io] state_store_objectstorage_path")
    if name == "inline_limit" and settings.inline_limit < _number(configuration.get(SECTION, name)):
        places.append("[state_store] max_value_storage_bytes")
    if name.startswith("allowed_classes"):
        option = f"allowed_deserialization_{name.removeprefix('allowed_')}"
        places += configuration.places("core", option)[:1] if configuration.get("core", option) else []
    return " and ".join(places) or "default"


def _number(text: str) -> int:
    return int(text or default_text("inline_limit"))


def _shown(settings: Settings, name: str) -> str:
    value = getattr(settings, name)
    if isinstance(value, SecretStr):
        return "(set, not shown)" if value.get_secret_value() else ""
    if name in ("encryption_keys", "signing_keys"):
        return " ".join(f"{place.id}={place.kind}" for place in key_places(value))
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, timedelta):
        return format_duration(value)
    values = value if isinstance(value, tuple) else (str(value),)
    return " ".join(_path_shown(each) if name in ("path", "read_paths") else str(each) for each in values)


def _path_shown(path: str) -> str:
    """One that is refused when it is used may hold a password that a ``/`` has cut in two."""
    return path if not path or is_location(path) else "(no storage URL, not shown)"
