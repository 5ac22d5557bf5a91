"""The assets that Airflow knows, active or not, read through the REST API."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from offload_backend.address import AssetAddress
from offload_backend.corestores.rest_client import RestClient
from offload_backend.corestores.rest_pages import UnseenError, read_all, text_of

__all__ = ["AssetList"]

GAPS = 1000
BEYOND = 16
"""How many ids are asked for although the list has them not: those between, and those after the last."""


class AssetList:
    """The ids of all assets of a name or a uri, read at the first question; used by several threads.

    ``is_filtered`` tells that the API leaves out, without a word, what the account may not read: so it
    is from Airflow 3.4 on.
    """

    def __init__(self, client: RestClient, *, is_filtered: bool) -> None:
        self._client = client
        self._is_filtered = is_filtered
        self._lock = threading.Lock()
        self._known: dict[AssetAddress, list[int]] | UnseenError | None = None

    def ids(self, address: AssetAddress) -> list[int]:
        """At least one; :class:`UnseenError` if none is visible, or not all can be.

        Airflow never deletes an asset, so one that is not listed is one that the account may not read.
        """
        with self._lock:
            if self._known is None:
                try:
                    self._known = self._read()
                except UnseenError as error:
                    self._known = error
            known = self._known
        if isinstance(known, UnseenError):
            raise UnseenError(f"the list of assets: {known}")
        if address not in known:
            raise UnseenError("no asset of this name or uri is visible")
        return known[address]

    def _read(self) -> dict[AssetAddress, list[int]]:
        params = {"only_active": "false", "order_by": "id"}
        assets = read_all(self._client, "/api/v2/assets", params, "assets", _asset)
        if self._is_filtered:
            self._require_all(assets.keys())
        known: dict[AssetAddress, list[int]] = {}
        for asset_id, addresses in assets.items():
            for address in addresses:
                known.setdefault(address, []).append(asset_id)
        return known

    def _require_all(self, ids: Iterable[int]) -> None:
        """:class:`UnseenError` if there may be assets that the list leaves out.

        From 3.4 on it leaves out what the account may not read, without a word. Each id that is missing
        must therefore be one that Airflow says does not exist.
        """
        listed = set(ids)
        end = max(listed, default=0) + BEYOND
        if end - len(listed) > GAPS + BEYOND:
            raise UnseenError("too many ids are missing to see whether these assets exist")
        for asset_id in range(1, end + 1):
            if asset_id in listed:
                continue
            answer = self._client.get(f"/api/v2/assets/{asset_id}")
            if not answer.denies(str(asset_id)):
                raise UnseenError(f"asset {asset_id} is not listed: {answer}")


def _asset(row: dict[str, Any]) -> tuple[int, tuple[AssetAddress, AssetAddress]]:
    return int(row["id"]), (AssetAddress(name=text_of(row["name"])), AssetAddress(uri=text_of(row["uri"])))
