"""``airflow offload …``: the verbs where Airflow's own command starts them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typer.main import get_command

from offload_backend.cli.main import app

if TYPE_CHECKING:
    import argparse

__all__ = ["run"]


def run(args: argparse.Namespace) -> None:
    """Run the verb that ``args.arguments`` begin with; ends the process with its exit code."""
    command = get_command(app)
    # They would complete the words after `airflow` by this command's name.
    command.params = [param for param in command.params if "completion" not in (param.name or "")]
    command.main(args=args.arguments, prog_name="airflow offload")
