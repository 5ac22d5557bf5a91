"""What keeps a blob alive beside the row that has just been removed."""

from __future__ import annotations

from collections.abc import Collection

from offload_backend.errors import CoreStoreError
from offload_backend.lifecycle.collector import Collector
from offload_backend.lifecycle.preflight import ask, control_of
from offload_backend.rootsource import Hidden, root_of

__all__ = ["holders", "pinned"]

_SEEN = "run this as a user of the database who sees every row"


def holders(collector: Collector, ids: Collection[str]) -> dict[str, str]:
    """Those of the ids that a row, a pin or a hook names, and which; reads all roots.

    Raises :class:`~offload_backend.errors.CoreStoreError` where a row cannot be seen.
    """
    held = {}
    for root in collector.roots.roots(()):
        if isinstance(root, Hidden):
            raise CoreStoreError(f"rows cannot be seen: {root.reason}", address=root.address, hint=_SEEN)
        held.update({blob_id: root.holder for blob_id in root.ids if blob_id in ids})
    held.update({**_named_by_hooks(collector, ids), **pinned(collector, ids)})
    return held


def pinned(collector: Collector, ids: Collection[str]) -> dict[str, str]:
    """Those of the ids that are pinned."""
    return {blob_id: "a pin" for blob_id in control_of(collector).pins() if blob_id in ids}


def _named_by_hooks(collector: Collector, ids: Collection[str]) -> dict[str, str]:
    texts = ask(collector, "extra_roots", lambda: list(collector.hooks.extra_roots()))
    roots = [root for text in texts if (root := root_of(text, None, "a hook"))]
    return {blob_id: root.holder for root in roots for blob_id in root.ids if blob_id in ids}
