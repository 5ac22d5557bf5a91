"""A process of its own for everything that is measured."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from typing import Any

from benchmarks.servers import ROOT

__all__ = ["CaseFailedError", "prepare", "run_forked", "run_started", "run_together"]

_LIMIT = 900
_CONTEXT = multiprocessing.get_context("forkserver")


class CaseFailedError(RuntimeError):
    """A case raised, died or took longer than fifteen minutes."""


def prepare(home: str) -> None:
    """Set what every case finds in its environment, before the first one."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "AIRFLOW_"))]:
        del os.environ[name]
    # Without it every process would compile Airflow anew.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ.update(
        AIRFLOW_HOME=home,
        AIRFLOW__LOGGING__LOGGING_LEVEL="WARNING",
        AWS_CONFIG_FILE=f"{home}/no-aws-config",
        AWS_SHARED_CREDENTIALS_FILE=f"{home}/no-aws-credentials",
        AWS_EC2_METADATA_DISABLED="true",
        NO_PROXY="127.0.0.1",
    )
    _CONTEXT.set_forkserver_preload(["tests.seam"])


def run_forked(kind: str, environment: dict[str, str], endpoint: str, **case: Any) -> dict[str, Any]:
    """The figures of one case, from a child of a process that imported Airflow and nothing else.

    So do Airflow's supervisors start their tasks: neither backend, no driver and no connection is there yet.
    """
    started = _start({"kind": kind, "environment": environment, "endpoint": endpoint, **case})
    return _answer(f"{kind} {case.get('shape', '')}", *started)


def run_together(
    kind: str, count: int, environment: dict[str, str], endpoint: str, **case: Any
) -> list[dict[str, Any]]:
    """The figures of so many cases at the same time, each in a child as of :func:`run_forked`.

    Their option ``together`` is a barrier for all of them, ``index`` a number for each.
    """
    options = {**case.pop("options", {}), "together": _CONTEXT.Barrier(count)}
    asked = {"kind": kind, "environment": environment, "endpoint": endpoint, **case}
    started = [_start({**asked, "options": {**options, "index": index}}) for index in range(count)]
    try:
        return [_answer(kind, *each) for each in started]
    finally:
        for process, _ in started:
            _end(process)


def run_started(environment: dict[str, str]) -> dict[str, Any]:
    """The figures of ``benchmarks.start`` in a Python process that is started for it."""
    command = [sys.executable, "-m", "benchmarks.start", repr(time.monotonic())]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=_LIMIT,
        check=False,
    )
    if done.returncode:
        raise CaseFailedError(f"start: {done.stderr}")
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _start(asked: dict[str, Any]) -> tuple[Any, Any]:
    """A child at work on the case, and where its answer comes from."""
    ours, theirs = _CONTEXT.Pipe(duplex=False)
    process = _CONTEXT.Process(target=_child, args=(asked, theirs), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def _answer(what: str, process: Any, ours: Any) -> dict[str, Any]:
    try:
        figures = ours.recv() if ours.poll(_LIMIT) else "no answer in time"
    except EOFError:
        process.join(5)
        figures = f"died with exit code {process.exitcode}"
    finally:
        _end(process)
    if not isinstance(figures, dict):
        raise CaseFailedError(f"{what}: {figures}")
    return figures


def _child(asked: dict[str, Any], to: Any) -> None:
    from benchmarks.cases import Case, answer

    answer(Case(**asked), to)


def _end(process: Any) -> None:
    process.join(5)
    if process.is_alive():
        process.kill()
        process.join()
