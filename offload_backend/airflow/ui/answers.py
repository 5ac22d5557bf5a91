"""The answers that the page asks for, each behind Airflow's own check of who may have it."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import anyio
from airflow.api_fastapi.common.db.common import SessionDep  # noqa: TC002  # FastAPI asks for it
from fastapi import APIRouter, Depends, HTTPException, Path, Query
from fastapi.responses import StreamingResponse

from offload_backend import __version__
from offload_backend.airflow.ui import rows, telling
from offload_backend.airflow.ui.access import ReadableAssets, ReadableDags, may_read_assets, may_read_tasks
from offload_backend.airflow.ui.contents import Download, contents
from offload_backend.airflow.ui.ledger import last_run
from offload_backend.errors import OffloadError
from offload_backend.inventory.entry import text_of

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Send
    from starlette.types import Scope as Connection

__all__ = ["router"]

MOST_ROWS = 200
"""Rows on a page, at most."""

STALLED = 300
"""Seconds after which a download ends of which nothing is taken: others wait for its turn."""

router = APIRouter(prefix="/api")

DagId = Annotated[str, Query(max_length=1000)]
Id = Annotated[int, Query(ge=0, lt=2**63)]
AssetId = Annotated[int, Path(ge=0, lt=2**63)]
Key = Annotated[str, Query(max_length=1000)]


def _scope(
    dag_id: Annotated[str | None, Query(max_length=1000)] = None,
    run_id: Annotated[str | None, Query(max_length=1000)] = None,
    task_id: Annotated[str | None, Query(max_length=1000)] = None,
    index: Annotated[int | None, Query(ge=-1, lt=2**31)] = None,
    asset_id: Annotated[int | None, Query(ge=0, lt=2**63)] = None,
) -> rows.Scope:
    return rows.Scope(dag_id, run_id, task_id, index, asset_id)


def _wanted(
    kept: rows.Kept = "offloaded",
    text: Annotated[str, Query(max_length=500)] = "",
    order: rows.Order = "written",
    limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = 50,
    offset: Annotated[int, Query(ge=0, lt=2**31)] = 0,
    *,
    descending: bool = True,
) -> rows.Wanted:
    return rows.Wanted(kept, text, order, descending, limit, offset)


Scope = Annotated[rows.Scope, Depends(_scope)]
Wanted = Annotated[rows.Wanted, Depends(_wanted)]


@router.get("/tasks", dependencies=[may_read_tasks])
def list_tasks(session: SessionDep, scope: Scope, wanted: Wanted, dags: ReadableDags) -> dict[str, Any]:
    """A page of rows of task state."""
    found, count = rows.tasks(session, scope, wanted, dags)
    return {"rows": [telling.row(each) for each in found], "count": count}


@router.get("/assets", dependencies=[may_read_assets])
def list_assets(session: SessionDep, scope: Scope, wanted: Wanted, readable: ReadableAssets) -> dict[str, Any]:
    """A page of rows of asset state."""
    found, count = rows.assets(session, scope, wanted, readable)
    return {"rows": [telling.row(each) for each in found], "count": count}


@router.get("/tasks/totals", dependencies=[may_read_tasks])
def total_tasks(session: SessionDep, scope: Scope, dags: ReadableDags) -> dict[str, Any]:
    """How much task state there is."""
    return telling.totals(rows.task_sums(session, scope, dags, datetime.now(timezone.utc)))


@router.get("/assets/totals", dependencies=[may_read_assets])
def total_assets(session: SessionDep, scope: Scope, readable: ReadableAssets) -> dict[str, Any]:
    """How much asset state there is."""
    return telling.totals(rows.asset_sums(session, scope, readable))


@router.get("/about", dependencies=[may_read_tasks])
def about(session: SessionDep) -> dict[str, Any]:
    """What this server knows of the deployment; no store is asked."""
    told: dict[str, Any] = {"version": __version__, "location": "", "deployment": "", "collector": None}
    try:
        opened = contents()
        told |= {"location": opened.location, "deployment": opened.settings.deployment}
    except OffloadError as error:
        return {**told, "trouble": telling.problem(error)[1]}
    return {**told, "collector": last_run(session, opened.settings.deployment)}


def _task(session: SessionDep, dag_id: DagId, id: Id) -> rows.Listed:  # noqa: A002 - a name in the query
    return _found(session, rows.task_row(session, dag_id, id))


def _asset(session: SessionDep, asset_id: AssetId, key: Key) -> rows.Listed:
    return _found(session, rows.asset_row(session, asset_id, key))


def _found(session: SessionDep, listed: rows.Listed | None) -> rows.Listed:
    session.close()  # a store may let us wait, and there are few connections to the database
    if listed is None:
        raise HTTPException(404, "this row is no longer there")
    return listed


Task = Annotated[rows.Listed, Depends(_task)]
Asset = Annotated[rows.Listed, Depends(_asset)]


@router.get("/tasks/value", dependencies=[may_read_tasks])
def show_task(task: Task) -> dict[str, Any]:
    """One value of a task, for people."""
    return _shown(task)


@router.get("/assets/{asset_id}/value", dependencies=[may_read_assets])
def show_asset(asset: Asset) -> dict[str, Any]:
    """One value of an asset, for people."""
    return _shown(asset)


@router.get("/tasks/check", dependencies=[may_read_tasks])
def check_task(task: Task) -> dict[str, Any]:
    """Whether the blob of a task's row is there; what is wrong is an answer like any other."""
    return _checked(task)


@router.get("/assets/{asset_id}/check", dependencies=[may_read_assets])
def check_asset(asset: Asset) -> dict[str, Any]:
    """As for a task."""
    return _checked(asset)


@router.get("/tasks/download", dependencies=[may_read_tasks])
def download_task(task: Task) -> StreamingResponse:
    """One value of a task, as a file."""
    return _sent(task)


@router.get("/assets/{asset_id}/download", dependencies=[may_read_assets])
def download_asset(asset: Asset) -> StreamingResponse:
    """One value of an asset, as a file."""
    return _sent(asset)


def _shown(listed: rows.Listed) -> dict[str, Any]:
    shown = contents().show(listed.found, text_of(listed.found))
    return {"form": shown.form, "text": shown.text, "cut": shown.cut, "size": shown.size}


def _checked(listed: rows.Listed) -> dict[str, Any]:
    try:
        contents().check(listed.found, text_of(listed.found))
    except OffloadError as error:
        return telling.problem(error)[1]
    return {"kind": "there"}


def _sent(listed: rows.Listed) -> StreamingResponse:
    download = contents().download(listed.found, text_of(listed.found))
    name = f"{listed.found.row.key}.{download.extension}".encode(errors="replace").decode()
    plain = "".join(char if char.isascii() and (char.isalnum() or char in "._-") else "_" for char in name)
    headers = {
        "Content-Disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}",
        "Content-Length": str(download.size),
        "Content-Encoding": "identity",  # or Airflow compresses it, and a file cut short would pass for a whole one
    }
    return _Sending(download, headers)


class _Sending(StreamingResponse):
    """The download as a file. However it ends, it is closed; it does not wait for ever for who takes nothing."""

    def __init__(self, download: Download, headers: dict[str, str]) -> None:
        super().__init__(download.pieces, media_type="application/octet-stream", headers=headers)
        self._download = download

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            with anyio.fail_after(STALLED):
                await send(message)

        try:
            await super().__call__(scope, receive, sent)
        finally:
            self._download.close()
