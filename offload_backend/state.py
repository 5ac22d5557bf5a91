"""Task and asset state without Airflow: the way in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from offload_backend.accessors import AssetStore, AssetStores, TaskStore, asset_address
from offload_backend.address import AssetAddress, TaskAddress
from offload_backend.configuration import Configuration, data_directory, read_configuration
from offload_backend.errors import ConfigError
from offload_backend.namespace import Namespace, OffloadedValues, Values, decoded

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable
    from uuid import UUID

    from typing_extensions import Self

    from offload_backend.codecs.view import View
    from offload_backend.corestore import CoreStore
    from offload_backend.settings import Settings

__all__ = ["AssetStore", "AssetStores", "StateStores", "TaskStore", "connect", "open_value"]

OWN_CLASSES = frozenset(
    {"offload_backend.airflow.OffloadStateBackend", "offload_backend.airflow.backend.OffloadStateBackend"}
)


def connect(
    path: str | os.PathLike[str] | None = None,
    core_store: str | CoreStore | None = None,
    *,
    default_retention_days: int | None = None,
    clear_on_success: bool | None = None,
    **settings: Any,
) -> StateStores:
    """Open task and asset state, as configured for Airflow or as the arguments say.

    What an argument leaves open is read from the ``airflow.cfg`` and the ``AIRFLOW__…`` variables that
    Airflow would read; Airflow itself is not needed. ``settings`` are those of ``[offload_backend]``.

    * Blobs go to ``path``: a URL or a local directory. A ``path`` argument also means that values are
      stored by this package and not by a class that ``[workers] state_store_backend`` names.
    * Rows go to ``core_store``: ``sqlite:////…/state.db``, ``postgresql://…``, ``memory://`` (this
      object alone) or an open core store, which the caller closes. Otherwise to the class named by
      ``[state_store] backend``; otherwise, and where that is Airflow's own database, to ``state.db``
      below ``$XDG_DATA_HOME/offload-backend`` (``~/.local/share/offload-backend``), where blobs go,
      too, if nothing at all is configured.

    Whoever can read the core store can read small values; large ones are encrypted with ``encryption_keys`` only.

    Raises :class:`~offload_backend.errors.ConfigError` for a setting or class that cannot be used.
    Nothing connects before the first operation.
    """
    configuration = read_configuration()
    if path is not None:
        settings["path"] = path if isinstance(path, str) else str(Path(path).absolute())
    if isinstance(core_store, str):
        settings["core_store"] = core_store
    days = configuration.default_retention_days if default_retention_days is None else default_retention_days
    clears = configuration.clear_on_success if clear_on_success is None else clear_on_success
    class_path, setting = ("", "") if path is not None else configuration.worker_backend
    chosen, rows, on_close = _open_rows(configuration, configuration.settings(settings), core_store)
    return StateStores(
        rows,
        _values(chosen, class_path, setting),
        on_close=on_close,
        default_retention_days=_checked_days(days),
        clear_on_success=clears,
    )


class StateStores:
    """An open core store and the place of the blobs; made by :func:`connect`, closed by ``with``."""

    def __init__(
        self,
        core_store: CoreStore,
        values: Values,
        *,
        on_close: Callable[[], None],
        default_retention_days: int,
        clear_on_success: bool,
    ) -> None:
        self._core_store = core_store
        self._values = values
        self._on_close = on_close
        self._retention_days = default_retention_days
        self._clear_on_success = clear_on_success

    def task_store(
        self, dag_id: str, run_id: str, task_id: str, map_index: int = -1, *, region_id: UUID | None = None
    ) -> TaskStore:
        """The store of one task instance; ``region_id`` is for a region of Airflow 3.4."""
        address = TaskAddress(dag_id, run_id, task_id, map_index, region_id)
        namespace = Namespace(self._core_store, self._values, address)
        return TaskStore(namespace, self._retention_days, clear_on_success=self._clear_on_success)

    def asset_store(self, *, name: str | None = None, uri: str | None = None) -> AssetStore:
        """The store of the asset of this name, or of this uri; ``ValueError`` unless it is one of the two."""
        if not name and not uri:
            raise ValueError("an asset has a name or a uri")
        return self._asset_store(AssetAddress(name, uri))

    def asset_stores(
        self, inlets: Iterable[object] | None = None, outlets: Iterable[object] | None = None
    ) -> AssetStores:
        """The stores of a task's inlets and outlets; ``TypeError`` for what is no asset."""
        assets = (*(inlets or ()), *(outlets or ()))
        addresses = [address for asset in assets if (address := asset_address(asset))]
        return AssetStores({address: self._asset_store(address) for address in addresses})

    def close(self) -> None:
        """Close the core store's connections, unless the core store was given open."""
        self._on_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _asset_store(self, address: AssetAddress) -> AssetStore:
        return AssetStore(Namespace(self._core_store, self._values, address))


