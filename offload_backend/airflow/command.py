"""``airflow offload …``: the ``offload`` command among Airflow's own.

Every ``airflow`` command imports this module, so it imports nothing else of ours.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from airflow.cli.cli_config import ActionCommand, Arg, lazy_load_command

if TYPE_CHECKING:
    from airflow.cli.cli_config import CLICommand

__all__ = ["get_commands"]

_HELP = "Large task and asset state in object storage"


class _Everything(Arg):  # type: ignore[misc]  # Airflow's types are not followed
    """All that follows, options too, for a parser of its own."""

    def __init__(self) -> None:
        super().__init__(
            flags=("arguments",), nargs=argparse.REMAINDER, metavar="…", help="See airflow offload --help"
        )

    def add_to_parser(self, parser: argparse.ArgumentParser) -> None:
        # Otherwise argparse would answer --help itself, and refuse an option that comes first.
        parser.prefix_chars = ""
        # By this name Airflow knows commands whose stdout is data, and logs to stderr instead.
        parser.set_defaults(output=None)
        super().add_to_parser(parser)


def get_commands() -> list[CLICommand]:
    """What the provider adds to ``airflow``: one command, with the same verbs, options and exit codes."""
    run = lazy_load_command("offload_backend.cli.below_airflow.run")
    return [ActionCommand(name="offload", help=_HELP, func=run, args=(_Everything(),))]
