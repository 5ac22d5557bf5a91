"""What the browser is told, as JSON: rows, sums, and errors with what to do about them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from offload_backend.address import TaskAddress
from offload_backend.airflow.ui.rows import LONGEST, Listed, Sum
from offload_backend.airflow.ui.turns import BusyError
from offload_backend.errors import BlobCorruptError, BlobNotFoundError, ConfigError, OffloadError, StoreError
from offload_backend.inventory.entry import entry_of

__all__ = ["FAILED", "busy", "problem", "row", "totals"]

FAILED = {"problem": "Airflow's API server failed.", "hint": "Its log says why."}
LARGEST = 5
"""DAGs, or assets, that are named in the totals."""


def row(listed: Listed) -> dict[str, Any]:
    """One row, by what it and its ref say; no store was asked. Sizes are bytes, times ISO 8601."""
    entry = entry_of(listed.found)
    address = entry.address
    whose: dict[str, Any]
    if isinstance(address, TaskAddress):
        region = str(address.region_id) if address.region_id else None
        whose = {"id": listed.id, "dag_id": address.dag_id, "run_id": address.run_id, "task_id": address.task_id}
        whose |= {"index": address.map_index, "region": region}
    else:
        names = {"name": address.name, "uri": listed.found.aliases[0].uri}
        whose = {"asset_id": listed.asset_id, **names, "writer": listed.writer}
    is_cut = entry.kept == "inline" and listed.length > LONGEST
    return {
        **whose,
        "key": entry.key,
        "kept": entry.kept,
        "about": "" if is_cut else entry.about,
        "stored": listed.length if is_cut else entry.stored,
        "raw": entry.raw,
        "codec": entry.codec,
        "encrypted": entry.encrypted,
        "signer": entry.signer,
        "url": entry.url,
        "written": _time(entry.updated_at),
        "expires": _time(entry.expires_at),
    }


def totals(sums: list[Sum]) -> dict[str, Any]:
    """All of them together, and the largest by name."""
    return {
        "rows": sum(each.rows for each in sums),
        "offloaded": sum(each.offloaded for each in sums),
        "stored": sum(each.stored for each in sums),
        "expired": sum(each.expired for each in sums),
        "largest": [
            {"name": each.name, "offloaded": each.offloaded, "stored": each.stored}
            for each in sums[:LARGEST]
            if each.offloaded
        ],
    }


def problem(error: OffloadError) -> tuple[int, dict[str, str]]:
    """The status of an answer, and its body: what is wrong, and the setting or command that mends it."""
    status, kind = 422, "refused"
    if isinstance(error, BlobNotFoundError):
        status, kind = 404, "gone"
    elif isinstance(error, BlobCorruptError):
        status, kind = 409, "damaged"
    elif isinstance(error, (StoreError, ConfigError)):
        status, kind = 503, "unseen"
    return status, {"kind": kind, "problem": error.message, "hint": error.hint, "location": error.location or ""}


def busy(error: BusyError) -> dict[str, str]:
    """The body of an answer where no value can be opened now. Of the value it says nothing, so it has no kind."""
    hint = f"Others are looking at values, or have downloads running. Try again in {error.seconds} seconds."
    return {"problem": f"{str(error).capitalize()}.", "hint": hint}


def _time(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
