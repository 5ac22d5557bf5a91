"""The ``offload`` command.

Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 refused (nothing was deleted), 4 partial (some
deletes failed, or some rows were not rewritten), 5 dangling refs or damaged blobs were found.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from offload_backend import __version__
from offload_backend.cli.cat import cat
from offload_backend.cli.doctor import doctor
from offload_backend.cli.erase import erase
from offload_backend.cli.expire import expire
from offload_backend.cli.gc import gc
from offload_backend.cli.ls import ls
from offload_backend.cli.migrate import migrate
from offload_backend.cli.rekey import rekey
from offload_backend.cli.show import show
from offload_backend.cli.stats import stats
from offload_backend.cli.tables import plain
from offload_backend.cli.verify import verify
from offload_backend.errors import (
    BlobCorruptError,
    BlobNotFoundError,
    ConfigError,
    IncompleteError,
    OffloadError,
    RefusedError,
)

__all__ = ["app"]

EXIT_CODES: dict[type[OffloadError], int] = {
    ConfigError: 2,
    RefusedError: 3,
    IncompleteError: 4,
    BlobNotFoundError: 5,
    BlobCorruptError: 5,
}


class _Verbs(TyperGroup):
    """Says errors of ours in words instead of a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except OffloadError as error:
            typer.echo(plain(f"offload: {error}", keep="\n"), err=True)
            raise typer.Exit(EXIT_CODES.get(type(error), 1)) from None


app = typer.Typer(cls=_Verbs, no_args_is_help=True, pretty_exceptions_show_locals=False)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"offload-backend {__version__}")
        raise typer.Exit


@app.callback()
def offload(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Large Airflow task and asset state in object storage."""


@app.command()
def demo(
    keep: Annotated[
        Path | None, typer.Option(help="Work in this directory, new or empty, and leave it for a look.")
    ] = None,
) -> None:
    """Kill a task that stores checkpoints, and watch its retry resume; without Airflow, in seconds."""
    from offload_backend.cli.demo import run_demo

    run_demo(keep)


app.command()(ls)
app.command()(show)
app.command()(cat)
app.command()(stats)
app.command()(doctor)
app.command()(expire)
app.command()(erase)
app.command()(verify)
app.command()(rekey)
app.add_typer(migrate, name="migrate")
app.add_typer(gc, name="gc")
