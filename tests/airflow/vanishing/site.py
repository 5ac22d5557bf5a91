"""An Airflow whose tasks' blobs lie in one folder, and what became of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.airflow.rows import AssetRow, TaskRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from tests.airflow.harness import Airflow, Run

ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?=\.json\.zst)")
CLEAR = {"AIRFLOW__STATE_STORE__CLEAR_ON_SUCCESS": "True"}


@dataclass(frozen=True)
class Fate:
    """What a producer did: the ids of blobs whose rows it made vanish, and of those whose rows it left."""

    lost: frozenset[str] = frozenset()
    kept: frozenset[str] = frozenset()


@dataclass
class Site:
    """The Airflow, and the folder that its tasks write blobs to."""

    airflow: Airflow
    folder: Path

    def write(self, dag_id: str = "vanishing", env: Mapping[str, str] | None = None, **conf: Any) -> Run:
        """A run of the DAG, carried out to the end that ``conf`` asks for; its rows were written.

        A task that Airflow fails, for want of a server that answers, say, fails the test with its log.
        """
        run = self.airflow.run(dag_id, conf=conf, env=env)
        assert run.attempts, f"no task of {dag_id} was ready"
        for attempt in run.attempts:
            assert attempt.state in ("success", conf.get("end")), attempt
            assert attempt.state != "failed" or "AirflowFailException" in attempt.log, attempt
        return run

    def of(self, *runs: Run, key: str = "", map_index: int | None = None) -> frozenset[str]:
        """Ids of the blobs that these runs' task rows name now."""
        ids = {run.run_id for run in runs}
        found = [row for row in self.airflow.rows().task if row.run_id in ids and key in ("", row.key)]
        return ids_of(row for row in found if map_index in (None, row.map_index))

    def of_asset(self, name: str, key: str = "") -> frozenset[str]:
        """Ids of the blobs that this asset's rows name now."""
        found = [row for row in self.airflow.rows().asset if row.name == name and key in ("", row.key)]
        return ids_of(found)

    def live(self) -> frozenset[str]:
        """Ids of the blobs that any row of the two tables names now."""
        rows = self.airflow.rows()
        return ids_of([*rows.task, *rows.asset])

    def archives(self) -> list[str]:
        """The tables in which ``airflow db clean`` keeps rows of task state."""
        return [
            table
            for table in self.airflow.database.tables()
            if table.startswith("_airflow_deleted__task_state_store")
        ]

    def archived(self) -> frozenset[str]:
        """Ids of the blobs that archived rows name."""
        values = [value for table in self.archives() for (value,) in self.airflow.sql(f"SELECT value FROM {table}")]
        return frozenset(ID.findall("\n".join(values)))

    def stored(self) -> frozenset[str]:
        """Ids of the blobs that the folder holds."""
        return frozenset(path.name.partition(".")[0] for path in self.blobs())

    def blobs(self) -> Iterator[Path]:
        """The files of all blobs, without what the collector keeps for itself."""
        return (path for path in self.folder.rglob("*.json.zst") if "_gc" not in path.parts)

    def new_blobs(self, act: Callable[[], object]) -> frozenset[str]:
        """Ids of the blobs that ``act`` brought into the folder."""
        before = self.stored()
        act()
        return self.stored() - before

    def fate(self, lost: frozenset[str] = frozenset(), kept: frozenset[str] = frozenset()) -> Fate:
        """The fate of these blobs, once the rows are seen to be gone, or there, and nobody touched the blobs."""
        live, stored = self.live(), self.stored()
        assert not lost & live, "rows that had to vanish are still there"
        assert kept <= live, "rows that had to stay have vanished"
        assert lost | kept <= stored, "a blob was deleted before the collector came"
        return Fate(lost, kept)

    def state(self, run: Run, task_id: str = "write") -> str:
        """The path of a task instance in the REST API."""
        return f"/api/v2/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/{task_id}"

    def command(self, *arguments: str, env: Mapping[str, str] | None = None) -> str:
        """What an ``airflow`` command printed; it has to succeed."""
        return self.commands(arguments, env=env)

    def commands(self, *lines: tuple[str, ...], env: Mapping[str, str] | None = None) -> str:
        """What ``airflow`` commands printed that ran one after the other in one process."""
        done = self.airflow.ask("commands", lines=lines, env=dict(env or {}))
        assert done["code"] == 0, done["output"]
        return str(done["output"])


def ids_of(rows: Iterable[TaskRow | AssetRow]) -> frozenset[str]:
    """Ids of the blobs that the rows name."""
    return frozenset(id_of(row.ref) for row in rows if row.ref is not None)


def id_of(ref: str) -> str:
    """The id of the blob that a ref names."""
    (blob_id,) = ID.findall(ref)
    return str(blob_id)


def written_by(row: TaskRow | AssetRow) -> list[Any]:
    """The value that the probe DAGs write into this row."""
    if isinstance(row, AssetRow):
        return [row.name, row.key]
    return [row.dag_id, row.run_id, row.task_id, row.map_index, row.key]
