"""How long blobs live, and where rows are without Airflow."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel, Field, SecretStr, field_validator

from offload_backend.durations import parse_duration

__all__ = ["LifecycleSettings"]


class LifecycleSettings(BaseModel):
    """Settings of the collector and of the embedded core store."""

    hooks: str = Field(
        "",
        description="Dotted path of a class with hooks (offload_backend.lifecycle.hooks.Hooks), made without "
        "arguments. Hooks of installed packages are found by the entry point group offload_backend.hooks.",
        examples=["my_company.state.Hooks"],
    )
    commit_window: timedelta = Field(
        timedelta(hours=6),
        gt=timedelta(0),
        description="Longest time from the beginning of an upload until its row is written. A set that takes "
        "longer fails. Units are s, m, h and d.",
        examples=["12h"],
    )
    gc_min_age: timedelta = Field(
        timedelta(hours=72),
        gt=timedelta(0),
        description="Collector: a blob younger than this is never a candidate. At least 24h, and more than "
        "commit_window.",
        examples=["96h"],
    )
    gc_quarantine: timedelta = Field(
        timedelta(days=7),
        ge=timedelta(0),
        description="Collector: how long a blob must have been marked before it is purged. At least as long as "
        "the database can be restored back in time.",
        examples=["35d"],
    )
    gc_max_ratio: float = Field(
        0.2,
        gt=0,
        le=1,
        description="Collector: refuse when a larger share of all blobs would go.",
        examples=["0.5"],
    )
    gc_max_count: int = Field(
        100_000, ge=1, description="Collector: refuse when more blobs would go at once.", examples=["1000000"]
    )
    gc_min_match: float = Field(
        0.999,
        gt=0,
        le=1,
        description="Collector: refuse when a smaller share of the refs that are old enough is found in the "
        "listing: a wrong bucket, prefix or credential.",
        examples=["0.99"],
    )
    gc_max_skew: timedelta = Field(
        timedelta(minutes=5),
        gt=timedelta(0),
        description="Collector: refuse when this machine's clock and the store's differ by more.",
        examples=["10m"],
    )
    core_store: SecretStr = Field(
        SecretStr(""),
        description="Without Airflow: where rows go, a URL such as sqlite:////var/lib/offload/state.db or "
        "postgresql://user:password@host/database. When empty, state.db below ~/.local/share/offload-backend. "
        "Tasks in Airflow have their rows in Airflow's own database.",
        examples=["postgresql://user@host/database"],
    )

    @field_validator("commit_window", "gc_min_age", "gc_quarantine", "gc_max_skew", mode="before")
    @classmethod
    def _duration(cls, value: object) -> object:
        return parse_duration(value) if isinstance(value, str) else value
