"""What the verbs work on: one deployment, as the options and below them the configuration say."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from offload_backend.cli.installed import asking_airflow, has_airflow, has_airflow_core, settings_here
from offload_backend.errors import ConfigError, Refusal, RefusedError

if TYPE_CHECKING:
    from offload_backend.blobstore import BlobStore
    from offload_backend.configuration import Configuration
    from offload_backend.corestore import RemovableRows
    from offload_backend.offloader import Offloader
    from offload_backend.rootsource import RootSource
    from offload_backend.settings import Settings

__all__ = ["CoreStoreUrl", "Deployment", "Kind", "open_blobs", "open_deployment", "parse_core_store"]

TOKEN_VARIABLE = "OFFLOAD_AIRFLOW_TOKEN"  # noqa: S105 (where the token is, not the token)
"""Environment variable with a token for Airflow's REST API; a URL's user and password do as well."""
FORMS = (
    "name it with --core-store: sqlite:////… or postgresql://… of connect(), airflow+postgresql://… for "
    "Airflow's database, airflow for the one Airflow is configured with, airflow-rest+https://… or "
    "roots+file:///….jsonl.gz"
)


class Kind(str, Enum):
    """What a core store's URL leads to."""

    EMBEDDED = "embedded"
    AIRFLOW = "airflow"
    REST = "airflow-rest"
    EXPORT = "roots"


@dataclass(frozen=True)
class CoreStoreUrl:
    """Where rows are: the kind, and the URL that the adapter of that kind takes. It may hold a password."""

    kind: Kind
    url: str = field(repr=False)


@dataclass(frozen=True)
class Deployment:
    """One deployment's settings and the ways to its blobs and rows. Nothing connects before it is used.

    ``batch_size`` is ``[state_store] state_cleanup_batch_size``, 0 where Airflow would not batch. ``option`` tells
    what is set in another section than ours, by section and name; empty if nothing is.
    """

    settings: Settings
    core_store: CoreStoreUrl
    batch_size: int = 0
    option: Callable[[str, str], str] = lambda _section, _name: ""

    def open_store(self, path: str) -> BlobStore:
        """The store of a configured path, with an Airflow connection's credentials if it names one."""
        return _open_store(path, self.settings)

    def store(self) -> BlobStore:
        """The store of the location where blobs are written; :class:`ConfigError` if there is none."""
        return self.open_store(self.settings.path)

    def offloader(self) -> Offloader:
        """Reads, and deletes exact blobs; stores are opened when needed."""
        from offload_backend.offloader import Offloader

        return Offloader(self.settings, self.open_store)

    @contextlib.contextmanager
    def rows(self) -> Iterator[RemovableRows]:
        """The rows, for those who may remove some; closed at the end of the block.

        :class:`RefusedError` where rows cannot be compared and removed in one transaction.
        """
        rows = _open_rows(self.core_store)
        with contextlib.closing(rows):
            yield rows

    @contextlib.contextmanager
    def roots(self) -> Iterator[RootSource]:
        """The live refs; closed at the end of the block."""
        roots = _open_roots(self.core_store, self.settings.deployment)
        with contextlib.closing(roots):
            yield roots


def open_deployment(
    path: str | None = None, core_store: str | None = None, deployment: str | None = None
) -> Deployment:
    """The deployment that the options mean; what they leave open is read from the configuration.

    An installed Airflow is asked for its own view of the configuration (commands and secrets
    resolved), unless the rows are in an embedded store. Without ``core_store``, rows are those of
    ``[offload_backend] core_store``, of Airflow's database, or of ``connect()`` without arguments.
    Raises :class:`~offload_backend.errors.ConfigError` for what is wrong, missing or ambiguous.
    """
    from offload_backend.configuration import read_configuration

    configuration = read_configuration()
    given = {"path": path, "deployment": deployment}
    changes: dict[str, object] = {name: value for name, value in given.items() if value is not None}
    chosen = _chosen(core_store, configuration)
    if chosen is None:
        chosen, changes = _default_embedded(configuration, changes)
    if chosen.kind is Kind.AIRFLOW and configuration.core_backend:
        raise _rows_elsewhere()
    if chosen.kind is not Kind.EMBEDDED and has_airflow():
        with asking_airflow():
            from offload_backend.airflow import maintenance

            settings, batch_size = maintenance.settings(changes), maintenance.cleanup_batch_size()
        return Deployment(settings, chosen, batch_size, maintenance.option)
    return Deployment(configuration.settings(changes), chosen, configuration.cleanup_batch_size, configuration.get)


def open_blobs(
    path: str | None = None, deployment: str | None = None
) -> tuple[Settings, Callable[[str], BlobStore]]:
    """The settings, and what opens the store of a path, for verbs that are given a ref and so need no rows."""
    from offload_backend.configuration import data_directory

    given = {"path": path, "deployment": deployment}
    settings = settings_here({name: value for name, value in given.items() if value is not None})
    if not settings.path and (directory := data_directory() / "blobs").exists():  # where connect() puts them
        settings = settings.replaced({"path": str(directory)})
    return settings, lambda path: _open_store(path, settings)


def _rows_elsewhere() -> ConfigError:
    from offload_backend.configuration import METASTORE

    return ConfigError(
        "[state_store] backend keeps the rows in a place or form of its own, which cannot be listed here",
        hint="live refs cannot be read, so nothing can be collected; if the database named with --core-store is "
        f"one of Airflow's own backend, run this with AIRFLOW__STATE_STORE__BACKEND={METASTORE}",
    )


