"""Keys that AWS KMS makes and unwraps: the key that they depend on never leaves it."""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any, NoReturn

from offload_backend.crypto.source import LENGTH, Secret
from offload_backend.errors import ConfigError, OffloadError, StoreError
from offload_backend.settings import Settings

__all__ = ["KmsKey"]

SECONDS = 300.0
"""So long a key is used again, in its process, without asking KMS."""

BLOBS = 100
"""So many blobs are encrypted with one key; each has a salt of its own."""

CACHED = 32
_TRIES = 6
_NEVER_GIVEN = {"InvalidCiphertextException", "IncorrectKeyException"}
_THROTTLED = {"ThrottlingException", "RequestLimitExceeded", "LimitExceededException"}
_PASSES = {"DependencyTimeoutException", "KMSInternalException", "KeyUnavailableException", "InternalFailure"}
_NO_CREDENTIALS = {
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidClientTokenId",
    "MissingAuthenticationToken",
    "UnrecognizedClientException",
}


class KmsKey:
    """Data keys under one key of AWS KMS, named by its id, alias or ARN.

    GenerateDataKey gives a key and the same key encrypted, which is stored in the blob; Decrypt gives it back.
    Both have the encryption context ``{"offload-backend": deployment}``, by which a key's policy may tell
    deployments apart. KMS is asked once for :data:`BLOBS` blobs or :data:`SECONDS`. Credentials and region are
    those that boto3 finds in the environment; an ARN names its region itself. Safe in threads and after a fork.
    """

    def __init__(self, key: str, settings: Settings) -> None:
        self._key = key
        self._settings = settings
        self._client: tuple[int, Any] = (0, None)
        self._fresh: tuple[float, Iterator[int], Secret] | None = None
        # No lock: a fork could happen while another thread holds it. Each step on this is atomic by itself.
        self._unwrapped: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()

    def fresh(self) -> Secret:
        """See :class:`~offload_backend.crypto.source.KeySource`."""
        kept = self._fresh
        if kept is not None and time.monotonic() < kept[0] and next(kept[1]) < BLOBS:
            return kept[2]
        answer = self._asked("GenerateDataKey", KeySpec="AES_256")
        secret = Secret(bytes(answer["Plaintext"]), bytes(answer["CiphertextBlob"]))
        self._fresh = (time.monotonic() + SECONDS, count(1), secret)
        self._remember(secret.wrapped, secret.key)
        return secret

    def unwrapped(self, wrapped: bytes) -> Sequence[bytes]:
        """See :class:`~offload_backend.crypto.source.KeySource`."""
        if not wrapped:
            return ()
        until, key = self._unwrapped.get(wrapped, (0.0, b""))
        if time.monotonic() < until:
            return (key,)
        answer = self._asked("Decrypt", CiphertextBlob=wrapped)
        if answer is None or len(answer["Plaintext"]) != LENGTH:
            return ()
        self._remember(wrapped, bytes(answer["Plaintext"]))
        return (bytes(answer["Plaintext"]),)

    def __reduce__(self) -> NoReturn:
        raise TypeError("keys are not pickled")

    def _remember(self, wrapped: bytes, key: bytes) -> None:
        self._unwrapped[wrapped] = (time.monotonic() + SECONDS, key)
        try:
            while len(self._unwrapped) > CACHED:
                self._unwrapped.popitem(last=False)
        except KeyError:
            pass  # another thread was faster

    def _asked(self, operation: str, **request: Any) -> Any:
        """What KMS answers; ``None`` where it says that it has never given what it is to decrypt."""
        call: Callable[..., Any]
        with _telling(operation):
            client = self._connected()
            call = client.generate_data_key if operation == "GenerateDataKey" else client.decrypt
            context = {"offload-backend": self._settings.deployment}
            try:
                # With the key named, KMS decrypts nothing that was encrypted with another one.
                return call(KeyId=self._key, EncryptionContext=context, **request)
            except client.exceptions.ClientError as error:
                if error.response.get("Error", {}).get("Code", "") in _NEVER_GIVEN:
                    return None
                raise

    def _connected(self) -> Any:
        """The client of this process: an inherited one would share its connections with the parent."""
        pid, client = self._client
        if client is None or pid != os.getpid():
            client = self._connect()
            self._client = (os.getpid(), client)
        return client

    def _connect(self) -> Any:
        try:
            from boto3.session import Session
            from botocore.config import Config
        except ImportError as error:
            raise ConfigError(
                "boto3 is not installed", hint="pip install 'offload-backend[s3]' where values are read and written"
            ) from error
        limits = self._settings
        share = limits.give_up_after.total_seconds() / _TRIES
        config = Config(
            retries={"mode": "standard", "total_max_attempts": _TRIES},
            connect_timeout=min(limits.connect_timeout, share),
            read_timeout=min(limits.read_timeout, share),
        )
        regions = self._key.split(":")[3:4] if self._key.startswith("arn:") else []
        return Session(region_name=next(iter(regions), None)).client("kms", config=config)


@contextmanager
def _telling(operation: str) -> Iterator[None]:
    """What AWS's library raises, as errors of ours. Its text names keys and users, and is left out."""
    try:
        yield
    except OffloadError:
        raise
    except Exception as error:  # noqa: BLE001 - told apart below
        raise _as_ours(error, operation) from None


def _as_ours(error: Exception, operation: str) -> Exception:
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        ConnectionError,  # noqa: A004 - botocore's own
        HTTPClientError,
        NoCredentialsError,
        PartialCredentialsError,
    )

    if isinstance(error, ClientError):
        return _refused(str(error.response.get("Error", {}).get("Code", "")), operation)
    if isinstance(error, HTTPClientError | ConnectionError):
        return StoreError(
            f"AWS KMS cannot be reached for {operation}: {type(error).__name__}",
            reason="unreachable",
            retryable=True,
            hint="see that KMS can be reached from here; AWS_ENDPOINT_URL_KMS names another endpoint",
        )
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return _without_credentials("no credentials", operation)
    if isinstance(error, BotoCoreError | ValueError):
        return ConfigError(
            f"AWS KMS cannot be asked for {operation}: {type(error).__name__}",
            hint="name the key by its ARN, which holds the region, or set AWS_DEFAULT_REGION",
        )
    return error


def _refused(code: str, operation: str) -> OffloadError:
    if code in ("AccessDeniedException", "AccessDenied"):
        return StoreError(
            f"AWS KMS denies {operation}",
            reason="denied",
            hint=f"allow kms:{operation} on the key to whom tasks run as, in its policy or theirs",
        )
    if code in _NO_CREDENTIALS:
        return _without_credentials(code, operation)
    if code in _THROTTLED or code in _PASSES:
        reason = "throttled" if code in _THROTTLED else "failed"
        return StoreError(
            f"AWS KMS cannot answer {operation} now: {code}",
            reason=reason,
            retryable=True,
            hint="this passes: run the task again; where it comes often, ask AWS for a higher quota",
        )
    return ConfigError(
        f"AWS KMS refuses {operation}: {code}",
        hint="see that the key exists in that region, is enabled, and is a symmetric key for encryption",
    )


def _without_credentials(what: str, operation: str) -> StoreError:
    return StoreError(
        f"AWS KMS does not know who asks for {operation}: {what}",
        reason="no-credentials",
        hint="give the process credentials as boto3 finds them: its environment, a profile, a role",
    )
