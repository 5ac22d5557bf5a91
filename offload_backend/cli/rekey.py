"""``offload rekey``: blobs and refs by the keys that are named first, while tasks run."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
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

if TYPE_CHECKING:
    from offload_backend.lifecycle.remaking import RewriteReport
    from offload_backend.settings import Settings

__all__ = ["rekey"]

TOLD = Told(
    elsewhere="that name no blob of their own row here need it and stay: keep their keys, and accept those without",
    archived="keep their keys, or drop them",
    kept="as reclaim = never says",
)

DecryptOption = Annotated[
    bool,
    typer.Option("--decrypt", help="Take encrypted blobs out of encryption, before encryption_keys is emptied."),
]


def rekey(
    *,
    dry_run: DryRunOption = False,
    dag: DagOption = None,
    limit: LimitOption = 0,
    grace: GraceOption = "10m",
    decrypt: DecryptOption = False,
    path: PathOption = None,
    core_store: CoreStoreOption = None,
    deployment: DeploymentOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Write blobs anew with the first of encryption_keys, and sign refs anew with the first of signing_keys.

    Tasks may run meanwhile; what they set stays. May be stopped at any moment and run again: it goes on
    where it was. An old key may go once --dry-run finds no row that needs it.
    """
    from offload_backend.lifecycle.rekey import Rekeying

    with redirect_stdout(sys.stderr):  # what hooks and Airflow print is no output of ours
        opened = open_deployment(path, core_store, deployment)
        rekeying = Rekeying(opened.settings, opened.open_store, decrypt=decrypt)
        several = rekeying.ids_of_several()
        report, places = rewrite_rows(opened, rekeying, Wanted(dry_run, dag, limit, grace))
    lines = _unreadable(report, opened.settings)
    lines += [f"the id {name!r} stands for several keys: a blob of it may need any of them" for name in several]
    tell(report, places, output, TOLD, lines=lines, facts={"ids_of_several_keys": several})


def _unreadable(report: RewriteReport, settings: Settings) -> list[str]:
    """What tasks cannot read, or could not with a setting that is yet to be made, and no run of this mends."""
    lines = []
    for setting, what in (("unsigned_refs", "are not signed"), ("unencrypted_blobs", "name what is not encrypted")):
        count = report.lacking.get(setting, 0)
        if count and getattr(settings, setting) == "refuse":
            lines.append(
                f"{count:,} of those refs {what}, and {setting} is refuse: no task can read them; set it to "
                "accept, and bring them in with offload migrate"
            )
        elif count:
            lines.append(
                f"{count:,} of those refs {what}: with {setting} = refuse, no task could read them; before that, "
                "bring them in with offload migrate"
            )
    return lines
