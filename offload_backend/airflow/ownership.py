"""Whose state a hook was asked for. Airflow gives it the row's text and nothing else, but not in any place.

Of a task it reads the state of this task instance alone (the Execution API gives it no other), of an asset the
state of one of its inlets and outlets. What cannot be told is allowed, as long as the kind is right: a refusal
would take somebody's own value away.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from airflow.sdk.execution_time import comms

from offload_backend.address import AssetAddress
from offload_backend.airflow.rows import Rows
from offload_backend.airflow.running import address_of_ti, running, started_task
from offload_backend.isolation import of_address

__all__ = ["Ownership"]


class Ownership:
    """Says of a scope whether it is own, as :data:`~offload_backend.isolation.IsOwn`."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def is_own_task(self, scope: str, key: str | None) -> bool:
        """Whether it is the running task instance's; of its task in a callback or trigger; else, any task's."""
        if not scope.startswith("task/"):
            return False
        if (ti := running("ti")) is not None:
            return of_address(address_of_ti(ti))(scope, key)
        started = started_task()
        return started is None or of_address(started, all_map_indices=True)(scope, key)

    def is_own_asset(self, scope: str, key: str | None) -> bool:
        """Whether it is that of an inlet or outlet, by its name or its uri; where no task runs, any asset's."""
        if not scope.startswith("asset/"):
            return False
        inlets, outlets = running("inlets"), running("outlets")
        if inlets is None or outlets is None:
            return True
        addresses = self._addresses([*inlets, *outlets])
        return any(address is None or of_address(address)(scope, key) for address in addresses)

    def _addresses(self, assets: list[Any]) -> Iterator[AssetAddress | None]:
        """Their names and uris. Last come those that Airflow must be asked for: ``None`` without an answer."""
        from airflow.sdk.definitions.asset import Asset, AssetAlias, AssetNameRef, AssetUriRef

        unknown: list[Any] = []
        for asset in assets:
            if isinstance(asset, Asset | AssetNameRef):
                yield AssetAddress(name=asset.name)
            if isinstance(asset, Asset | AssetUriRef):
                yield AssetAddress(uri=asset.uri)
            if isinstance(asset, AssetNameRef):
                unknown.append(comms.GetAssetByName(name=asset.name))
            elif isinstance(asset, AssetUriRef):
                unknown.append(comms.GetAssetByUri(uri=asset.uri))
            elif isinstance(asset, AssetAlias):
                unknown.append(comms.GetAssetsByAlias(alias_name=asset.name))
        for question in unknown:
            yield from self._answered(question)

    def _answered(self, question: Any) -> Iterator[AssetAddress | None]:
        from airflow.sdk.exceptions import ErrorType

        answer = self._rows.ask(question)
        if isinstance(answer, comms.ErrorResponse) and answer.error == ErrorType.ASSET_NOT_FOUND:
            return  # nor has it any state
        found = answer.assets if isinstance(answer, comms.AssetsByAliasResult) else [answer]
        for asset in found:
            if not isinstance(asset, comms.AssetResult):
                yield None
                return
            yield AssetAddress(name=asset.name)
            yield AssetAddress(uri=asset.uri)
