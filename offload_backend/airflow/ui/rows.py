"""Rows of Airflow's two tables of state, read in Airflow's own session: pages, single ones and sums.

Nothing is written. Who asks has been authorized; ``dags`` and ``assets`` are those that he may read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from airflow.models.asset import AssetModel
from airflow.models.asset_state_store import AssetStateStoreModel
from airflow.models.task_state_store import TaskStateStoreModel
from sqlalchemy import ColumnElement, Select, case, func, literal, or_, select

from offload_backend.address import AssetAddress, TaskAddress
from offload_backend.airflow.ui.sizes import any_text, is_ref, stored_bytes
from offload_backend.corestore import FoundRow, Row

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

__all__ = [
    "Kept",
    "Listed",
    "Order",
    "Scope",
    "Sum",
    "Wanted",
    "asset_row",
    "asset_sums",
    "assets",
    "task_row",
    "task_sums",
    "tasks",
]

Kept: TypeAlias = Literal["offloaded", "inline", "all"]
Order: TypeAlias = Literal["key", "place", "stored", "written", "expires"]

LONGEST = 128 * 1024
"""Characters of a row's text that are fetched to be described; of a longer one only the beginning."""
_BEGINNING = 256

_TASK, _ASSET = TaskStateStoreModel, AssetStateStoreModel
_HAS_REGIONS = hasattr(_TASK, "region_index")  # since Airflow 3.4
_INDEX = _TASK.region_index if _HAS_REGIONS else _TASK.map_index
_REGION = [_TASK.region_id] if _HAS_REGIONS else []
_WRITER = ("kind", "dag_id", "run_id", "task_id", "map_index", "region_index", "try_number")


@dataclass(frozen=True)
class Scope:
    """Whose state is meant; ``None`` means any."""

    dag_id: str | None = None
    run_id: str | None = None
    task_id: str | None = None
    index: int | None = None
    asset_id: int | None = None


@dataclass(frozen=True)
class Wanted:
    """Which rows of a scope, in which order. ``text`` is found in keys and names, whatever the case."""

    kept: Kept = "offloaded"
    text: str = ""
    order: Order = "written"
    descending: bool = True
    limit: int = 50
    offset: int = 0


@dataclass(frozen=True)
class Listed:
    """One row; ``id`` finds it again, ``writer`` is who wrote it last, as far as Airflow has written it down."""

    id: int | None
    found: FoundRow
    length: int
    writer: dict[str, Any]
    asset_id: int | None = None


@dataclass(frozen=True)
class Sum:
    """Of one DAG or asset: rows, those that are offloaded, the bytes of their blobs, and rows past their expiry."""

    name: str
    rows: int
    offloaded: int
    stored: int
    expired: int


def tasks(session: Session, scope: Scope, wanted: Wanted, dags: set[str]) -> tuple[list[Listed], int]:
    """A page of task state, and how many rows there are on all pages."""
    found, count = _page(session, _task_query().where(*_of_tasks(scope, dags)), wanted, _TASKS)
    return [_listed_task(each) for each in found], count


def assets(session: Session, scope: Scope, wanted: Wanted, readable: set[int]) -> tuple[list[Listed], int]:
    """A page of asset state, and how many rows there are on all pages."""
    found, count = _page(session, _asset_query().where(*_of_assets(scope, readable)), wanted, _ASSETS)
    return [_listed_asset(each) for each in found], count


def task_row(session: Session, dag_id: str, row_id: int) -> Listed | None:
    """The row of this id, whole, if it is of this DAG."""
    query = _task_query(whole=True).where(_TASK.id == row_id, _TASK.dag_id == dag_id)
    found = session.execute(query).mappings().one_or_none()
    return _listed_task(found) if found else None


def asset_row(session: Session, asset_id: int, key: str) -> Listed | None:
    """The asset's row of this key, whole."""
    query = _asset_query(whole=True).where(_ASSET.asset_id == asset_id, _ASSET.key == key)
    found = session.execute(query).mappings().one_or_none()
    return _listed_asset(found) if found else None


def task_sums(session: Session, scope: Scope, dags: set[str], now: datetime) -> list[Sum]:
    """What there is of each DAG, the largest first; the database counts."""
    expired = func.sum(case((_TASK.expires_at < now, 1), else_=0))
    return _sums(session, _summed(_TASK.dag_id, _TASK.value, expired).where(*_of_tasks(scope, dags)))


def asset_sums(session: Session, scope: Scope, readable: set[int]) -> list[Sum]:
    """What there is of each asset, the largest first; rows of assets do not expire."""
    query = _summed(AssetModel.name, _ASSET.value, literal(0)).where(*_of_assets(scope, readable))
    return _sums(session, query.join_from(_ASSET, AssetModel, AssetModel.id == _ASSET.asset_id))


def _summed(name: Any, value: Any, expired: ColumnElement[Any]) -> Select[Any]:
    offloaded = func.sum(case((is_ref(value), 1), else_=0))
    stored = func.sum(case((is_ref(value), stored_bytes(value)), else_=0.0))
    return select(name, func.count(), offloaded, stored, expired).group_by(name)


