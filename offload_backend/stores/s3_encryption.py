"""Server-side encryption: what S3 is told of it when an object is made. Whoever reads it need not tell anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from offload_backend.errors import ConfigError

__all__ = ["OPTION", "headers_for", "told_of_encryption"]

OPTION = "s3_additional_kwargs"
"""The storage option, as s3fs calls it."""

_HEADERS = {
    "ServerSideEncryption": "x-amz-server-side-encryption",
    "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
    "SSEKMSEncryptionContext": "x-amz-server-side-encryption-context",
    "BucketKeyEnabled": "x-amz-server-side-encryption-bucket-key-enabled",
}


def told_of_encryption(options: Mapping[str, Any]) -> dict[str, Any]:
    """What PutObject and CreateMultipartUpload are to be told. Raises :class:`ConfigError` for anything else."""
    given = options.get(OPTION) or {}
    known = ", ".join(_HEADERS)
    if not isinstance(given, Mapping) or not given.keys() <= _HEADERS.keys():
        raise ConfigError(
            f"[offload_backend] storage_options: {OPTION} holds what is not about server-side encryption",
            hint=f"what it may hold is: {known}; with transport = fsspec, whatever s3fs takes",
        )
    if not all(isinstance(value, bool if name == "BucketKeyEnabled" else str) for name, value in given.items()):
        raise ConfigError(
            f"[offload_backend] storage_options: {OPTION} holds a value of a wrong type",
            hint='for example {"ServerSideEncryption": "aws:kms", "BucketKeyEnabled": true}',
        )
    return dict(given)


def headers_for(told: Mapping[str, Any]) -> dict[str, str]:
    """The same as the headers of a request."""
    return {_HEADERS[name]: value if isinstance(value, str) else str(value).lower() for name, value in told.items()}
