"""Where values go, and how they are written."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import BaseModel, Field, field_validator

__all__ = ["ValueSettings"]

MIB = 1024 * 1024


class ValueSettings(BaseModel):
    """Settings that every deployment may want to choose."""

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


def _checked_path(value: str) -> str:
    if any(mark in value for mark in "#?") or any(char.isspace() for char in value):
        raise ValueError("a path holds no '#', '?' or white space")
    user, mark, _ = value.partition("://")[2].partition("/")[0].rpartition("@")
    if mark and ":" in user:
        raise ValueError("a path holds no password: put credentials into an Airflow connection or storage_options")
    return value.rstrip("/") if not value.endswith("://") else value
