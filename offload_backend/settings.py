"""Every setting, its default and its unit; the source of ``[offload_backend]`` in ``airflow config list``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from offload_backend.durations import format_duration, parse_duration
from offload_backend.errors import ConfigError
from offload_backend.location import is_location

__all__ = ["SECTION", "Settings", "default_text"]

SECTION = "offload_backend"
MIB = 1024 * 1024


class Settings(BaseModel):
    """Validated once, never changed. Values may be text, as configuration files hold them."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    path: str = Field(
        "",
        description="Where blobs go: a URL such as s3://bucket/prefix, s3://conn_id@bucket/prefix with "
        "the credentials of an Airflow connection, or file:///shared/state. When empty, "
        "[common.io] state_store_objectstorage_path is used; without Airflow, ~/.local/share/offload-backend.",
        examples=["s3://conn_id@bucket/airflow-state"],
    )
    read_paths: tuple[str, ...] = Field(
        (),
        description="Further locations, separated by white space, whose refs may be read; nothing is "
        "written there. Name the old path here after moving to another one.",
        examples=["s3://conn_id@old-bucket/state"],
    )
    deployment: str = Field(
        "default",
        min_length=1,
        max_length=64,
        pattern=r"^[A-Za-z0-9_-]+$",
        description="Name of this Airflow deployment. Deployments that share a path need different names; "
        "the refs of another deployment are refused.",
        examples=["production"],
    )
    inline_limit: int = Field(
        65_535,
        ge=0,
        description="Bytes a row may take before its value is offloaded; 0 offloads everything. In Airflow, "
        "[state_store] max_value_storage_bytes applies as well, so that no row trips its warning.",
        examples=["16384"],
    )
    max_value_bytes: int = Field(
        64 * 1024 * MIB,
        ge=1,
        description="Largest value, in bytes before compression, that is written or read. It bounds what a "
        "forged ref can make a worker allocate.",
        examples=["2147483648"],
    )
    compression_level: int = Field(
        1,
        ge=0,
        le=19,
        description="Zstandard level of new blobs, 1 (fast) to 19; 0 stores everything as it is. What does not get "
        "smaller is stored as it is at any level.",
        examples=["3"],
    )
    copy_unchanged: bool = Field(
        True,
        description="Where a key's next value has 5 MiB and more in common with the one before it, S3 copies those "
        "and only the rest is sent. Each blob is still whole.",
        examples=["false"],
    )
    codec: Literal["auto", "pickle"] = Field(
        "auto",
        description="auto: what JSON holds exactly is stored as JSON, the rest as a tree of typed values. pickle: "
        "what neither holds is pickled, and pickles are read: who can write rows and blobs can then run code here.",
        examples=["pickle"],
    )
    allowed_classes: tuple[str, ...] = Field(
        (),
        description="Classes (dataclass, pydantic, attrs, enum, named tuple) that values may hold: "
        "globs of dotted names, separated by white space. [core] allowed_deserialization_classes applies as well.",
        examples=["my_company.state.*"],
    )
    allowed_classes_regexp: tuple[str, ...] = Field(
        (),
        description="The same as regular expressions for whole names, as in Airflow's own setting of this name.",
        examples=[r"my_company\.state\..*"],
    )
    reclaim: Literal["eager", "never"] = Field(
        "eager",
        description="eager: dead blobs are deleted where that is proven: on delete, on clear, and when a key is "
        "overwritten; in Airflow by the task that wrote or read them, now and then while it runs and when it ends. "
        "never: nothing is deleted but by offload expire, gc and erase. Choose never where the database may be "
        "restored to a point in time, and before working on a copy of it: two databases would own the same blobs.",
        examples=["never"],
    )
    transport: Literal["direct", "boto3", "fsspec"] = Field(
        "direct",
        description="Client for s3:// paths. direct: blobs go over HTTP without an SDK, and with boto3 where the "
        "configuration needs it. boto3. fsspec: s3fs. Other schemes always use fsspec.",
        examples=["fsspec"],
    )
    concurrency: int = Field(
        4, ge=1, le=64, description="Parts of one blob in flight at the same time.", examples=["8"]
    )
    part_size: int = Field(
        8 * MIB,
        ge=5 * MIB,
        le=1024 * MIB,
        description="Bytes of one part of a multipart upload; a smaller blob is one request.",
        examples=["16777216"],
    )
    max_attempts: int = Field(
        6, ge=1, le=50, description="Tries of one storage request, the first included.", examples=["10"]
    )
    connect_timeout: float = Field(
        10.0, gt=0, description="Seconds to wait for a connection to the store.", examples=["5"]
    )
    read_timeout: float = Field(
        60.0, gt=0, description="Seconds to wait for the next bytes of an answer.", examples=["30"]
    )
    storage_options: SecretStr = Field(
        SecretStr(""),
        description="JSON object of options for the storage client (fsspec storage_options, or endpoint_url, key, "
        "secret, token, region_name and profile for S3). An Airflow connection is the better place for secrets.",
        examples=['{"endpoint_url": "https://minio.example"}'],
    )
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

    @field_validator("read_paths", "allowed_classes", "allowed_classes_regexp", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(value.split()) if isinstance(value, str) else value

    @field_validator("allowed_classes_regexp")
    @classmethod
    def _each_regexp(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(re.compile(value).pattern for value in values)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None

    @field_validator("path")
    @classmethod
    def _one_path(cls, value: str) -> str:
        return _checked_path(value)

    @field_validator("read_paths")
    @classmethod
    def _each_path(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(_checked_path, values))

    @field_validator("storage_options", mode="before")
    @classmethod
    def _json_object(cls, value: object) -> object:
        if isinstance(value, Mapping):
            return json.dumps(value)
        if isinstance(value, str) and value and not isinstance(json.loads(value), dict):
            raise ValueError("must be a JSON object")
        return value

    @property
    def options(self) -> dict[str, Any]:
        """``storage_options`` as a dictionary."""
        text = self.storage_options.get_secret_value()
        return dict(json.loads(text)) if text else {}

    def replaced(self, changes: Mapping[str, object]) -> Settings:
        """The same settings with some others in their place, validated."""
        return Settings.load({**self.model_dump(), **changes})

    def beside_airflow(
        self, *, peer_path: str, row_limit: int, classes: Sequence[str] = (), classes_regexp: Sequence[str] = ()
    ) -> Settings:
        """The settings that get along with Airflow's own.

        ``peer_path``, where Airflow's common-io backend writes, is the path where none is set; where
        another one is, what that backend wrote stays readable. ``row_limit``, in bytes, is what Airflow
        allows a row before it warns (0: anything); no row that is kept inline gets longer. ``classes`` and
        ``classes_regexp`` are those that Airflow itself deserializes.
        """
        changes: dict[str, object] = {}
        if classes:
            changes["allowed_classes"] = (*self.allowed_classes, *classes)
        if classes_regexp:
            changes["allowed_classes_regexp"] = (*self.allowed_classes_regexp, *classes_regexp)
        if peer_path and not self.path:
            changes["path"] = peer_path
        elif peer_path not in ("", self.path, *self.read_paths) and is_location(peer_path):
            changes["read_paths"] = (*self.read_paths, peer_path)
        if 0 < row_limit < self.inline_limit:
            changes["inline_limit"] = row_limit
        return self.replaced(changes) if changes else self

    @classmethod
    def load(cls, values: Mapping[str, object]) -> Settings:
        """Settings from configuration text or Python values; :class:`ConfigError` names the bad one."""
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise _config_error(error) from None


def default_text(name: str) -> str:
    """The default of a setting as a configuration file holds it."""
    default = Settings.model_fields[name].default
    if isinstance(default, SecretStr):
        return default.get_secret_value()
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, timedelta):
        return format_duration(default)
    return " ".join(default) if isinstance(default, tuple) else str(default)


def _checked_path(value: str) -> str:
    if any(mark in value for mark in "#?") or any(char.isspace() for char in value):
        raise ValueError("a path holds no '#', '?' or white space")
    return value.rstrip("/") if not value.endswith("://") else value


def _config_error(error: ValidationError) -> ConfigError:
    first = error.errors(include_url=False, include_input=False)[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    field = Settings.model_fields.get(name)
    if field is None:
        known = ", ".join(sorted(Settings.model_fields))
        return ConfigError(f"[{SECTION}] has no setting {name!r}", hint=f"the settings are: {known}")
    example = f"; for example {name} = {field.examples[0]}" if field.examples else ""
    return ConfigError(f"[{SECTION}] {name}: {first['msg']}", hint=f"correct [{SECTION}] {name}{example}")
