"""Settings from Airflow's configuration."""

from __future__ import annotations

from airflow.sdk.configuration import conf

from offload_backend.settings import SECTION, Settings

__all__ = ["clears_on_success", "fernet_key", "load_settings"]


def load_settings() -> Settings:
    """``[offload_backend]`` as Airflow resolves it: file, environment, command, secret.

    Where it has no ``path``, the path of Airflow's own common-io backend is used; where it has
    another one, what that backend wrote stays readable. ``[state_store] max_value_storage_bytes``
    bounds the inline limit, so that no row that is kept inline trips Airflow's warning.
    Raises :class:`~offload_backend.errors.ConfigError` for an unknown or impossible setting.
    """
    settings = Settings.load({**_known_options(), **_unknown_options()})
    return settings.beside_airflow(
        peer_path=conf.get("common.io", "state_store_objectstorage_path", fallback="") or "",
        row_limit=conf.getint("state_store", "max_value_storage_bytes", fallback=0),
        classes=_words("allowed_deserialization_classes"),
        classes_regexp=_words("allowed_deserialization_classes_regexp"),
        fernet=f"{__name__}.fernet_key",
    )


def fernet_key() -> str:
    """``[core] fernet_key``, a command or secret followed: one key, or several separated by commas."""
    return str(conf.get("core", "fernet_key", fallback="") or "")


def clears_on_success() -> bool:
    """Whether ``clear`` may be called while the rows still exist (``[state_store] clear_on_success``)."""
    return bool(conf.getboolean("state_store", "clear_on_success", fallback=False))


def _words(option: str) -> list[str]:
    return str(conf.get("core", option, fallback="") or "").split()


def _known_options() -> dict[str, str]:
    """One by one: ``getsection`` would turn a deployment called 007 into the number 7."""
    options = {name: conf.get(SECTION, name, fallback="") for name in Settings.model_fields}
    return {name: str(value) for name, value in options.items() if value not in (None, "")}


def _unknown_options() -> dict[str, str]:
    """What the section holds beside them, for the error that names it."""
    found = (conf.getsection(SECTION) or {}).keys() - Settings.model_fields.keys()
    indirect = {f"{name}{suffix}" for name in Settings.model_fields for suffix in ("_cmd", "_secret")}
    return dict.fromkeys(found - indirect, "")
