"""What every kind must do, as a test class to inherit from.

::

    class TestMyKind(KindContract):
        kind = MyKind()
        values = [MyType(1), MyType(2)]

        def same(self, left, right):
            return type(left) is type(right) and left.number == right.number
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from offload_backend.codecs import HeldSource
from offload_backend.codecs.tree import TreeCodec
from offload_backend.codecs.tree.allowed import ClassPolicy
from offload_backend.codecs.tree.kinds import Kind, kind_tagged
from offload_backend.errors import UnreadableBlobError, UnsupportedValueError

__all__ = ["KindContract"]

_TAG = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*")
_ALIENS: tuple[Any, ...] = (None, 1, "x", b"x", [], {}, object(), type, len, KeyError("x"))

_junk = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


class KindContract:
    """Needs the ``kind``, registered, and ``values`` of all sorts that it accepts; ``refused`` ones if it has any.

    ``same`` tells whether a value came back as it was: type for type and bit for bit, which ``==`` often does not.
    """

    kind: ClassVar[Kind]
    values: ClassVar[Sequence[Any]]
    refused: ClassVar[Sequence[Any]] = ()
    """Values that look like those of the kind and that it does not hold exactly: of a subclass, say."""

    policy: ClassVar[ClassPolicy | None] = None
    """Which classes may be read, for kinds that ask for any."""

    def same(self, left: Any, right: Any) -> bool:
        """Whether two values are the same in everything that matters."""
        return type(left) is type(right) and bool(left == right)

    @property
    def codec(self) -> TreeCodec:
        """What stores the values."""
        return TreeCodec(self.policy)

    def test_its_tag_is_a_lasting_name(self) -> None:
        assert _TAG.fullmatch(self.kind.tag)
        assert self.kind.version >= 1
        assert kind_tagged(self.kind.tag) is not None, "register the kind"

    def test_it_accepts_its_values_and_no_others(self) -> None:
        assert all(self.kind.accepts(value) for value in self.values)
        assert not any(self.kind.accepts(value) for value in _ALIENS)

    def test_its_values_come_back(self) -> None:
        for value in self.values:
            assert self.same(self._returned(value), value)

    def test_its_values_come_back_from_wherever_they_are(self) -> None:
        for value in self.values:
            back = self._returned({"list": [value], "pair": (1, value), "again": value})
            assert self.same(back["list"][0], value)
            assert back["list"][0] is back["pair"][1] is back["again"]

    def test_storing_a_value_does_not_change_it(self) -> None:
        for value in self.values:
            first = b"".join(self.codec.encode(value))
            assert b"".join(self.codec.encode(value)) == first
            assert self.same(self._returned(value), value)

    def test_what_it_does_not_hold_is_refused(self) -> None:
        for value in self.refused:
            with pytest.raises(UnsupportedValueError) as raised:
                list(self.codec.encode({"here": [value]}))
            assert raised.value.path.startswith('value["here"][0]')
            assert raised.value.hint

    def test_its_facts_say_with_which_version_they_were_written(self) -> None:
        for value in self.values:
            document = self._document(value)
            nodes = [node for node in _nodes(document) if node[0] == self.kind.tag]
            assert nodes, "the kind is registered, and yet another one took the value"
            assert all(node[1] == self.kind.version for node in nodes)

    def test_hostile_facts_are_an_error_and_nothing_else(self) -> None:
        documents = [self._document(value) for value in self.values]

        @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(st.sampled_from(documents), st.data())
        def check(document: Any, data: st.DataObject) -> None:
            forged = copy.deepcopy(document)
            *way, last = data.draw(st.sampled_from(list(_places(forged))))
            holder = forged
            for step in way:
                holder = holder[step]
            holder[last] = data.draw(_junk)
            with suppress(ValueError, UnreadableBlobError):
                self.codec.value_of_inline(_PREFIX + json.dumps(forged))

        check()

    def _returned(self, value: Any) -> Any:
        data = bytearray().join(self.codec.encode(value))
        return self.codec.decode(HeldSource(data))

    def _document(self, value: Any) -> Any:
        text = self.codec.inline_text(value)
        assert text is not None
        return json.loads(text[len(_PREFIX) :])


_PREFIX = "data:application/vnd.offload.tree+json,"


def _nodes(document: Any) -> Iterator[list[Any]]:
    if isinstance(document, dict):
        if isinstance(document.get("$"), list):
            yield document["$"]
        for part in document.values():
            yield from _nodes(part)
    elif isinstance(document, list):
        for part in document:
            yield from _nodes(part)


def _places(document: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    entries: Any = ()
    if isinstance(document, dict):
        entries = document.items()
    elif isinstance(document, list):
        entries = enumerate(document)
    for step, part in entries:
        yield (*way, step)
        yield from _places(part, (*way, step))