def _open_rows(
    configuration: Configuration, settings: Settings, core_store: str | CoreStore | None
) -> tuple[Settings, CoreStore, Callable[[], None]]:
    """The core store and how to close it; and the settings, with places of our own where none were set."""
    if core_store is not None and not isinstance(core_store, str):
        return settings, core_store, _nothing
    if not settings.core_store.get_secret_value() and not configuration.core_backend:
        settings = _embedded(settings)
    rows = _open_core_store(settings.core_store.get_secret_value(), configuration.core_backend)
    return settings, rows, rows.close


def open_value(ref: str, *, plain: bool = False, **settings: Any) -> View:
    """A look at an offloaded value, given its ref, or the row that holds one.

    The structure is there at once; ``view["model"]["weights"][1000:2000]`` reads these rows and
    nothing else, verified. ``plain`` gives dicts, tuples and values where there are instances of classes, so that
    none of them need be importable, or allowed. ``settings`` are those of ``[offload_backend]``; a ref is read only
    below the configured ``path`` and ``read_paths``.

    Raises an :class:`~offload_backend.errors.OffloadError`, and so does the view.
    """
    from offload_backend.offloader import Offloader
    from offload_backend.row import open_envelope
    from offload_backend.stores.opening import open_store

    configured = read_configuration().settings(settings)
    text = open_envelope(decoded(ref)) if ref.startswith("{") else None
    return Offloader(configured, lambda path: open_store(path, configured)).look(text or ref, plain=plain)


def _embedded(settings: Settings) -> Settings:
    """The settings with rows, and blobs if they have no place yet, in a directory of our own."""
    directory = data_directory()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"the directory for state cannot be made: {error.strerror}",
            hint="set [offload_backend] core_store and path, or XDG_DATA_HOME",
            location=str(directory),
        ) from error
    places = {"core_store": f"sqlite:///{directory}/state.db"}
    return settings.replaced(places if settings.path else {**places, "path": str(directory / "blobs")})


def _open_core_store(url: str, class_path: str) -> CoreStore:
    if url == "memory://":
        from offload_backend.corestores.memory import MemoryCoreStore

        return MemoryCoreStore()
    if not url:
        from offload_backend.custom import BackendCoreStore

        return BackendCoreStore(class_path)
    from offload_backend.corestores.sql import SqlCoreStore

    return SqlCoreStore(url)


def _values(settings: Settings, class_path: str, setting: str) -> Values:
    if class_path and class_path not in OWN_CLASSES:
        from offload_backend.custom import HookedValues

        return HookedValues(class_path, setting)
    from offload_backend.offloader import Offloader
    from offload_backend.stores.opening import open_store

    return OffloadedValues(Offloader(settings, lambda path: open_store(path, settings)))


def _checked_days(days: int) -> int:
    if days < 0:
        raise ConfigError(
            f"default_retention_days is {days}",
            hint="set [state_store] default_retention_days to a number of days, 0 for never",
        )
    return days


def _nothing() -> None:
    """Leave it to the caller who opened it."""
