"""A ref is handed out in time or not at all: the collector's proof rests on it."""

from __future__ import annotations

import time

import pytest

from offload_backend.blobs import _seconds_since_boot
from offload_backend.errors import StoreError
from offload_backend.offloader import Offloader
from offload_backend.settings import Settings
from tests.inner.stores import BIG, HOME, TASK, Stores


class Clock:
    """Stands still but while a blob is uploaded."""

    def __init__(self, stores: Stores, upload: float) -> None:
        self.now = 1e9
        self._stores, self._upload = stores, upload

    def __call__(self) -> float:
        return self.now

    def open(self, path: str):
        store = self._stores.open(path)
        put = store.put

        def slow(name, chunks):
            put(name, chunks)
            self.now += self._upload

        store.put = slow
        return store


def offload(stores: Stores, upload: float, window: str) -> str:
    clock = Clock(stores, upload)
    settings = Settings.load({"path": HOME, "commit_window": window})
    return Offloader(settings, clock.open, clock).offload(BIG, TASK, "k")


@pytest.mark.parametrize(("upload", "window"), [(3600.5, "1h"), (21_601, "6h"), (0.2, "0.1s")])
def test_an_upload_that_took_longer_than_the_window_hands_out_no_ref(stores, upload, window):
    with pytest.raises(StoreError, match="longer than commit_window") as caught:
        offload(stores, upload, window)
    assert caught.value.retryable
    assert caught.value.key == "k"
    assert "[offload_backend] commit_window" in caught.value.hint


@pytest.mark.parametrize(("upload", "window"), [(3600.0, "1h"), (21_599, "6h"), (0.0, "0.1s")])
def test_an_upload_within_the_window_hands_out_its_ref(stores, upload, window):
    assert offload(stores, upload, window).startswith(f"{HOME}/v1/")


def test_a_value_that_stays_in_its_row_has_no_window(stores):
    settings = Settings.load({"path": HOME, "commit_window": "0.000001s"})
    assert Offloader(settings, stores.open).offload(1, TASK, "k") == "1"


def test_the_clock_counts_the_time_that_the_machine_is_suspended():
    if not hasattr(time, "CLOCK_BOOTTIME"):
        pytest.skip("only Linux tells")
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before <= _seconds_since_boot() <= time.clock_gettime(time.CLOCK_BOOTTIME)


def test_elsewhere_the_clock_never_goes_back(monkeypatch):
    monkeypatch.delattr(time, "CLOCK_BOOTTIME", raising=False)
    before = time.monotonic()
    assert before <= _seconds_since_boot() <= time.monotonic()
