"""The options that the verbs have in common."""

from __future__ import annotations

from datetime import timedelta
from enum import Enum
from typing import Annotated

import typer

from offload_backend.errors import ConfigError

__all__ = [
    "AcceptOption",
    "CoreStoreOption",
    "DeleteOption",
    "DeploymentOption",
    "MaxCountOption",
    "MaxRatioOption",
    "MinAgeOption",
    "Output",
    "OutputOption",
    "PathOption",
    "QuarantineOption",
    "duration_of",
]


class Output(str, Enum):
    """How a verb says what it did."""

    TABLE = "table"
    JSON = "json"


PathOption = Annotated[
    str | None, typer.Option("--path", help="Where the blobs are, instead of \\[offload_backend] path.")
]
CoreStoreOption = Annotated[
    str | None,
    typer.Option(
        "--core-store",
        help="Where the rows are: sqlite:////… or postgresql://…, airflow+postgresql://…, airflow, "
        "airflow-rest+https://… (with OFFLOAD_AIRFLOW_TOKEN, or user:password@ in it) or "
        "roots+file:///….jsonl.gz.",
    ),
]
DeploymentOption = Annotated[
    str | None, typer.Option("--deployment", help="Instead of \\[offload_backend] deployment.")
]
OutputOption = Annotated[Output, typer.Option("--output", help="For people or for programs.")]
DeleteOption = Annotated[bool, typer.Option("--delete", help="Do it; without this, only say what would go.")]
AcceptOption = Annotated[
    list[str] | None, typer.Option("--accept", help="Name of a refusal to override; may be repeated.")
]
MinAgeOption = Annotated[str | None, typer.Option("--min-age", help="Instead of gc_min_age: 96h.")]
QuarantineOption = Annotated[str | None, typer.Option("--quarantine", help="Instead of gc_quarantine: 14d.")]
MaxRatioOption = Annotated[float | None, typer.Option("--max-ratio", help="Instead of gc_max_ratio: 0.5.")]
MaxCountOption = Annotated[int | None, typer.Option("--max-count", help="Instead of gc_max_count: 1000000.")]


def duration_of(option: str, text: str, example: str) -> timedelta:
    """What the option was given: a duration as the settings have them, or :class:`ConfigError`."""
    from offload_backend.durations import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise ConfigError(f"{option} {error}", hint=f"for example {option} {example}") from None
