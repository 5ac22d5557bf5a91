"""Blob stores whose credentials come from an Airflow connection: ``s3://conn_id@bucket/prefix``.

The connection is looked up once, with the plain synchronous call, because Airflow calls the hooks
synchronously even from an event loop. It is never replaced by other credentials: an unknown id is an
error. The AWS provider's own hook is asked only for what the connection's plain fields do not say, since it
costs half a second of imports in every task; then boto3 also puts and gets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from offload_backend.blobstore import BlobStore
from offload_backend.errors import ConfigError, StoreError
from offload_backend.location import location_of, without_user
from offload_backend.settings import Settings
from offload_backend.stores.opening import open_store as open_without_connection

if TYPE_CHECKING:
    from botocore.config import Config

__all__ = ["open_store"]

_S3 = frozenset({"s3", "s3a", "s3n"})
_PLAIN = frozenset(
    {
        "aws_access_key_id",
        "aws_secret_access_key",
        "aws_session_token",
        "endpoint_url",
        "profile_name",
        "region_name",
        "s3_additional_kwargs",
        "service_config",
        "verify",
    }
)


def open_store(path: str, settings: Settings) -> BlobStore:
    """The store of a configured path, with the credentials of the connection it names, if any.

    Raises :class:`ConfigError` for a connection that does not exist or cannot be used.
    """
    parts = urlsplit(path)
    if not parts.username:
        return open_without_connection(path, settings)
    if parts.password:
        raise ConfigError(
            "the path holds a password",
            hint="put credentials into an Airflow connection: path = s3://conn_id@bucket/prefix",
        )
    connection = _connection(parts.username)
    if parts.scheme not in _S3:
        return _open_by_airflow(path, settings, parts.scheme, parts.username)
    return _open_s3(path, settings, connection)


def _connection(conn_id: str) -> Any:
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowException, AirflowRuntimeError
    from airflow.sdk.execution_time.comms import DeadlockImminentError

    try:
        return Connection.get(conn_id)
    except (AirflowException, AirflowRuntimeError) as error:
        raise ConfigError(
            f"the Airflow connection {conn_id!r} cannot be had: {error}",
            hint=f"create the connection {conn_id!r} (environment: AIRFLOW_CONN_{conn_id.upper()}) or "
            "correct the id in [offload_backend] path",
        ) from error
    except DeadlockImminentError as error:
        raise ConfigError(
            f"the Airflow connection {conn_id!r} cannot be looked up now: this event loop is already "
            "waiting for an answer from the supervisor",
            hint="await the first operation on state before starting others at the same time",
        ) from error


def _open_s3(path: str, settings: Settings, connection: Any) -> BlobStore:
    extra = dict(connection.extra_dejson)
    if extra.keys() <= _PLAIN:
        options = {**settings.options, **_plain_options(connection, extra)}
        return open_without_connection(without_user(path), settings.replaced({"storage_options": options}))
    if settings.transport == "fsspec":
        raise ConfigError(
            f"transport = fsspec cannot use all options of the connection {connection.conn_id!r}",
            hint="set [offload_backend] transport = direct",
        )
    if settings.options:
        raise ConfigError(
            f"storage_options cannot be joined with all options of the connection {connection.conn_id!r}",
            hint="move [offload_backend] storage_options into the connection's extra",
        )
    from offload_backend.stores.s3 import S3BlobStore
    from offload_backend.stores.s3_encryption import told_of_encryption

    return S3BlobStore(location_of(path), _client_maker(connection), settings, encryption=told_of_encryption(extra))


def _plain_options(connection: Any, extra: dict[str, Any]) -> dict[str, Any]:
    """The connection as storage options. Without keys in it, the ordinary AWS chain gives them."""
    s3 = (extra.get("service_config") or {}).get("s3") or {}
    options = {
        "aws_access_key_id": connection.login or extra.get("aws_access_key_id"),
        "aws_secret_access_key": connection.password or extra.get("aws_secret_access_key"),
        "aws_session_token": extra.get("aws_session_token"),
        "endpoint_url": s3.get("endpoint_url") or extra.get("endpoint_url"),
        "profile_name": extra.get("profile_name"),
        "region_name": extra.get("region_name"),
        "s3_additional_kwargs": extra.get("s3_additional_kwargs"),
        "verify": extra.get("verify"),
    }
    return {name: value for name, value in options.items() if value is not None}


def _client_maker(connection: Any) -> Callable[[Config], Any]:
    """Clients for roles, SAML, web identity and whatever else the AWS provider knows; they renew themselves."""
    try:
        from airflow.providers.amazon.aws.hooks.base_aws import SessionFactory
        from airflow.providers.amazon.aws.utils.connection_wrapper import AwsConnectionWrapper
    except ImportError as error:
        raise ConfigError(
            f"the connection {connection.conn_id!r} has options that need the AWS provider",
            hint="pip install apache-airflow-providers-amazon where tasks run",
        ) from error
    try:
        wrapper = AwsConnectionWrapper(connection)
        session = SessionFactory(conn=wrapper, region_name=wrapper.region_name).create_session()
    except Exception as error:  # noqa: BLE001 - each way to credentials has errors of its own, and some quote them
        raise StoreError(
            f"the connection {connection.conn_id!r} gives no credentials: {type(error).__name__}",
            reason="no-credentials",
            hint="correct the connection's keys, role_arn and region_name, and see that what gives the credentials "
            "(AWS STS, for a role) can be reached and lets them have it",
        ) from None

    def make_client(config: Config) -> Any:
        endpoint = wrapper.get_service_endpoint_url("s3")
        own = config.merge(wrapper.botocore_config) if wrapper.botocore_config else config
        return session.client("s3", endpoint_url=endpoint, verify=wrapper.verify, config=own)

    return make_client


def _open_by_airflow(path: str, settings: Settings, scheme: str, conn_id: str) -> BlobStore:
    """Other schemes: the filesystem that Airflow's provider for the scheme builds from the connection."""
    from airflow.sdk.io import get_fs

    from offload_backend.stores.fsspec import FsspecBlobStore

    try:
        filesystem = get_fs(scheme, conn_id, settings.options)
    except (ValueError, ImportError) as error:
        raise ConfigError(
            f"no installed provider opens {scheme}:// with a connection",
            hint="install the provider of that object storage, or use a path without conn_id@",
        ) from error
    return FsspecBlobStore(
        location_of(path), filesystem, settings.part_size, settings.give_up_after.total_seconds()
    )
