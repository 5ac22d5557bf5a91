"""The contract of :class:`~offload_backend.crypto.KeySource`, as tests that every source of secrets passes.

::

    class TestMySource(KeySourceContract):
        @pytest.fixture
        def make_source(self):
            return MySource  # each call makes it anew, as another process would
"""

from __future__ import annotations

import asyncio
import os
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from offload_backend.crypto.source import LENGTH, MOST_WRAPPED, require_secret
from offload_backend.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from offload_backend.crypto import KeySource, Secret

__all__ = ["KeySourceContract"]

MakeSource = Callable[[], "KeySource"]


class KeySourceContract:
    """Needs a fixture ``make_source``: a function that makes the source, all of them under the same id."""

    def test_a_secret_can_be_written_with(self, make_source: MakeSource) -> None:
        secret = require_secret(make_source().fresh())
        assert len(set(secret.key)) > 1, "a key of one byte again and again is no key"

    def test_what_it_was_written_with_is_found_again(self, make_source: MakeSource) -> None:
        source = make_source()
        for secret in [source.fresh() for _ in range(20)]:
            assert _finds(source, secret)

    def test_another_process_finds_it_too(self, make_source: MakeSource) -> None:
        secrets = [make_source().fresh() for _ in range(5)]
        assert all(_finds(make_source(), secret) for secret in secrets)

    def test_what_it_gives_back_are_keys(self, make_source: MakeSource) -> None:
        found = make_source().unwrapped(make_source().fresh().wrapped)
        assert all(isinstance(key, bytes) and len(key) == LENGTH for key in found)

    def test_what_it_never_gave_has_no_key(self, make_source: MakeSource) -> None:
        """Whoever can write blobs can write this into them. A service may also refuse."""
        source = make_source()
        for forged in _forged(source.fresh().wrapped):
            found: list[bytes] = []
            with suppress(ConfigError, StoreError):
                found += source.unwrapped(forged)
            assert found == [], "somebody else's bytes have led to a key"

    def test_a_wrapped_key_does_not_show_the_key(self, make_source: MakeSource) -> None:
        secret = make_source().fresh()
        assert secret.key not in secret.wrapped
        assert secret.key.hex().encode() not in secret.wrapped.lower()

    def test_no_key_shows_in_a_source_that_is_printed(self, make_source: MakeSource) -> None:
        source = make_source()
        key = source.fresh().key
        for shown in (repr(source), str(source)):
            assert key.hex() not in shown.lower()
            assert repr(key)[2:-1] not in shown

    def test_threads_may_share_it(self, make_source: MakeSource) -> None:
        source = make_source()
        with ThreadPoolExecutor(8) as pool:
            secrets = list(pool.map(lambda _: source.fresh(), range(40)))
            assert all(pool.map(lambda secret: _finds(source, secret), secrets))

    def test_it_may_be_asked_on_a_running_event_loop(self, make_source: MakeSource) -> None:
        async def ask() -> bool:
            source = make_source()
            return _finds(source, source.fresh())

        assert asyncio.run(ask())

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
    def test_a_fork_may_use_it(self, make_source: MakeSource) -> None:
        """Airflow forks a process for every task."""
        source = make_source()
        secret = source.fresh()
        assert _in_a_fork(lambda: _finds(source, secret) and _finds(source, source.fresh()))
        assert _finds(source, secret)


def _finds(source: KeySource, secret: Secret) -> bool:
    return secret.key in source.unwrapped(secret.wrapped)


def _forged(wrapped: bytes) -> Iterator[bytes]:
    yield b"?"
    yield b"?" * MOST_WRAPPED
    if wrapped:
        yield wrapped[:-1]
        yield wrapped + b"?"
        yield wrapped[:-1] + bytes([wrapped[-1] ^ 1])


def _in_a_fork(question: Callable[[], bool]) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that other threads run is what is tested
        child = os.fork()
    if child == 0:
        answer = False
        try:
            answer = question()
        finally:
            os._exit(0 if answer else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
