"""Whether the demo showed what it claims, checked by other means than the backend's own."""

from __future__ import annotations

from demo.corpus import STEPS, enrich, fingerprint, load
from demo.observe import Blob, Bucket, download
from demo.report import Report, megabytes
from demo.stage import BUCKET, DAG, FOLDER, RUN_ID, TASK, Stage

__all__ = ["explain", "judge"]

KILLED_IN, RESUMED_AFTER, CHECKPOINTS = 6, 4, 4
AT_LEAST = 100_000_000


def judge(stage: Stage, state: str) -> None:
    """Check the run, the rows and the blob, and say what the crash cost."""
    report = stage.report
    report.expect(state == "success", f"the DAG run ended: {state}")
    if state != "success":
        report.line(stage.last_words())
        return
    report.phase("checking, with an S3 client, BLAKE3, Zstandard and JSON alone")
    blob = download(stage.s3, stage.rows.ref, FOLDER / "checkpoint.json.zst")
    _judge_tries(stage)
    _judge_checkpoints(stage)
    _judge_blob(stage, blob)
    _cost(stage)


def _judge_tries(stage: Stage) -> None:
    log = stage.first_try_log()
    signalled = log.exists() and "SIGKILL" in log.read_text(errors="replace")
    killed, resumed = _steps(stage, "killed"), _steps(stage, "resumed")
    stage.report.expect(
        killed == [KILLED_IN] and signalled,
        f"the first try was ended by SIGKILL in step {KILLED_IN}, says Airflow's log",
    )
    stage.report.expect(
        resumed == [RESUMED_AFTER],
        f"the second try resumed after step {RESUMED_AFTER} instead of starting with step 1",
    )


def _judge_checkpoints(stage: Stage) -> None:
    smallest = min((rows.ref.raw for rows in stage.stored), default=0)
    widest = max((len(rows.checkpoint) for rows in stage.stored), default=0)
    stage.report.expect(
        len(stage.stored) == CHECKPOINTS and smallest >= AT_LEAST,
        f"{len(stage.stored)} checkpoints, the smallest {megabytes(smallest)} of JSON; longest row {widest} bytes",
    )


def _judge_blob(stage: Stage, blob: Blob) -> None:
    ref = stage.rows.ref
    stage.report.expect(
        (blob.digest, blob.damaged, blob.size, blob.raw_size) == (ref.digest, 0, ref.size, ref.raw),
        f"the blob has the size and the BLAKE3 that the row states ({ref.digest[:12]}…), and so has every frame",
    )
    undisturbed = load()
    for step in range(STEPS):
        enrich(undisturbed, step)
    same = fingerprint(blob.value["reviews"]) == fingerprint(undisturbed) and blob.value["steps_done"] == STEPS
    stage.report.expect(same, "its content is what the same work without a crash computes")


def _cost(stage: Stage) -> None:
    worked = _steps(stage, "worked")
    again, anew = len(worked) - STEPS, KILLED_IN - 1
    stage.report.line(
        f"the crash cost {again} finished step and the one it hit; without a checkpoint it would have cost {anew} "
        f"and the one it hit"
    )
    bucket, current = Bucket.of(stage.s3, BUCKET), stage.rows.ref.size
    stage.report.line(
        f"the bucket keeps {bucket.objects - 1} superseded checkpoints, {megabytes(bucket.size - current)}, "
        "until the collector takes them (offload gc, see README)"
    )


def _steps(stage: Stage, what: str) -> list[int]:
    return [event["step"] for event in stage.rows.progress if event["what"] == what]


def explain(report: Report) -> None:
    """How to look at all of it when the servers are gone."""
    database, blob = ".demo/airflow/airflow.db", ".demo/checkpoint.json.zst"
    log = f".demo/airflow/logs/dag_id={DAG}/run_id={RUN_ID}/task_id={TASK}/attempt=1.log"
    report.console.print("\n[bold]Look for yourself[/bold] (needs zstd, jq, sqlite3 and b3sum)")
    for command in (
        f"zstd -dc {blob} | jq -c '.steps_done, (.reviews | length), .reviews[0].analysis'",
        f"sqlite3 {database} 'select key, length(value), value from task_state_store'",  # noqa: S608 - for a reader
        f"tail -c SEAL {blob} | b3sum     # the seal and the blake3 in that row",
        f"grep SIGKILL {log}",
        "make demo ARGS=--keep     # leaves Airflow's own pages open until Ctrl-C",
    ):
        report.console.print(f"  {command}", markup=False)
