"""boto3 clients from settings, for use without Airflow's connections."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from offload_backend.errors import ConfigError
from offload_backend.settings import Settings
from offload_backend.stores.patience import OutOfPatienceError, Patience, within
from offload_backend.stores.s3_encryption import OPTION as ENCRYPTION
from offload_backend.stores.s3_errors import NoAnswerError, RefusalError, code_and_status, seconds_asked
from offload_backend.stores.s3_retries import repeated

if TYPE_CHECKING:
    from botocore.config import Config

__all__ = [
    "LeftAloneError",
    "asked",
    "client_config",
    "client_maker",
    "one_try",
    "refuse_user_in",
    "require_boto3",
    "sorted_options",
]

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
_PASSING = frozenset(
    {
        "ConnectTimeoutError",
        "ConnectionClosedError",
        "ConnectionError",
        "EndpointConnectionError",
        "HTTPClientError",
        "IncompleteReadError",
        "ProxyConnectionError",
        "ReadTimeoutError",
        "ResponseStreamingError",
    }
)
_T = TypeVar("_T")


def client_config(settings: Settings) -> Config:
    """How every client of ours waits and checks. It makes one try: :func:`asked` makes more.

    Answers are not checked by S3's own checksums where those are optional: the digest in the ref
    covers the blob, and S3-compatible stores often get them wrong for ranges.
    """
    require_boto3()
    from botocore.config import Config

    seconds = settings.give_up_after.total_seconds()
    return Config(
        retries={"mode": "standard", "total_max_attempts": 1},
        connect_timeout=min(settings.connect_timeout, seconds),
        read_timeout=min(settings.read_timeout, seconds),
        max_pool_connections=settings.concurrency + _SPARE_CONNECTIONS,
        response_checksum_validation="when_required",
        tcp_keepalive=True,
    )


def asked(call: Callable[[], Any], operation: str, location: str, patience: Patience) -> Any:
    """What a client's call returns, repeated while that may help. ``operation`` is S3's name for it."""
    return repeated(operation, location, patience, lambda: one_try(call, patience))


class LeftAloneError(NoAnswerError):
    """The patience has ended, and botocore goes on: it knows no limit for a whole request."""


def one_try(call: Callable[[], _T], patience: Patience, if_left: Callable[[], object] = lambda: None) -> _T:
    """What ``call`` returns; for botocore's errors, those that every transport has.

    A call that is left alone ends with ``if_left``, in a thread of its own.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return within(patience, call, if_left)
    except OutOfPatienceError:
        raise LeftAloneError("ReadTimeoutError") from None
    except ClientError as error:
        headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        wanted = seconds_asked(str(headers.get("retry-after", "")))
        raise RefusalError(*code_and_status(error), retry_after=wanted) from error
    except (BotoCoreError, OSError) as error:
        kind = type(error).__name__
        raise NoAnswerError(kind, final=kind not in _PASSING and isinstance(error, BotoCoreError)) from error


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
    given.pop(ENCRYPTION, None)
    unknown = sorted(given.keys() - _SESSION.keys() - _CLIENT.keys())
    if unknown:
        known = ", ".join(sorted({*_SESSION, *_CLIENT, "client_kwargs", ENCRYPTION}))
        raise ConfigError(
            f"[offload_backend] storage_options: unknown for S3: {', '.join(unknown)}",
            hint=f"the options are: {known}; with transport = fsspec, those of s3fs",
        )
    session = {_SESSION[name]: value for name, value in given.items() if name in _SESSION}
    if bool(session.get("aws_access_key_id")) != bool(session.get("aws_secret_access_key")):
        raise ConfigError(
            "an access key without its secret, or a secret without its key",
            hint="give both: key and secret in storage_options, login and password in an Airflow connection; or "
            "neither, and AWS's own chain finds them",
        )
    return session, {_CLIENT[name]: value for name, value in given.items() if name in _CLIENT}


def refuse_user_in(endpoint_url: str) -> None:
    """Raises :class:`ConfigError` for a URL with a user or password: unused, and errors would quote them."""
    if "@" in endpoint_url:
        raise ConfigError(
            "the endpoint's URL holds an '@', as if it held a password",
            hint="leave user and password out of endpoint_url and AWS_ENDPOINT_URL_S3: requests are "
            "signed with the credentials of the connection, of storage_options or of the environment",
        )


def require_boto3() -> None:
    """Raises :class:`ConfigError`, which names the extra, where boto3 is not installed."""
    try:
        import boto3  # noqa: F401 - only whether it is there
    except ImportError as error:
        raise ConfigError(
            "boto3 is not installed", hint="pip install 'offload-backend[s3]' where values are read and written"
        ) from error
