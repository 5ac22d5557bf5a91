"""Which rows leave, and how: to plain rows as Airflow stores them by itself, or to its common-io backend.

On the walk of :mod:`offload_backend.lifecycle.rewrite`. Both hold JSON and nothing else: a row whose value is a
tree is refused, and stays.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from offload_backend.codecs.json import JsonCodec, NotJsonError
from offload_backend.errors import ConfigError, UnsupportedValueError
from offload_backend.lifecycle.named import own_blob
from offload_backend.lifecycle.remaking import NOTHING, Change, Need, Remade
from offload_backend.lifecycle.rowvalues import RowValues, enveloped
from offload_backend.location import location_of, relative_name, without_user
from offload_backend.peervalue import new_peer_name, peer_bytes
from offload_backend.ref import BlobRef, PeerRef, parse_ref
from offload_backend.row import ENVELOPE_KEY, envelope, is_json
from offload_backend.storemap import StoreMap

if TYPE_CHECKING:
    from offload_backend.blobstore import BlobStore
    from offload_backend.corestore import FoundRow
    from offload_backend.settings import Settings

__all__ = ["MovingToCommonIo", "MovingToPlainRows"]


class _Leaving:
    """What both ways out have in common."""

    def __init__(self, settings: Settings, open_store: Callable[[str], BlobStore], path: str) -> None:
        self._settings = settings
        self._values = RowValues(settings, open_store)
        self._stores = StoreMap(settings.replaced({"path": path}), open_store)

    def target(self) -> BlobStore:
        """See :class:`~offload_backend.lifecycle.remaking.Remaking`."""
        return self._stores.to_write()

    def _need_of(self, found: FoundRow, text: str, ref: BlobRef) -> Need:
        """Of a ref of ours; raises :class:`UnsupportedValueError` for one whose value is no JSON."""
        _require_json(ref.codec == "json")
        own = own_blob(text, found, self._settings.deployment, location_of(self._settings.path))
        return Need(Change.VALUE, text, own, ref.size, ref.raw)

    def _json(self, found: FoundRow, text: str) -> tuple[Any, str]:
        """The value of the row's text, and what Airflow itself writes for it."""
        with self._values.of(found, text) as value:
            try:
                return value, json.dumps(value, allow_nan=False)
            except ValueError as error:
                raise _more_than_json() from error


class MovingToPlainRows(_Leaving):
    """Puts every value that is in an envelope into its row as JSON: byte for byte what Airflow's own ``set`` does.

    ``row_limit`` is ``[state_store] max_value_storage_bytes``, 0 for any length: what takes more is refused.
    """

    def __init__(self, settings: Settings, open_store: Callable[[str], BlobStore], *, row_limit: int) -> None:
        super().__init__(settings, open_store, settings.path)
        self._limit = row_limit

    def need(self, found: FoundRow) -> Need:
        """See :class:`~offload_backend.lifecycle.remaking.Remaking`."""
        text = enveloped(found)
        if text is None:
            return NOTHING
        ref = parse_ref(text)
        if isinstance(ref, PeerRef):
            return Need(Change.VALUE, text)
        if ref is None:
            _require_json(is_json(text))
            return Need(Change.TEXT, text)
        need = self._need_of(found, text, ref)
        self._require_room(ref.raw)  # Airflow's JSON is never shorter than ours: it has spaces, and escapes
        return need

    def remake(self, found: FoundRow, need: Need) -> Remade:
        """See :class:`~offload_backend.lifecycle.remaking.Remaking`."""
        value, text = self._json(found, need.text)
        _require_json(_is_exact(value))
        if isinstance(value, dict) and value.get(ENVELOPE_KEY):  # of whatever type: so Airflow asks
            raise UnsupportedValueError(
                "in a plain row, this dict would be taken for an envelope",
                path="value",
                hint=f"set it again without the key {ENVELOPE_KEY!r}, or delete it; until then the row stays",
            )
        self._require_room(len(text))
        return Remade(text)

    def _require_room(self, size: int) -> None:
        if 0 < self._limit < size:
            raise UnsupportedValueError(
                f"it takes {size} bytes, and a row may take {self._limit}",
                path="value",
                hint="raise [state_store] max_value_storage_bytes (0 allows any size), or set the key again with "
                "less; until then the row stays",
            )