def _sums(session: Session, query: Select[Any]) -> list[Sum]:
    # Databases have several types for numbers, and those of a sum are not always those of what is summed.
    found = [Sum(name, *map(int, counts)) for name, *counts in session.execute(query)]
    return sorted(found, key=lambda each: (-each.stored, -each.offloaded, each.name))


@dataclass(frozen=True)
class _Table:
    """``searched`` are the columns that a text is looked for in, ``order`` those that make each order."""

    model: Any
    searched: list[Any]
    order: dict[str, list[Any]]
    unique: list[Any]


_TASKS = _Table(
    _TASK,
    searched=[_TASK.key, _TASK.dag_id, _TASK.run_id, _TASK.task_id],
    order={"place": [_TASK.dag_id, _TASK.run_id, _TASK.task_id, _INDEX], "expires": [_TASK.expires_at]},
    unique=[_TASK.id],
)
_ASSETS = _Table(
    _ASSET,
    searched=[_ASSET.key, AssetModel.name, AssetModel.uri],
    order={"place": [AssetModel.name], "expires": []},
    unique=[_ASSET.asset_id, _ASSET.key],
)


def _page(session: Session, query: Select[Any], wanted: Wanted, table: _Table) -> tuple[Iterable[Any], int]:
    model = table.model
    if wanted.kept != "all":
        query = query.where(is_ref(model.value) if wanted.kept == "offloaded" else ~is_ref(model.value))
    if wanted.text:
        text = wanted.text.lower()
        searched = [func.lower(any_text(name)) for name in table.searched]
        query = query.where(or_(*(name.contains(text, autoescape=True) for name in searched)))
    own = {"key": [model.key], "stored": [stored_bytes(model.value)], "written": [model.updated_at]}
    columns = {**own, **table.order}[wanted.order]
    direction = [column.desc() if wanted.descending else column.asc() for column in columns]
    count = session.scalar(query.with_only_columns(func.count(), maintain_column_froms=True)) or 0
    page = query.order_by(*direction, *table.unique).limit(wanted.limit).offset(wanted.offset)
    return session.execute(page).mappings(), count


def _task_query(*, whole: bool = False) -> Select[Any]:
    own = [_TASK.id, _TASK.dag_id, _TASK.run_id, _TASK.task_id, _INDEX.label("index"), *_REGION]
    return select(*own, _TASK.key, *_text(_TASK, whole=whole), _TASK.updated_at, _TASK.expires_at)


def _asset_query(*, whole: bool = False) -> Select[Any]:
    writers = [f"last_updated_by_{name}" for name in _WRITER]
    own = [getattr(_ASSET, name) for name in writers if hasattr(_ASSET, name)]
    text = _text(_ASSET, whole=whole)
    query = select(_ASSET.asset_id, AssetModel.name, AssetModel.uri, _ASSET.key, *text, _ASSET.updated_at, *own)
    return query.join_from(_ASSET, AssetModel, AssetModel.id == _ASSET.asset_id)


def _text(table: Any, *, whole: bool) -> list[Any]:
    length = func.length(table.value)
    text = (
        table.value
        if whole
        else case((length <= LONGEST, table.value), else_=func.substr(table.value, 1, _BEGINNING))
    )
    return [text.label("text"), length.label("length")]


def _of_tasks(scope: Scope, dags: set[str]) -> list[ColumnElement[bool]]:
    asked = {
        _TASK.dag_id: scope.dag_id,
        _TASK.run_id: scope.run_id,
        _TASK.task_id: scope.task_id,
        _INDEX: scope.index,
    }
    return [_TASK.dag_id.in_(dags), *(column == value for column, value in asked.items() if value is not None)]


def _of_assets(scope: Scope, readable: set[int]) -> list[ColumnElement[bool]]:
    allowed = _ASSET.asset_id.in_(readable)
    return [allowed] if scope.asset_id is None else [allowed, _ASSET.asset_id == scope.asset_id]


def _listed_task(found: Any) -> Listed:
    address = TaskAddress(
        found["dag_id"], found["run_id"], found["task_id"], found["index"], found.get("region_id")
    )
    row = Row(address, found["key"], found["text"], found["updated_at"], found["expires_at"])
    return Listed(found["id"], FoundRow(row, (_TASK.__tablename__, found["id"])), found["length"], {})


def _listed_asset(found: Any) -> Listed:
    row = Row(AssetAddress(name=found["name"]), found["key"], found["text"], found["updated_at"], None)
    place = (_ASSET.__tablename__, found["asset_id"], found["key"])
    writer = {name: found.get(f"last_updated_by_{name}") for name in _WRITER}
    if writer["map_index"] is None:
        writer["map_index"] = writer["region_index"]
    aliases = (AssetAddress(uri=found["uri"]),)
    return Listed(None, FoundRow(row, place, aliases), found["length"], writer, asset_id=found["asset_id"])
