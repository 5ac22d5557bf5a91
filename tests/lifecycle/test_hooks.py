"""Hooks: found, combined, and unable to do harm."""

from __future__ import annotations

import importlib.metadata
import logging
from dataclasses import replace

import pytest

from offload_backend.errors import ConfigError
from offload_backend.lifecycle import hooks as module
from offload_backend.lifecycle.hooks import Hooks, load_hooks, notified
from offload_backend.settings import Settings
from tests.golden.collector import CANDIDATES
from tests.lifecycle.simulation import TASK


class First(Hooks):
    def extra_roots(self):
        return ["first"]

    def before_delete(self, batch):
        return batch[1:]


class Second(First):
    def extra_roots(self):
        return ["second"]

    def before_delete(self, batch):
        return batch[:-1]


class NeedsArguments(Hooks):
    def __init__(self, secret):
        self.secret = secret


class NoHooks:
    pass


def named(name):
    return Settings.load({"hooks": f"{__name__}.{name}"})


@pytest.fixture
def installed(monkeypatch):
    """Pretend that packages with these entry points are installed."""

    def install(**classes):
        points = [
            importlib.metadata.EntryPoint(name, f"{__name__}:{value}", module.ENTRY_POINTS)
            for name, value in classes.items()
        ]
        monkeypatch.setattr(module, "entry_points", lambda group: points if group == module.ENTRY_POINTS else [])

    return install


def test_without_hooks_nothing_happens():
    found = load_hooks(Settings.load({}))
    assert list(found.before_delete(CANDIDATES)) == CANDIDATES
    assert list(found.extra_roots()) == []
    for method, arguments in (
        ("on_offloaded", (TASK, "k", "ref")),
        ("on_resolved", ("ref",)),
        ("on_reclaimed", (["ref"],)),
        ("on_orphans_marked", (None,)),
        ("on_purged", (None,)),
        ("on_rescued", (CANDIDATES,)),
        ("on_refused", ((),)),
        ("on_dangling", ((),)),
    ):
        assert getattr(found, method)(*arguments) is None
        assert getattr(Hooks(), method)(*arguments) is None


def test_hooks_are_found_by_their_dotted_path():
    assert isinstance(load_hooks(named("First")), First)


def test_hooks_of_installed_packages_are_found(installed):
    installed(mine="First")
    assert isinstance(load_hooks(Settings.load({})), First)


def test_several_hooks_are_one(installed):
    installed(b="First", a="Second")
    found = load_hooks(named("First"))
    assert list(found.extra_roots()) == ["first", "second", "first"]
    assert list(found.before_delete(CANDIDATES)) == CANDIDATES[1:-1]


def test_what_one_hook_would_add_is_seen_by_who_asks(installed):
    installed(b="First")
    found = load_hooks(named("Second"))
    stranger = replace(CANDIDATES[0], size=99)
    found._members[0].before_delete = lambda batch: [*batch, stranger]
    assert stranger in list(found.before_delete(CANDIDATES))


def test_all_hooks_are_told_even_if_one_raises(installed):
    installed(a="First", b="Second")
    found = load_hooks(Settings.load({}))
    told = []

    def broken(report):
        raise ValueError("first")

    found._members[0].on_purged = broken
    found._members[1].on_purged = told.append
    with pytest.raises(ValueError, match="first"):
        found.on_purged("report")
    assert told == ["report"]


@pytest.mark.parametrize(
    "path", ["nowhere.Hooks", "tests.lifecycle.test_hooks.Nothing", "Hooks", ".", "tests.lifecycle.test_hooks.TASK"]
)
def test_what_cannot_be_made_is_told_with_its_path(path):
    with pytest.raises(ConfigError) as caught:
        load_hooks(Settings.load({"hooks": path}))
    assert path in str(caught.value)


@pytest.mark.parametrize("name", ["NeedsArguments", "NoHooks"])
def test_a_class_that_is_no_hooks_is_told(name, installed):
    with pytest.raises(ConfigError, match=f"hooks = {__name__}.{name}"):
        load_hooks(named(name))
    installed(mine=name)
    with pytest.raises(ConfigError, match="entry point mine"):
        load_hooks(Settings.load({}))


def test_a_hook_that_raises_in_a_worker_is_logged_and_nothing_else(caplog):
    def broken():
        raise ValueError("broken")

    with caplog.at_level(logging.WARNING):
        notified("on_offloaded", broken)
    assert "the hook on_offloaded raised ValueError" in caplog.text
    with pytest.raises(KeyboardInterrupt):
        notified("on_offloaded", lambda: (_ for _ in ()).throw(KeyboardInterrupt()))
