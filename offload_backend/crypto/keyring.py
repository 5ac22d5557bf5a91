"""The keys of a setting: the first one writes, all of them read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any

from offload_backend.crypto.source import KeySource, Secret, require_secret
from offload_backend.crypto.static import FernetKeys, KeyInEnvironment, KeyInFile
from offload_backend.errors import ConfigError, OffloadError, UnreadableBlobError
from offload_backend.settings import SECTION, Settings
from offload_backend.settings.keyplaces import KeyPlace, key_places

__all__ = ["Keyring"]

_KMS = "offload_backend.crypto.kms"


class Keyring:
    """The keys that ``entries`` of the setting call by their ids. Each is looked up when it is first needed.

    Every error names setting and id, and none a key. Safe to use from any thread and after a fork.
    """

    def __init__(self, setting: str, entries: Sequence[str], settings: Settings) -> None:
        self._setting = f"[{SECTION}] {setting}"
        self._places = key_places(entries)
        self._settings = settings
        self._sources: dict[str, KeySource] = {}

    def to_write(self) -> tuple[str, Secret]:
        """The id of the first key, and a secret of its source. Raises as :class:`KeySource` does."""
        place = self._places[0]
        with self._telling(place):
            return place.id, require_secret(self._source(place).fresh())

    def to_read(self, key_id: str, wrapped: bytes = b"") -> Sequence[bytes]:
        """The keys with which that may be read which a key of this id, wrapped like that, has written.

        Raises :class:`UnreadableBlobError` for an id that the setting does not have, and as
        :class:`KeySource` does.
        """
        return self.reader(key_id)(wrapped)

    def reader(self, key_id: str) -> Callable[[bytes], Sequence[bytes]]:
        """The same for what is yet to be fetched; but an id that the setting does not have is told at once."""
        place = next((place for place in self._places if place.id == key_id), None)
        if place is None:
            raise UnreadableBlobError(
                f"the key {key_id!r} is not among those of {self._setting}",
                hint=f"add {key_id}=<source> to {self._setting} where values are read",
            )
        return partial(self._unwrapped, place)

    def _unwrapped(self, place: KeyPlace, wrapped: bytes) -> Sequence[bytes]:
        with self._telling(place):
            return tuple(self._source(place).unwrapped(wrapped))

    def _source(self, place: KeyPlace) -> KeySource:
        source = self._sources.get(place.id)
        if source is None:
            source = self._sources.setdefault(place.id, self._made(place))
        return source

    def _made(self, place: KeyPlace) -> KeySource:
        if place.kind == "env":
            return KeyInEnvironment(place.name)
        if place.kind == "file":
            return KeyInFile(place.name)
        if place.kind == "kms":
            kms: KeySource = import_module(_KMS).KmsKey(place.name, self._settings)
            return kms
        if place.kind == "fernet":
            return FernetKeys(_imported(place.name) if place.name else _fernet_in_environment)
        made: KeySource = _imported(place.name)()
        return made

    @contextmanager
    def _telling(self, place: KeyPlace) -> Iterator[None]:
        """Say in every error which key it is about. Others' errors are not quoted: their text may hold a key."""
        about = f"the key {place.id!r} of {self._setting}"
        try:
            yield
        except OffloadError as error:
            error.message = f"{about}: {error.message}"
            raise
        except Exception as error:  # noqa: BLE001 - of a user's class, or boto3's
            raise ConfigError(
                f"{about} cannot be had: {type(error).__name__}",
                hint=f"correct {self._setting}; class: names a class that can be imported here and made without "
                "arguments, with the methods of offload_backend.crypto.KeySource",
            ) from None


def _imported(path: str) -> Any:
    module, dot, name = path.rpartition(".")
    if not dot:
        raise ImportError("a dotted path has a module and a class")
    return getattr(import_module(module), name)


def _fernet_in_environment() -> str:
    return os.environ.get("AIRFLOW__CORE__FERNET_KEY", "")
