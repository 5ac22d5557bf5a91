"""The scheduler's part, on request: JSON lines in, JSON lines out. Runs with Airflow's environment.

Dependencies, mapping, try numbers, workloads and tokens are Airflow's own; only the decision *when* is ours,
so that a retry comes at once and in a known order. A task runs as under LocalExecutor: a fork, Airflow's
supervisor, a forked task process, the Execution API over HTTP.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
import tempfile
import time
import traceback
from typing import TYPE_CHECKING, Any

from airflow.api.common.trigger_dag import trigger_dag
from airflow.cli import cli_parser
from airflow.configuration import conf
from airflow.executors import workloads
from airflow.executors.base_executor import BaseExecutor
from airflow.jobs.job import Job
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.models.dagbag import DBDagBag
from airflow.models.dagrun import DagRun
from airflow.sdk import timezone
from airflow.sdk.execution_time import supervisor
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, TaskInstanceState
from airflow.utils.types import DagRunTriggeredByType
from sqlalchemy import select

if TYPE_CHECKING:
    import io

    from airflow.models.taskinstance import TaskInstance

SUPERVISOR_FAILED = 70  # sysexits.h EX_SOFTWARE


def prepare() -> None:
    """Create the database and read the dags folder into it."""
    parser = cli_parser.get_parser()
    for command in (["db", "migrate"], ["dags", "reserialize"]):
        with contextlib.redirect_stdout(sys.stderr):
            arguments = parser.parse_args(command)
            arguments.func(arguments)


def trigger(dag_id: str, conf: dict[str, Any], run_id: str) -> None:
    """Start a run and leave its tasks alone."""
    trigger_dag(
        dag_id=dag_id,
        run_id=run_id,
        conf=conf,
        triggered_by=DagRunTriggeredByType.TEST,
        run_after=timezone.utcnow(),
    )
    with create_session() as session:
        run = _run(session, dag_id, run_id)
        run.set_state(DagRunState.RUNNING)
        run.start_date = timezone.utcnow()


def ready(dag_id: str, run_id: str) -> list[dict[str, Any]]:
    """The task instances that a scheduler would run next, mapped ones expanded; the run's state follows."""
    with create_session() as session:
        run = _run(session, dag_id, run_id)
        decision = run.task_instance_scheduling_decisions(session=session)
        run.update_state(session=session, execute_callbacks=False)
        return [_describe(ti) for ti in decision.schedulable_tis]


def states(dag_id: str, run_id: str) -> dict[str, Any]:
    """State of the run and of all its task instances."""
    with create_session() as session:
        run = _run(session, dag_id, run_id)
        tis = run.get_task_instances(session=session)
        return {"run": run.state, "tasks": [_describe(ti) for ti in tis]}


def start(dag_id: str, run_id: str, task_id: str, map_index: int, env: dict[str, str]) -> dict[str, Any]:
    """Queue one try and run it in a fork; answers without waiting."""
    with create_session() as session:
        run = _run(session, dag_id, run_id)
        ti = _task_instance(session, dag_id, run_id, task_id, map_index)
        ti.task = run.get_dag().get_task(task_id)
        run.schedule_tis([ti], session=session)
        session.flush()
        session.refresh(ti)
        ti.state = TaskInstanceState.QUEUED
        ti.queued_dttm = timezone.utcnow()
        session.flush()
        workload = workloads.ExecuteTask.make(ti, generator=_tokens())
        answer = _describe(ti) | {"log": workload.log_path}
    pid = os.fork()
    if pid == 0:
        os._exit(_supervise(workload, env))
    return answer | {"pid": pid}