class MovingToCommonIo(_Leaving):
    """Stores what refs name as objects that the peer reads, below its ``path``, and their URLs in the rows.

    That is what ours name, and the peer's own elsewhere: what is not below its path it takes for no ref.

    ``compression`` and ``threshold`` (bytes below which a value stays in its row) are the peer's own settings;
    inline values of JSON are what it writes, too, and stay. Every object has a name of its own in the folder where
    the peer stores the key. Raises :class:`~offload_backend.errors.ConfigError` where tasks could not read it.
    """

    def __init__(
        self,
        settings: Settings,
        open_store: Callable[[str], BlobStore],
        *,
        path: str,
        compression: str = "",
        threshold: int = 0,
    ) -> None:
        _require_readable(settings, path)
        peer_bytes("", compression)
        super().__init__(settings, open_store, path)
        self._path, self._compression, self._threshold = path.rstrip("/"), compression, threshold

    def need(self, found: FoundRow) -> Need:
        """See :class:`~offload_backend.lifecycle.remaking.Remaking`."""
        text = enveloped(found)
        if text is None:
            return NOTHING
        ref = parse_ref(text)
        if isinstance(ref, BlobRef):
            return self._need_of(found, text, ref)
        if ref is not None and relative_name(without_user(ref.url), location_of(self._path)) is None:
            return Need(Change.VALUE, text)
        _require_json(ref is not None or is_json(text))
        return NOTHING

    def remake(self, found: FoundRow, need: Need) -> Remade:
        """See :class:`~offload_backend.lifecycle.remaking.Remaking`."""
        _, text = self._json(found, need.text)
        if len(text) < self._threshold:
            return Remade(envelope(text))
        name = new_peer_name(found.row.address, found.row.key, self._compression)
        self.target().put(name, [peer_bytes(text, self._compression)])
        return Remade(envelope(f"{self._path}/{name}"), name)


def _is_exact(value: Any) -> bool:
    """Whether it reaches a task from a plain row: Airflow sends it as UTF-8, and integers in 64 bits.

    The peer's JSON need not be so.
    """
    try:
        for _ in JsonCodec().encode(value):
            pass
    except NotJsonError:
        return False
    return True


def _require_json(is_plain: bool) -> None:
    if not is_plain:
        raise _more_than_json()


def _more_than_json() -> UnsupportedValueError:
    return UnsupportedValueError(
        "it is more than JSON",
        path="value",
        hint="set the key again with plain data (str, int, float, bool, list, dict), or delete it; until then the "
        "row stays",
    )


def _require_readable(settings: Settings, path: str) -> None:
    """Refuse what workers of ours would not read, who run until the last row has left."""
    if "://" not in path:
        raise ConfigError(
            "there is no URL to which the values could go",
            hint="set [common.io] state_store_objectstorage_path, for example s3://conn_id@bucket/state",
        )
    if location_of(path) not in map(location_of, filter(None, (settings.path, *settings.read_paths))):
        raise ConfigError(
            "workers would not read what is moved there",
            hint="name [common.io] state_store_objectstorage_path in [offload_backend] read_paths as well",
        )
    if settings.signing_keys and settings.unsigned_refs == "refuse":
        raise ConfigError(
            "the peer's refs are not signed, and workers would refuse them",
            hint="set [offload_backend] unsigned_refs = accept, here and where tasks run",
        )
    if settings.encryption_keys and settings.unencrypted_blobs == "refuse":
        raise ConfigError(
            "the peer's objects are not encrypted, and workers would refuse them",
            hint="set [offload_backend] unencrypted_blobs = accept, here and where tasks run",
        )
