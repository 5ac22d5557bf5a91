"""Which store holds what a URL names, and whether it is this deployment's."""

from __future__ import annotations

import os
from collections.abc import Callable

from offload_backend.address import BlobName, parse_blob_name
from offload_backend.blobstore import BlobStore
from offload_backend.errors import ConfigError, ForeignRefError, OffloadError
from offload_backend.isolation import IsOwn, require_own
from offload_backend.location import location_of, relative_name
from offload_backend.ref import BlobRef, parse_ref
from offload_backend.settings import Settings

__all__ = ["FOREIGN", "StoreMap"]

FOREIGN = "if it is genuine, add its location to [offload_backend] read_paths"


class StoreMap:
    """The configured locations. Their stores are opened at first use, by the process that uses them."""

    def __init__(self, settings: Settings, open_store: Callable[[str], BlobStore]) -> None:
        self._settings = settings
        self._open_store = open_store
        self._stores: tuple[int, dict[str, BlobStore]] = (0, {})

    def to_write(self) -> BlobStore:
        """The store of the configured path."""
        return self._store(self._settings.path)

    def require_path(self) -> None:
        """Raise :class:`ConfigError` where there is none."""
        if not self._settings.path:
            raise ConfigError(
                "no location for blobs is configured",
                hint="set [offload_backend] path, for example path = s3://conn_id@bucket/airflow-state "
                "(environment: AIRFLOW__OFFLOAD_BACKEND__PATH); without Airflow, connect(path=…)",
            )

    def find(self, url: str) -> tuple[BlobStore, str]:
        """The store and the name in it, or :class:`ForeignRefError` for a URL outside all locations."""
        # The nearest location first: one may lie within another, each with credentials of its own.
        paths = filter(None, (self._settings.path, *self._settings.read_paths))
        for path in sorted(paths, key=lambda path: len(location_of(path)), reverse=True):
            name = relative_name(url, location_of(path))
            if name is not None:
                return self._store(path), name
        raise ForeignRefError("the ref points outside the locations that may be read", hint=FOREIGN)

    def blob_named(self, name: str, is_own: IsOwn | None = None) -> BlobName:
        """What a blob's name says, or :class:`ForeignRefError` for one that this deployment did not write.

        And for one that is not ``is_own``, where that is asked for.
        """
        parsed = parse_blob_name(name)
        if parsed is None:
            raise ForeignRefError("the ref does not name a blob of this backend", hint=FOREIGN)
        if parsed.deployment != self._settings.deployment:
            raise ForeignRefError(
                f"the blob belongs to the deployment {parsed.deployment!r}, this is {self._settings.deployment!r}",
                hint="correct [offload_backend] deployment if it was renamed",
            )
        require_own(is_own, (parsed.scope, parsed.key))
        return parsed

    def own_name(self, text: str) -> str | None:
        """The name, below the configured path, that a ref of this deployment names; opens no store."""
        try:
            ref = parse_ref(text)
            if not isinstance(ref, BlobRef) or not self._settings.path:
                return None
            name = relative_name(ref.url, location_of(self._settings.path))
            return name if name and self.blob_named(name) else None
        except OffloadError:
            return None

    def _store(self, path: str) -> BlobStore:
        """The store of a path, opened by this process. Two threads may open it twice; one is kept.

        There is no lock on purpose: resolving an Airflow connection may run other coroutines of the
        same thread meanwhile, which would wait for it for ever.
        """
        pid, stores = self._stores
        if pid != os.getpid():
            stores = {}
            self._stores = (os.getpid(), stores)
        store = stores.get(path)
        if store is None:
            store = stores.setdefault(path, self._open_store(path))
        return store
