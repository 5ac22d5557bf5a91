"""``offload migrate``: in from Airflow's own backend and from long rows, from place to place, and out again."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from offload_backend.cli.opening import open_deployment
from offload_backend.cli.options import CoreStoreOption, DeploymentOption, Output, OutputOption, PathOption
from offload_backend.cli.rewriting import (
    DagOption,
    DryRunOption,
    GraceOption,
    LimitOption,
    Told,
    Wanted,
    rewrite_rows,
    tell,
)
from offload_backend.errors import ConfigError

if TYPE_CHECKING:
    from offload_backend.cli.opening import Deployment
    from offload_backend.lifecycle.remaking import Remaking

__all__ = ["migrate"]

ROW_LIMIT = "65535"
"""Airflow's default of ``[state_store] max_value_storage_bytes``."""

migrate = typer.Typer(
    no_args_is_help=True,
    help="Rewrite rows, while tasks run, so that their values are somewhere else. --dry-run only counts.",
)


class Target(str, Enum):
    """Where values go that leave."""

    PLAIN = "plain"
    COMMON_IO = "common-io"


OldOption = Annotated[
    str, typer.Option("--from", help="One of \\[offload_backend] read_paths: where blobs are now.")
]
TargetOption = Annotated[
    Target,
    typer.Option(
        "--to",
        help="plain: JSON in the rows, as Airflow stores it without a worker backend. common-io: objects of the "
        "backend that ships with Airflow.",
    ),
]
DeleteOldOption = Annotated[
    bool,
    typer.Option(
        "--delete-old", help="Delete each old blob, --grace after its row has changed. Otherwise they stay."
    ),
]


@migrate.command("in")
def move_in(
    *,
    dry_run: DryRunOption = False,
    dag: DagOption = None,
    limit: LimitOption = 0,
    path: PathOption = None,
    core_store: CoreStoreOption = None,
    deployment: DeploymentOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Bring in what Airflow's common-io backend has stored, and rows of JSON that are longer than inline_limit.

    Nothing that is there is deleted. Workers must have this backend already: the other one does not read its blobs.
    """
    from offload_backend.lifecycle.migrate import MovingIn

    told = Told(
        elsewhere="stay",
        archived="keep what they name, or drop them (airflow db drop-archived)",
        kept="as reclaim = never says",
    )
    with redirect_stdout(sys.stderr):  # what hooks and Airflow print is no output of ours
        opened = open_deployment(path, core_store, deployment)
        moving = MovingIn(opened.settings, opened.open_store)
        report, places = rewrite_rows(opened, moving, Wanted(dry_run, dag, limit))
    tell(report, places, output, told)


@migrate.command("move")
def move_here(
    *,
    old: OldOption,
    delete_old: DeleteOldOption = False,
    dry_run: DryRunOption = False,
    dag: DagOption = None,
    limit: LimitOption = 0,
    grace: GraceOption = "10m",
    path: PathOption = None,
    core_store: CoreStoreOption = None,
    deployment: DeploymentOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Copy blobs from another path, bucket or provider to the configured path, verified, and let rows name them."""
    from offload_backend.lifecycle.migrate import MovingHere

    told = Told(
        elsewhere="there are of Airflow's own backend or of another deployment, and stay: so must the old location",
        archived="keep the old location readable, or drop them (airflow db drop-archived)",
        kept=_kept(delete_old),
    )
    with redirect_stdout(sys.stderr):
        opened = open_deployment(path, core_store, deployment)
        moving = MovingHere(opened.settings, opened.open_store, old)
        wanted = Wanted(dry_run, dag, limit, grace, delete_old)
        report, places = rewrite_rows(opened, moving, wanted, old=moving.old_path)
    tell(report, places, output, told)


@migrate.command("out")
def move_out(
    *,
    to: TargetOption,
    delete_old: DeleteOldOption = False,
    dry_run: DryRunOption = False,
    dag: DagOption = None,
    limit: LimitOption = 0,
    grace: GraceOption = "10m",
    path: PathOption = None,
    core_store: CoreStoreOption = None,
    deployment: DeploymentOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Take values back to plain rows, or to Airflow's common-io backend.

    Workers keep this backend until the last one is out: nothing else reads its blobs. What is more than JSON, or
    longer than a row may be, is listed and stays; the exit code is 4 then.
    """
    told = Told(
        elsewhere="stay",
        archived="keep their blobs, or drop them (airflow db drop-archived)",
        kept=_kept(delete_old),
    )
    with redirect_stdout(sys.stderr):
        opened = open_deployment(path, core_store, deployment)
        moving = _way_out(opened, to)
        report, places = rewrite_rows(opened, moving, Wanted(dry_run, dag, limit, grace, delete_old))
    tell(report, places, output, told)


def _kept(delete_old: bool) -> str:
    return "as reclaim = never says" if delete_old else "as --delete-old was not given"


def _way_out(opened: Deployment, to: Target) -> Remaking:
    from offload_backend.lifecycle.migrate_out import MovingToCommonIo, MovingToPlainRows

    if to is Target.PLAIN:
        limit = _number(opened, "state_store", "max_value_storage_bytes", ROW_LIMIT)
        return MovingToPlainRows(opened.settings, opened.open_store, row_limit=limit)
    return MovingToCommonIo(
        opened.settings,
        opened.open_store,
        path=opened.option("common.io", "state_store_objectstorage_path"),
        compression=opened.option("common.io", "state_store_objectstorage_compression"),
        threshold=_number(opened, "common.io", "state_store_objectstorage_threshold", "0"),
    )


def _number(opened: Deployment, section: str, name: str, default: str) -> int:
    text = opened.option(section, name) or default
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"[{section}] {name} is {text!r}", hint=f"set [{section}] {name} to bytes") from None
