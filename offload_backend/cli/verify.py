"""``offload verify``: does every ref have its blob, and which blobs have no ref?"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from offload_backend.cli.collecting import DANGLING, Place, attempt, collector, tell
from offload_backend.cli.options import (
    CoreStoreOption,
    DeploymentOption,
    MinAgeOption,
    Output,
    OutputOption,
    PathOption,
)

__all__ = ["verify"]


def verify(
    *,
    contents: Annotated[
        bool, typer.Option("--contents", help="Read every blob that a row names, and check its digest.")
    ] = False,
    path: PathOption = None,
    core_store: CoreStoreOption = None,
    deployment: DeploymentOption = None,
    min_age: MinAgeOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Look for blobs without a row, and for rows whose blob is gone or damaged: then exit code 5.

    Deletes nothing.
    """
    from offload_backend.lifecycle.verify import verify as verb

    with collector(Place(path, core_store, deployment), gc_min_age=min_age) as opened:
        outcome = attempt(opened, lambda: verb(opened, contents=contents))
    if outcome.report is not None and (outcome.report.dangling or outcome.report.corrupt):
        outcome = replace(outcome, code=DANGLING)
    tell(output, {"verify": outcome})