def wait(pid: int, seconds: float) -> int | None:
    """Exit code of the task process, as the supervisor saw it; None when it still runs after ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return 128 - code if code > 128 else code
        if time.monotonic() > deadline:
            return None
        time.sleep(0.02)


def give_up(dag_id: str, run_id: str, task_id: str, map_index: int, try_number: int) -> None:
    """As the scheduler does with a try that ended or fell silent without telling its end: fail it or retry it."""
    with create_session() as session:
        ti = _task_instance(session, dag_id, run_id, task_id, map_index)
        if ti.try_number == try_number and ti.state in (TaskInstanceState.QUEUED, TaskInstanceState.RUNNING):
            ti.task = _run(session, dag_id, run_id).get_dag().get_task(task_id)
            ti.handle_failure(error="ended without telling its end", session=session)


def sweep() -> None:
    """What the scheduler does each ``[scheduler] parsing_cleanup_interval`` with assets that no DAG has."""
    SchedulerJobRunner(job=Job())._update_asset_orphanage()


def commands(lines: list[list[str]], env: dict[str, str]) -> dict[str, Any]:
    """Run ``airflow`` commands in a fork, which spares them Airflow's imports: exit code and output."""
    with tempfile.TemporaryFile() as output:
        pid = os.fork()
        if pid == 0:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            os._exit(_commands(lines, env))
        _, status = os.waitpid(pid, 0)
        output.seek(0)
        return {"code": os.waitstatus_to_exitcode(status), "output": output.read().decode(errors="replace")}


def _commands(lines: list[list[str]], env: dict[str, str]) -> int:
    os.environ.update(env)
    try:
        for line in lines:
            parsed = cli_parser.get_parser().parse_args(line)
            parsed.func(parsed)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


@functools.cache
def _tokens() -> Any:
    return BaseExecutor().jwt_generator


def _supervise(workload: Any, env: dict[str, str]) -> int:
    os.environ.update(env)
    supervisor.MIN_HEARTBEAT_INTERVAL = conf.getint("workers", "min_heartbeat_interval")
    _look_often()
    try:
        code = BaseExecutor.run_workload(workload)
    except BaseException:
        traceback.print_exc()
        return SUPERVISOR_FAILED
    return 128 - code if code < 0 else code


def _look_often() -> None:
    # The supervisor sleeps to the next heartbeat when its task closes its sockets a moment before it exits.
    service = supervisor.ActivitySubprocess._service_subprocess

    def look(self: Any, max_wait_time: float, **options: Any) -> Any:
        return service(self, min(max_wait_time, 0.1), **options)

    supervisor.ActivitySubprocess._service_subprocess = look


def _run(session: Any, dag_id: str, run_id: str) -> DagRun:
    run = session.scalars(select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)).one()
    run.dag = DBDagBag().get_dag_for_run(run, session=session)
    return run


def _task_instance(session: Any, dag_id: str, run_id: str, task_id: str, map_index: int) -> TaskInstance:
    run = _run(session, dag_id, run_id)
    for ti in run.get_task_instances(session=session):
        if ti.task_id == task_id and ti.map_index == map_index:
            return ti
    raise LookupError(f"{dag_id}.{task_id}[{map_index}] is not in run {run_id}")


def _describe(ti: TaskInstance) -> dict[str, Any]:
    return {
        "id": str(ti.id),
        "task_id": ti.task_id,
        "map_index": ti.map_index,
        "try_number": ti.try_number,
        "state": None if ti.state is None else str(ti.state),
    }


_COMMANDS = (prepare, trigger, ready, states, start, wait, give_up, sweep, commands)
COMMANDS = {command.__name__: command for command in _COMMANDS}


def _serve(requests: io.TextIOBase, answers: io.TextIOBase) -> None:
    for line in requests:
        name, arguments = json.loads(line)
        try:
            answer = {"answer": COMMANDS[name](**arguments)}
        except Exception:
            answer = {"error": traceback.format_exc()}
        answers.write(json.dumps(answer, default=str) + "\n")
        answers.flush()


if __name__ == "__main__":
    # Airflow prints to standard output; only answers may go there.
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    _serve(sys.stdin, channel)
