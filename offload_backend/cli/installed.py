"""The Airflow that is installed here: whether there is one, and what it means where it cannot be asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from traceback import walk_tb
from typing import TYPE_CHECKING

from offload_backend.errors import ConfigError, OffloadError, without_text

if TYPE_CHECKING:
    from offload_backend.settings import Settings

__all__ = ["asking_airflow", "explained", "has_airflow", "has_airflow_core", "settings_here"]

_POSTGRES, _MYSQL = "apache-airflow-providers-postgres", "apache-airflow-providers-mysql"
_BRINGS = {"asyncpg": _POSTGRES, "psycopg": _POSTGRES, "psycopg2": _POSTGRES, "MySQLdb": _MYSQL, "aiomysql": _MYSQL}
"""What brings the drivers with which Airflow makes its engines, one that waits and one for asyncio."""


def has_airflow() -> bool:
    """Whether tasks of Airflow could run here."""
    return _is_installed("apache-airflow-task-sdk")


def has_airflow_core() -> bool:
    """Whether Airflow's servers could run here, which know its database."""
    return _is_installed("apache-airflow-core")


@contextmanager
def asking_airflow() -> Iterator[None]:
    """Where Airflow is imported, and asked: whatever it raises is :func:`explained`.

    Importing it runs commands of its configuration and makes the engines of its database, in every process.
    """
    if (trouble := _trouble_at_start()) is not None:
        raise trouble
    try:
        yield
    except OffloadError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a configuration of Airflow's leads to
        raise explained(error) from None


def settings_here(changes: dict[str, object]) -> Settings:
    """The settings with these changes, as Airflow tells them where it is installed."""
    from offload_backend.configuration import read_configuration

    if has_airflow():
        with asking_airflow():
            from offload_backend.airflow import maintenance

            return maintenance.settings(changes)
    return read_configuration().settings(changes)


def explained(error: Exception) -> ConfigError:
    """What an error of Airflow's own means, without its text, which may quote a URL or what a command printed."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        module = error.name.partition(".")[0]
        provider = _BRINGS.get(module)
        mend = f"pip install {provider}, which brings the drivers for [database] sql_alchemy_conn"
        return ConfigError(
            f"Airflow does not start here: the module {module} is not installed",
            hint=f"{mend if provider else 'install what brings it'}; then this must work here: airflow version",
        )
    if _is_of_database(error):
        return ConfigError(
            f"Airflow does not start here, for it can make no engine of its database's URL: {without_text(error)}",
            hint="correct [database] sql_alchemy_conn, or sql_alchemy_conn_async if that is set: "
            "postgresql+psycopg2://user:password@host/database, or sqlite:////absolute/path; write '@' in a "
            "password as %40",
        )
    return ConfigError(
        f"Airflow does not tell its configuration: {without_text(error)}",
        hint="see that this works here: airflow config list --section offload_backend",
    )


@cache
def _trouble_at_start() -> ConfigError | None:
    """What keeps Airflow from being imported. Tried once: a second import would trip over what the first began."""
    try:
        import offload_backend.airflow.maintenance  # noqa: F401
    except Exception as error:  # noqa: BLE001 - see above
        return explained(error)
    return None


def _is_of_database(error: Exception) -> bool:
    """Whether Airflow was making its engines, or SQLAlchemy reading a URL, when this was raised."""
    for frame, _ in walk_tb(error.__traceback__):
        module, function = frame.f_globals.get("__name__", ""), frame.f_code.co_name
        if module.partition(".")[0] == "sqlalchemy" or (module, function) == ("airflow.settings", "configure_orm"):
            return True
    return False


def _is_installed(name: str) -> bool:
    """Whether a distribution is there; importing Airflow to find out would cost seconds."""
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True
