"""How the blob store is spoken to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal

from pydantic import BaseModel, Field, SecretStr, field_validator

from offload_backend.durations import parse_duration

__all__ = ["StorageSettings"]

MIB = 1024 * 1024


class StorageSettings(BaseModel):
    """Settings of the client; what it cannot do with them is an error when it is opened."""

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
    give_up_after: timedelta = Field(
        timedelta(minutes=3),
        gt=timedelta(0),
        description="How long a storage request may go on without progress, all its tries and pauses together, "
        "until it fails. Progress is a further MiB of it. Units are s, m, h and d.",
        examples=["10m"],
    )
    connect_timeout: float = Field(
        10.0, gt=0, description="Seconds that one try waits for a connection to the store.", examples=["5"]
    )
    read_timeout: float = Field(
        60.0, gt=0, description="Seconds that one try waits for the next bytes of an answer.", examples=["30"]
    )
    storage_options: SecretStr = Field(
        SecretStr(""),
        description="JSON object of options for the storage client (fsspec storage_options, or endpoint_url, key, "
        "secret, token, region_name and profile for S3). An Airflow connection is the better place for secrets.",
        examples=['{"endpoint_url": "https://minio.example"}'],
    )

    @field_validator("give_up_after", mode="before")
    @classmethod
    def _seconds(cls, value: object) -> object:
        return parse_duration(value) if isinstance(value, str) else value

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
