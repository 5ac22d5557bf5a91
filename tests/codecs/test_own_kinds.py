"""Kinds that others bring: the shipped contract, the example, entry points, and libraries that are missing."""

from __future__ import annotations

import subprocess
import sys
from array import array
from pathlib import Path

import pytest

from examples import own_kind
from offload_backend.codecs.tree import kinds as kinds_module
from offload_backend.errors import UnreadableBlobError, UnsupportedValueError
from offload_backend.testing.kinds import KindContract
from tests.codecs.values import decoded, encoded, returned

EXAMPLE = Path(own_kind.__file__)


class TestSignalKind(KindContract):
    kind = own_kind.KIND
    values = (own_kind.Signal("mV", array("d", [1.5, 2.5])), own_kind.Signal("", array("d")))
    refused = (type("Loud", (own_kind.Signal,), {})("mV", array("d")),)


def test_the_example_runs(tmp_path):
    command = [sys.executable, EXAMPLE, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "100000 samples in mV\n"


class Foreign:
    def __init__(self, number: int) -> None:
        self.number = number


class ForeignKind:
    tag = "foreign.thing"
    version = 2
    module = "tests.codecs"
    needs = "foreign-package"

    def accepts(self, value):
        return type(value) is Foreign

    def encode(self, value, writer):
        if value.number < 0:
            writer.refuse("a negative thing", "store a positive one")
        return [writer.node((value.number,), ".number")]

    def decode(self, facts, version, reader):
        (number,) = reader.value(facts[0])
        return Foreign(number if version == 2 else -number)


@pytest.fixture
def registry(monkeypatch):
    monkeypatch.setattr(kinds_module, "_registered", dict(kinds_module._registered))
    monkeypatch.setattr(kinds_module, "_loaded", set(kinds_module._loaded))
    return monkeypatch


class Point:
    """What ``importlib.metadata`` gives."""

    name = "tests"

    def load(self):
        return [ForeignKind()]


@pytest.fixture
def entry_point(registry):
    registry.setattr(kinds_module, "_entry_points", lambda name="tests": [Point()] if name == "tests" else [])


def test_a_kind_of_an_entry_point_is_found(entry_point):
    assert returned([Foreign(5)])[0].number == 5


def test_a_kind_of_an_entry_point_is_found_by_its_tag(registry):
    registry.setattr(kinds_module, "_entry_points", lambda name="foreign": [Point()] if name == "foreign" else [])
    data = bytes(encoded((1,))).replace(b'"tuple",1,[1]', b'"foreign.thing",2,[{"$":["tuple",1,[7]]}]')
    text = '{"offload_tree":1,"value":{"$":["foreign.thing",2,[{"$":["tuple",1,[7]]}]]},"buffers":[]}'
    from tests.codecs.values import CODEC

    assert CODEC.value_of_inline("data:application/vnd.offload.tree+json," + text).number == 7
    assert data


def test_a_kind_refuses_with_the_path(registry):
    kinds_module.register(ForeignKind())
    with pytest.raises(UnsupportedValueError, match="a negative thing") as raised:
        encoded({"a": [Foreign(-1)]})
    assert raised.value.path == 'value["a"][0]'


def test_older_facts_are_read_and_newer_ones_are_not(registry):
    kinds_module.register(ForeignKind())
    data = bytes(encoded(Foreign(5)))
    assert decoded(data.replace(b'"foreign.thing",2', b'"foreign.thing",1')).number == -5
    with pytest.raises(UnreadableBlobError, match="newer version"):
        decoded(data.replace(b'"foreign.thing",2', b'"foreign.thing",3'))


def test_a_kind_whose_library_is_missing_names_it(registry):
    class Broken(ForeignKind):
        def decode(self, facts, version, reader):
            raise ModuleNotFoundError("foreign")

    kinds_module.register(Broken())
    with pytest.raises(UnreadableBlobError, match=r"foreign-package") as raised:
        decoded(encoded(Foreign(5)))
    assert raised.value.hint == "pip install foreign-package where the value is read"


def test_a_library_that_is_not_installed_is_named():
    script = (
        "import sys; sys.modules['polars'] = None\nfrom offload_backend.codecs.tree import TreeCodec\n"
        'text = \'{"offload_tree":1,"value":{"$":["polars.dataframe",1,0]},"buffers":[]}\'\n'
        "try: TreeCodec().value_of_inline('data:application/vnd.offload.tree+json,' + text)\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.startswith("UnreadableBlobError")
    assert "pip install polars" in done.stdout


def test_two_kinds_cannot_have_one_tag(registry):
    kinds_module.register(ForeignKind())
    kinds_module.register(ForeignKind())

    class Another(ForeignKind):
        pass

    with pytest.raises(ValueError, match=r"foreign\.thing"):
        kinds_module.register(Another())


def test_a_kind_is_not_asked_before_its_module_is_imported(registry):
    class Never(ForeignKind):
        tag = "foreign.never"
        module = "a_module_that_nobody_imported"

    kinds_module.register(Never())
    with pytest.raises(UnsupportedValueError, match="Foreign"):
        encoded(Foreign(1))
