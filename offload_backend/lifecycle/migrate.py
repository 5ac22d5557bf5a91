"""Which rows come to the path, and how: from Airflow's own backend, from rows that are long, from another location.

On the walk of :mod:`offload_backend.lifecycle.rewrite`. Why nothing is lost on the way, and why nothing is deleted
that the peer stored, is in ``docs/adr/0018-migrate.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from offload_backend.address import blob_scope
from offload_backend.errors import ConfigError, ForeignRefError, OffloadError
from offload_backend.isolation import require_own
from offload_backend.lifecycle.copying import Copying
from offload_backend.lifecycle.named import named_blob, ref_of
from offload_backend.lifecycle.remaking import NOTHING, Change, Need, Remade
from offload_backend.lifecycle.rowvalues import RowValues, enveloped, is_own
from offload_backend.location import location_of, relative_name, without_user
from offload_backend.offloader import Offloader
from offload_backend.peervalue import peer_scopes
from offload_backend.ref import BlobRef, PeerRef, is_ref, parse_ref
from offload_backend.row import envelope, is_json, row_text
from offload_backend.signature import Signatures
from offload_backend.storemap import StoreMap

if TYPE_CHECKING:
    from offload_backend.address import StateAddress
    from offload_backend.blobstore import BlobStore
    from offload_backend.corestore import FoundRow
    from offload_backend.settings import Settings

__all__ = ["MovingHere", "MovingIn"]


class MovingIn:
    """Stores as a task's ``set`` would: values of the peer's refs, and of JSON rows longer than ``inline_limit``.

    A value that is small becomes an inline one. Whose it is, is said by its row, never by the peer's path.
    """

    def __init__(self, settings: Settings, open_store: Callable[[str], BlobStore]) -> None:
        self._settings = settings
        self._values = RowValues(settings, open_store)
        self._offloader = Offloader(settings, open_store)
        self._stores = StoreMap(settings, open_store)

    def target(self) -> BlobStore:
        """See :class:`~offload_backend.lifecycle.remaking.Remaking`."""
        return self._stores.to_write()

    def need(self, found: FoundRow) -> Need:
        """See :class:`~offload_backend.lifecycle.remaking.Remaking`."""
        inner, length = enveloped(found), len(found.row.text)
        if inner is not None and not is_json(inner):
            return Need(Change.VALUE, inner) if isinstance(_parsed(inner), PeerRef) else NOTHING
        if length <= self._settings.inline_limit:
            return NOTHING
        return Need(Change.VALUE, found.row.text if inner is None else inner, size=length, weight=length)

    def remake(self, found: FoundRow, need: Need) -> Remade:
        """See :class:`~offload_backend.lifecycle.remaking.Remaking`."""
        scopes = peer_scopes(need.text) if is_ref(need.text) else []
        address, key = _address(found, scopes), found.row.key
        with self._values.of(found, need.text) as value:
            text = self._offloader.offload(value, address, key)
        # What Airflow has in an envelope it gives to the backend; plain JSON it gives to the task itself.
        whole = row_text(text) if enveloped(found) is None else envelope(text)
        blob = named_blob(text, self._settings.deployment, location_of(self._settings.path))
        return Remade(whole, blob.name if blob else "", blob.size if blob else len(text))


class MovingHere:
    """Copies blobs below ``old``, one of ``read_paths``, to the path: verified, in frames as they are.

    Copies are encrypted, compressed and signed as ``settings`` say, and no value is made of them: no class is
    needed. ``old_path`` is ``old`` as it is configured, perhaps with a connection. Raises
    :class:`~offload_backend.errors.ConfigError` for another location, which tasks could not read meanwhile.
    """

    def __init__(self, settings: Settings, open_store: Callable[[str], BlobStore], old: str) -> None:
        self._settings = settings
        self._old, self._new = location_of(old), location_of(settings.path)
        paths = {location_of(path): path for path in settings.read_paths}
        if self._old == self._new or self._old not in paths:
            raise ConfigError(
                f"{self._old} is not one of the locations that are only read",
                hint="name it in [offload_backend] read_paths, here and where tasks run, and the new one in path",
            )
        self.old_path = paths[self._old]
        self._copying = Copying(settings, settings, open_store)
        self._signatures = Signatures(settings)
        self._stores = StoreMap(settings, open_store)

    def target(self) -> BlobStore:
        """See :class:`~offload_backend.lifecycle.remaking.Remaking`."""
        return self._stores.to_write()

    def need(self, found: FoundRow) -> Need:
        """See :class:`~offload_backend.lifecycle.remaking.Remaking`."""
        text = ref_of(found)
        if text is None or not self._is_below_old(without_user(text.partition("#")[0])):
            return NOTHING
        ref, blob = parse_ref(text), named_blob(text, self._settings.deployment, self._old)
        if not isinstance(ref, BlobRef) or blob is None:  # the peer's, or another deployment's
            return Need(Change.ELSEWHERE)
        return Need(Change.VALUE, text, blob if blob.is_of(found) else None, ref.size, ref.size)

    def remake(self, found: FoundRow, need: Need) -> Remade:
        """See :class:`~offload_backend.lifecycle.remaking.Remaking`."""
        self._signatures.check(need.text)
        ref = parse_ref(need.text)
        old = named_blob(need.text, self._settings.deployment, self._old)
        if not isinstance(ref, BlobRef) or old is None:
            raise ForeignRefError("only a blob of this backend can be moved")
        require_own(is_own(self._settings, found), (old.parts.scope, old.parts.key))
        made = self._copying.copied(ref, _address(found, [old.parts.scope]), found.row.key)
        new = named_blob(made, self._settings.deployment, self._new)
        return Remade(envelope(self._signatures.signed(made)), new.name if new else "")

    def _is_below_old(self, url: str) -> bool:
        """Whether tasks read it from the old location: one of the two may lie within the other."""
        old, new = (relative_name(url, location) for location in (self._old, self._new))
        return old is not None and (new is None or len(self._new) < len(self._old))


def _parsed(text: str) -> BlobRef | PeerRef | None:
    """The ref, or ``None`` for what is none or cannot be read here."""
    try:
        return parse_ref(text)
    except OffloadError:
        return None


def _address(found: FoundRow, scopes: list[str]) -> StateAddress:
    """The one of the row's addresses under which its value is stored now, or its first."""
    return next((each for each in found.addresses if blob_scope(each, "")[0] in scopes), found.row.address)
