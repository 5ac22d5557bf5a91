"""Pages of an API are fetched one after the other; rows and cursor are committed together, or not at all.

With two keys, one for the rows and one for the cursor, a kill between the two would lose a page or take it twice.
"""

from __future__ import annotations

from airflow.sdk import DAG, task

from offload_backend import Checkpointer

PAGES, ROWS_OF_A_PAGE = 40, 50


def fetch(cursor):
    """Stands for the API: a page of rows, and the cursor of the next one, or None."""
    first = cursor * ROWS_OF_A_PAGE
    rows = [{"id": number, "text": f"row {number}"} for number in range(first, first + ROWS_OF_A_PAGE)]
    return rows, cursor + 1 if cursor + 1 < PAGES else None


with DAG("paginated_ingest", schedule=None, default_args={"retries": 3}):

    @task
    def ingest(task_state_store=None):
        fetched = 0
        with Checkpointer(task_state_store, "ingest", every=10, seconds=30) as checkpoint:
            state = checkpoint.resume(start=lambda: {"cursor": 0, "rows": []})
            while state["cursor"] is not None:
                rows, state["cursor"] = fetch(state["cursor"])
                state["rows"] += rows
                fetched += 1
                checkpoint.offer(state)
        # Here the rows go where they belong, in one go that may be repeated: a partition that is overwritten,
        # one transaction. A worker that dies after it and before the task's success does it again.
        return {
            "rows": len(state["rows"]),
            "distinct": len({row["id"] for row in state["rows"]}),
            "fetched": fetched,
        }

    ingest()
