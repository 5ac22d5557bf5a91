"""Keys that stand somewhere as text: in the environment, in a file, in Airflow's configuration."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from offload_backend.crypto.source import Secret
from offload_backend.errors import ConfigError

__all__ = ["FernetKeys", "KeyInEnvironment", "KeyInFile"]

_HEX = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{43}=?", re.ASCII)
_MOST_BYTES = 4096


class _TextKeys:
    """Keys that a function finds as text each time they are needed, so that no object holds them."""

    def __init__(self, where: str, find: Callable[[], str]) -> None:
        self._where = where
        self._find = find

    def fresh(self) -> Secret:
        """See :class:`~offload_backend.crypto.source.KeySource`."""
        return Secret(self._keys()[0])

    def unwrapped(self, wrapped: bytes) -> Sequence[bytes]:
        """See :class:`~offload_backend.crypto.source.KeySource`."""
        return () if wrapped else self._keys()

    def _keys(self) -> list[bytes]:
        return [self._decoded(self._find())]

    def _decoded(self, text: str) -> bytes:
        if _HEX.fullmatch(text):
            return bytes.fromhex(text)
        if _BASE64.fullmatch(text):
            return base64.b64decode(f"{text.rstrip('=')}=".translate({45: 43, 95: 47}))
        what = "holds something else than a key" if text else "is empty or not set"
        raise ConfigError(
            f"{self._where} {what}",
            hint="put 32 random bytes there, in base64 or hexadecimal: openssl rand -base64 32",
        )


class KeyInEnvironment(_TextKeys):
    """A key in an environment variable."""

    def __init__(self, variable: str) -> None:
        super().__init__("the environment variable of the key", lambda: os.environ.get(variable, "").strip())


class KeyInFile(_TextKeys):
    """A key in a file of its own, as secrets are mounted into containers."""

    def __init__(self, path: str) -> None:
        super().__init__("the file of the key", lambda: _text_in(path))


class FernetKeys(_TextKeys):
    """The keys of ``[core] fernet_key``, as Airflow understands them: the first one writes, all read."""

    def __init__(self, find: Callable[[], str]) -> None:
        super().__init__("[core] fernet_key", find)

    def _keys(self) -> list[bytes]:
        return [self._decoded(text.strip()) for text in self._find().split(",")]


def _text_in(path: str) -> str:
    try:
        with Path(path).expanduser().open("rb") as file:
            return file.read(_MOST_BYTES).decode("ascii", "replace").strip()
    except OSError as error:
        raise ConfigError(
            f"the file of the key cannot be read: {type(error).__name__}",
            hint="see that the file is there, and that the user who runs tasks may read it",
        ) from None
