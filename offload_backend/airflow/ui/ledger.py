"""When the collector ran last, as its ledger in the database tells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.models.task_state_store import TaskStateStoreModel

from offload_backend.corestores.ledger import LedgerTable

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

__all__ = ["last_run"]


def last_run(session: Session, deployment: str) -> dict[str, Any] | None:
    """The number of the deployment's last run and when it was; ``None`` if there was none.

    What a run found is written down beside the blobs, where only who may read the store sees it.
    """
    ledger = LedgerTable(deployment, TaskStateStoreModel.__table__.schema)
    found = ledger.read(session.connection())
    return {"runs": found[0].sequence, "at": found[1].isoformat()} if found else None
