"""The credentials that sign a request: static ones as they are, all others from botocore, which renews them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from offload_backend.stores.s3_client import require_boto3
from offload_backend.stores.s3_configured import Configured
from offload_backend.stores.s3_errors import NoAnswerError, RefusalError, code_and_status
from offload_backend.stores.s3_signing import Credentials

__all__ = ["credentials_of"]


def credentials_of(settings: Configured) -> Callable[[], Credentials]:
    """A function that gives those of the moment; :class:`NoAnswerError` where there are none to sign with."""
    static = settings.credentials
    return _Chain(settings.profile) if static is None else lambda: _checked(static)


def _checked(credentials: Credentials) -> Credentials:
    """The same, if a header can hold them; a line feed at the end is easily copied along with them."""
    shown = f"{credentials.key}{credentials.token}"
    try:
        shown.encode("latin-1")
        credentials.secret.encode()
    except UnicodeEncodeError:
        shown = "\n"
    if not shown.isprintable():
        raise NoAnswerError("MalformedCredentialsError", final=True)  # outside of the handler, which knows the text
    return credentials


class _Chain:
    """Profiles, web identities, containers, instances: whatever botocore finds, at the first request."""

    def __init__(self, profile: str) -> None:
        self._profile = profile
        self._found: Any = None
        self._owner = 0

    def __call__(self) -> Credentials:
        require_boto3()
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            if self._owner != os.getpid():  # a renewal may have been under way when this process was forked
                self._found, self._owner = self._find(), os.getpid()
            frozen = self._found.get_frozen_credentials() if self._found is not None else None
        except ClientError as error:
            raise RefusalError(*code_and_status(error)) from error
        except BotoCoreError as error:
            raise NoAnswerError(type(error).__name__, final=True) from error
        if frozen is None or not frozen.access_key:
            self._owner = 0
            raise NoAnswerError("NoCredentialsError", final=True)
        return _checked(Credentials(frozen.access_key, frozen.secret_key, frozen.token or ""))

    def _find(self) -> Any:
        from botocore.session import Session

        return Session(profile=self._profile or None).get_credentials()
