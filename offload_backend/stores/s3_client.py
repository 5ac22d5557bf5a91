"""boto3 clients from settings, for use without Airflow's connections."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from offload_backend.errors import ConfigError
from offload_backend.settings import Settings

if TYPE_CHECKING:
    from botocore.config import Config

__all__ = ["client_config", "client_maker", "require_boto3", "sorted_options"]

_SESSION = {
    "key": "aws_access_key_id",
    "aws_access_key_id": "aws_access_key_id",
    "secret": "aws_secret_access_key",
    "aws_secret_access_key": "aws_secret_access_key",
    "token": "aws_session_token",
    "aws_session_token": "aws_session_token",
    "region_name": "region_name",
    "profile": "profile_name",
    "profile_name": "profile_name",
}
_CLIENT = {"endpoint_url": "endpoint_url", "verify": "verify"}
_SPARE_CONNECTIONS = 10


def client_config(settings: Settings) -> Config:
    """How every client of ours retries, waits and checks.

    Answers are not checked by S3's own checksums where those are optional: the digest in the ref
    covers the blob, and S3-compatible stores often get them wrong for ranges.
    """
    require_boto3()
    from botocore.config import Config

    return Config(
        retries={"mode": "standard", "total_max_attempts": settings.max_attempts},
        connect_timeout=settings.connect_timeout,
        read_timeout=settings.read_timeout,
        max_pool_connections=settings.concurrency + _SPARE_CONNECTIONS,
        response_checksum_validation="when_required",
        tcp_keepalive=True,
    )


def client_maker(options: Mapping[str, Any]) -> Callable[[Config], Any]:
    """A function that builds a client from ``storage_options``; what they leave out, AWS's chain finds.

    Raises :class:`ConfigError` for an option that is not known, at once.
    """
    session_options, client_options = sorted_options(options)

    def make_client(config: Config) -> Any:
        require_boto3()
        from boto3.session import Session

        return Session(**session_options).client("s3", config=config, **client_options)

    return make_client


def sorted_options(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What belongs to a session and what to a client; fsspec's ``client_kwargs`` may hold either."""
    given = {**options, **(options.get("client_kwargs") or {})}
    given.pop("client_kwargs", None)
    unknown = sorted(given.keys() - _SESSION.keys() - _CLIENT.keys())
    if unknown:
        known = ", ".join(sorted({*_SESSION, *_CLIENT, "client_kwargs"}))
        raise ConfigError(
            f"[offload_backend] storage_options: unknown for S3: {', '.join(unknown)}",
            hint=f"the options are: {known}; with transport = fsspec, those of s3fs",
        )
    session = {_SESSION[name]: value for name, value in given.items() if name in _SESSION}
    return session, {_CLIENT[name]: value for name, value in given.items() if name in _CLIENT}


def require_boto3() -> None:
    """Raises :class:`ConfigError`, which names the extra, where boto3 is not installed."""
    try:
        import boto3  # noqa: F401 - only whether it is there
    except ImportError as error:
        raise ConfigError(
            "boto3 is not installed", hint="pip install 'offload-backend[s3]' where values are read and written"
        ) from error