def parse_core_store(text: str) -> CoreStoreUrl:
    """The kind and URL of a ``--core-store`` that is spelt out; :class:`ConfigError` for another."""
    named = [kind for kind in Kind if text.startswith(f"{kind.value}+")]
    kind = named[0] if named else Kind.EMBEDDED
    url = text.removeprefix(f"{kind.value}+")
    if "://" not in url or url.startswith("memory://"):
        raise ConfigError("the core store is not a URL of a place that lasts", hint=FORMS)
    if kind is Kind.EXPORT and not url.startswith("file:///"):
        raise ConfigError("an export of roots is read from a file", hint=FORMS)
    if kind in (Kind.EMBEDDED, Kind.AIRFLOW):
        _require_file(
            url, hint=f"airflow db migrate makes Airflow's; or {FORMS}" if kind is Kind.AIRFLOW else FORMS
        )
    return CoreStoreUrl(kind, url)


def _chosen(given: str | None, configuration: Configuration) -> CoreStoreUrl | None:
    """What the option or the configuration names; ``None`` if neither names anything."""
    if given not in (None, "airflow"):
        return parse_core_store(given)
    own = "" if given else configuration.get("offload_backend", "core_store")
    airflow_is_configured = any(
        configuration.get("database", f"sql_alchemy_conn{suffix}") for suffix in ("", "_cmd", "_secret")
    )
    if own and airflow_is_configured:
        raise ConfigError(
            "two places may hold the rows: [offload_backend] core_store and [database] sql_alchemy_conn",
            hint="say which: --core-store airflow, or --core-store with the URL of the other",
        )
    if own:
        return parse_core_store(own)
    if given or airflow_is_configured or has_airflow_core():
        return _airflow_database(configuration)
    return None


def _airflow_database(configuration: Configuration) -> CoreStoreUrl:
    if has_airflow_core():
        with asking_airflow():
            from offload_backend.airflow import maintenance

            url = maintenance.database_url()
    else:
        url = configuration.get("database", "sql_alchemy_conn")
    if not url:
        raise ConfigError(
            "[database] sql_alchemy_conn is not set, or by a command or secret that only Airflow follows",
            hint=f"set AIRFLOW__DATABASE__SQL_ALCHEMY_CONN, or {FORMS}",
        )
    if configuration.get("database", "sql_alchemy_schema"):
        raise ConfigError(
            "Airflow's tables are in the schema of [database] sql_alchemy_schema, which its URL does not tell",
            hint="name both: --core-store 'airflow+postgresql://…?options=-csearch_path%3D<schema>'",
        )
    if "://" not in url:
        raise ConfigError(
            "[database] sql_alchemy_conn is not a URL",
            hint="write postgresql+psycopg2://user:password@host/database",
        )
    return parse_core_store(f"airflow+{url}")


def _default_embedded(
    configuration: Configuration, changes: dict[str, object]
) -> tuple[CoreStoreUrl, dict[str, object]]:
    """Where ``connect()`` puts rows and blobs when nothing is configured, if it ever did."""
    from offload_backend.configuration import data_directory

    directory = data_directory()
    if configuration.core_backend or not (directory / "state.db").exists():
        raise ConfigError("no core store is configured", hint=FORMS)
    has_path = "path" in changes or configuration.settings({}).path
    places = {} if has_path else {"path": str(directory / "blobs")}
    return CoreStoreUrl(Kind.EMBEDDED, f"sqlite:///{directory}/state.db"), {**places, **changes}


def _require_file(url: str, *, hint: str) -> None:
    """Refuse a SQLite file that is not there: opening it would make an empty one, in which nothing is live."""
    scheme, _, place = url.partition(":///")
    file = place.partition("?")[0]
    if scheme.partition("+")[0] == "sqlite" and not file.startswith("file:") and not Path(file).exists():
        raise ConfigError("the core store's SQLite file does not exist", hint=hint, location=file)


def _open_store(path: str, settings: Settings) -> BlobStore:
    from offload_backend.location import parse_location
    from offload_backend.stores.opening import open_store

    if path and parse_location(path).user and has_airflow():
        with asking_airflow():
            from offload_backend.airflow import maintenance
        return maintenance.open_store(path, settings)
    return open_store(path, settings)


def _open_rows(core_store: CoreStoreUrl) -> RemovableRows:
    if core_store.kind is Kind.EMBEDDED:
        from offload_backend.corestores.sql import SqlCoreStore

        return SqlCoreStore(core_store.url)
    if core_store.kind is Kind.AIRFLOW:
        from offload_backend.corestores.airflow_rows import AirflowRows

        return AirflowRows(core_store.url)
    raise RefusedError(
        [
            Refusal(
                "rows",
                measured=f"the rows are behind {core_store.kind.value}+…",
                limit="a database, where a row is compared and removed in one transaction",
                override="run this where Airflow's database can be reached, with --core-store "
                "airflow+postgresql://…; or delete the keys in Airflow and leave their blobs to offload gc",
            )
        ]
    )


def _open_roots(core_store: CoreStoreUrl, deployment: str) -> RootSource:
    if core_store.kind is Kind.EMBEDDED:
        from offload_backend.corestores.sql_roots import SqlRoots

        return SqlRoots(core_store.url, deployment)
    if core_store.kind is Kind.AIRFLOW:
        from offload_backend.corestores.airflow_roots import AirflowRoots

        return AirflowRoots(core_store.url, deployment)
    if core_store.kind is Kind.REST:
        from offload_backend.corestores.airflow_rest import RestRoots

        return RestRoots(core_store.url, deployment=deployment, token=os.environ.get(TOKEN_VARIABLE))
    from offload_backend.corestores.roots_export import ExportedRoots

    return ExportedRoots(Path(unquote(core_store.url.removeprefix("file://"))), deployment)
