"""Port: what holds keys. ``class:`` in a setting names one of your own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NoReturn, Protocol

__all__ = ["LENGTH", "MOST_WRAPPED", "KeySource", "Secret", "require_secret"]

LENGTH = 32
"""Bytes of every key."""

MOST_WRAPPED = 4096
"""Bytes that a blob may hold beside its content, so that its key is found again."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A key of :data:`LENGTH` bytes, and what its source needs to be told to give it again, if anything.

    Neither shows in its ``repr``, and it cannot be pickled.
    """

    key: bytes = field(repr=False)
    wrapped: bytes = field(default=b"", repr=False)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key is not pickled")


class KeySource(Protocol):
    """Keys under one id. Safe to use from any thread, and after a fork.

    An id stands for the same keys for ever: what is written under it is read under it. Raises
    :class:`~offload_backend.errors.ConfigError` where there is no usable key, and
    :class:`~offload_backend.errors.StoreError` where a service refuses or fails.
    """

    def fresh(self) -> Secret:
        """A key to write with; whether it is another one each time is the source's affair."""
        ...

    def unwrapped(self, wrapped: bytes) -> Sequence[bytes]:
        """The keys that what was written with ``wrapped`` may have been written with.

        None, if this source has never given it. ``wrapped`` is empty or what :meth:`fresh` gave; somebody may
        have forged it.
        """
        ...


def require_secret(secret: Secret) -> Secret:
    """The secret that a source gave; :class:`ValueError` if no blob could be written with it."""
    usable = isinstance(secret, Secret) and isinstance(secret.key, bytes) and isinstance(secret.wrapped, bytes)
    if not usable or len(secret.key) != LENGTH or len(secret.wrapped) > MOST_WRAPPED:
        raise ValueError(f"a secret has {LENGTH} bytes and at most {MOST_WRAPPED} that wrap them")
    return secret
