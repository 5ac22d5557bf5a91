"""Objects of classes come back in the very state they had, and only if their class is allowed."""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict, namedtuple
from dataclasses import dataclass, field

import pytest

from offload_backend.codecs.tree import TreeCodec
from offload_backend.codecs.tree.allowed import AllowedClasses, class_named
from offload_backend.errors import UnreadableBlobError, UnsupportedValueError
from tests.codecs import classes as c
from tests.codecs.values import assert_kept, decoded, encoded, returned

OBJECTS = [
    c.Point(1, [2]),
    c.Child(1, 2, ()),
    c.Frozen(b"x" * 100),
    c.Slots((1,)),
    c.Everything(x=1),
    c.Pair(1, (2,)),
    c.Outer.Inner(3),
    c.Colour.RED,
    c.Colour.BLUE,
    c.Level.HIGH,
    c.Word.YES,
    c.Access.READ,
    c.Access.READ | c.Access.WRITE,
    c.Access(0),
    c.Bits(3),
    c.Bits(64),
    c.Model(a=1, b=(2,), more=b"x"),
    c.Model.model_construct(a="not checked", _fields_set={"b"}),
    c.Many([1, (2,)]),
    c.Defined((1,)),
    c.Hashed("x"),
    c.Loose({1}),
]


@pytest.mark.parametrize("value", OBJECTS, ids=lambda value: type(value).__name__)
def test_an_object_comes_back_in_its_state(value):
    c.CALLS.clear()
    back = assert_kept(value)
    assert type(value) is c.Everything or back == value
    assert c.CALLS == []
    if isinstance(value, c.enum.Enum) and value.name in type(value).__members__:
        assert back is value


def test_state_that_no_field_describes_comes_back():
    point = c.Point(1)
    point.extra = (1,)  # type: ignore[attr-defined]
    assert point.cached == 7
    del point.y
    back = assert_kept(point)
    assert vars(back) == vars(point)
    pair = c.PairToo(1, 2)
    pair.more = [pair.left]  # type: ignore[attr-defined]
    assert vars(assert_kept(pair)) == {"more": [1]}


def test_a_model_keeps_what_was_set_and_what_is_private():
    model = c.Model(a=1, more=2)
    model._secret = (3,)
    back = assert_kept(model)
    assert back.model_fields_set == {"a", "more"}
    assert back.model_extra == {"more": 2}
    assert back._secret == (3,)


def test_a_hash_that_was_remembered_is_not_taken_to_another_process():
    value = c.Hashed("text")
    hash(value)
    assert returned(value)._attrs_cached_hash is None


def test_a_factory_may_be_a_class():
    back = returned(defaultdict(c.Point, {"a": 1}))
    assert back.default_factory is c.Point
    with pytest.raises(UnsupportedValueError, match="factory is not a class"):
        encoded(defaultdict(lambda: 1))


@dataclass
class Here:
    x: int = 0


def test_without_a_word_in_the_setting_no_class_is_stored():
    with pytest.raises(UnsupportedValueError) as raised:
        encoded({"a": [c.Point(1)]}, TreeCodec())
    assert raised.value.path == 'value["a"][0]'
    assert "tests.codecs.classes.Point" in str(raised.value)
    assert "allowed_classes" in raised.value.hint


def test_a_class_is_read_only_where_it_is_allowed():
    data = encoded([c.Point(1), c.Pair(1), c.Colour.RED, c.Model(a=1)])
    codec = TreeCodec(AllowedClasses(["other.*"], setting="[core] allowed_deserialization_classes"))
    with pytest.raises(UnreadableBlobError, match=r"tests\.codecs\.classes\.Point") as raised:
        decoded(data, codec)
    assert "[core] allowed_deserialization_classes" in raised.value.hint


def test_nothing_is_imported_before_it_is_allowed():
    script = (
        "import sys\nfrom offload_backend.codecs import HeldSource\n"
        "from offload_backend.codecs.tree import TreeCodec\n"
        "from offload_backend.codecs.tree.allowed import AllowedClasses\n"
        "data = bytearray(sys.stdin.buffer.read())\n"
        "try: TreeCodec(AllowedClasses(['a.*'])).decode(HeldSource(data))\n"
        "except Exception as error: print(type(error).__name__)\n"
        "print('tests.codecs.classes' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=bytes(encoded(c.Point(1))),
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.split() == [b"UnreadableBlobError", b"False", b"False"]


@pytest.mark.parametrize(
    ("globs", "regexps", "permitted"),
    [
        (["tests.codecs.classes.Point"], [], True),
        (["tests.codecs.*"], [], True),
        (["tests.*"], [], True),
        ([], [r"tests\.codecs\..*"], True),
        ([], [r"tests\.codecs"], False),
        (["tests.codecs.classes.point"], [], False),
        (["tests.codecs.classes"], [], False),
        (["codecs.classes.Point"], [], False),
        ([], [], False),
    ],
)
def test_patterns_are_for_whole_names(globs, regexps, permitted):
    assert AllowedClasses(globs, regexps).permits("tests.codecs.classes.Point") is permitted


def test_patterns_match_as_airflow_matches_them(monkeypatch):
    serde = pytest.importorskip("airflow.sdk.serde")
    patterns = ["tests.codecs.classes.P*", "airflow.*", "a.b"]
    monkeypatch.setattr(serde, "_get_patterns", lambda: list(map(serde.re.compile, patterns)))
    for name in (
        "tests.codecs.classes.Point",
        "tests.codecs.classes.Q",
        "airflow.x.Y",
        "airflow",
        "a.b",
        "a.b.c",
        "a-b",
    ):
        serde._match_glob.cache_clear()
        assert AllowedClasses(patterns).permits(name) is serde._match_glob(name)
    serde._match_glob.cache_clear()


def test_classes_can_be_read_as_plain_data():
    point = c.Point(1, c.Frozen((2,)))
    point.x = [point]
    value = [
        point,
        c.Pair(1, 2),
        c.Colour.RED,
        c.Level.HIGH,
        c.Model(a=1, more=(2,)),
        c.Defined(1),
        c.Bits(3),
        c.Slots(5),
    ]
    back = decoded(encoded(value), TreeCodec(classes="plain"))
    assert back[0]["y"] == {"x": (2,), "y": 0}
    assert back[0]["x"][0] is back[0]
    assert back[1:] == [
        (1, 2),
        "red",
        2,
        {"a": 1, "b": None, "more": (2,)},
        {"x": 1, "y": []},
        3,
        {"x": 5, "y": []},
    ]
    assert type(back[1]) is tuple


def local():
    @dataclass
    class Local:
        x: int = 0

    return Local()


Wrong = namedtuple("Right", "x")  # noqa: PYI024

REFUSED = [
    (local(), "inside a function"),
    (Wrong(1), "does not have it under its name"),
    (c.DictToo(), "C"),
    (c.Plain(), "Plain"),
    (c.Text("x"), "str"),
    (c.Mine([1]), "list"),
    (lambda: 1, "function"),
    (object(), "object"),
    (len, "builtin_function_or_method"),
    (int, "type"),
    ((i for i in ()), "generator"),
    (Exception("x"), "Exception"),
]


@pytest.mark.parametrize(("value", "why"), REFUSED, ids=lambda part: type(part).__name__)
def test_what_cannot_come_back_is_refused(value, why):
    codec = TreeCodec(AllowedClasses(["*"]))
    with pytest.raises(UnsupportedValueError, match=why) as raised:
        encoded({"in": (1, {2: value})}, codec)
    assert raised.value.path == 'value["in"][1][2]'
    assert raised.value.hint


def test_a_class_of_the_script_is_refused():
    script = (
        "from dataclasses import dataclass\nfrom offload_backend.codecs.tree import TreeCodec\n"
        "from offload_backend.codecs.tree.allowed import AllowedClasses\n"
        "@dataclass\nclass A: x: int = 0\n"
        "try: list(TreeCodec(AllowedClasses(['*'])).encode(A()))\nexcept TypeError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, timeout=60, text=True)
    assert "__main__" in done.stdout


@pytest.mark.parametrize(
    "name", ["os:system", "tests.codecs.classes:Plain", "tests.codecs.classes:CALLS", "a:", ":b", "x"]
)
def test_only_a_class_of_the_right_family_is_made(name):
    data = bytes(encoded(c.Point(1))).replace(b"tests.codecs.classes:Point", name.encode().ljust(26)[:26])
    if len(name) > 26:
        data = bytes(encoded(c.Frozen(1))).replace(b"tests.codecs.classes:Frozen", name.encode().ljust(27))
    with pytest.raises((UnreadableBlobError, ValueError)):
        decoded(data, TreeCodec(AllowedClasses(["*"])))


def test_a_class_that_changed_says_so(monkeypatch):
    data = encoded(c.Slots(1))
    monkeypatch.setattr(c, "Slots", c.Colour)
    with pytest.raises(UnreadableBlobError, match="another sort of class"):
        decoded(data)
    monkeypatch.delattr(c, "Slots")
    with pytest.raises(UnreadableBlobError, match="cannot be imported"):
        decoded(data)


def test_a_field_that_is_new_has_its_default_and_one_that_is_gone_is_said(monkeypatch):
    data = encoded(c.Slots(1, [2]))

    @dataclass(slots=True)
    class Longer:
        x: int
        y: list
        z: list = field(default_factory=list)
        w: int = 5

    monkeypatch.setattr(c, "Slots", Longer)
    back = decoded(data)
    assert (back.x, back.y, back.z, back.w) == (1, [2], [], 5)

    @dataclass(slots=True)
    class Shorter:
        x: int

    monkeypatch.setattr(c, "Slots", Shorter)
    with pytest.raises(UnreadableBlobError, match="field y"):
        decoded(data)


def test_a_member_that_is_gone_is_said(monkeypatch):
    data = encoded(c.Level.HIGH)
    monkeypatch.setattr(c, "Level", c.enum.IntEnum("Level", "LOW"))
    with pytest.raises(UnreadableBlobError, match="HIGH"):
        decoded(data)


@pytest.mark.parametrize(
    ("value", "message", "hint"),
    [
        (c.Text("x"), "a Text, a subclass of str, would come back as str", "str(value)"),
        (c.Mine(), "a Mine, a subclass of list, would come back as list", "list(value)"),
        (c.Plain(), "tests.codecs.classes.Plain is not a type that can be stored", "register a kind"),
        (iter([]), "list_iterator is not a type that can be stored", "list(value)"),
        (KeyError("secret"), "KeyError is not a type that can be stored", "str(error)"),
        (subprocess, "module is not a type that can be stored", "its name"),
        (len, "builtin_function_or_method is not a type", "its name"),
        (int, "type is not a type", "its name"),
    ],
)
def test_the_message_says_what_is_wrong_and_the_hint_what_to_store(value, message, hint):
    with pytest.raises(UnsupportedValueError) as raised:
        encoded([value])
    assert raised.value.message.startswith(f"value[0]: {message}")
    assert hint in raised.value.hint
    assert "secret" not in str(raised.value)


def test_a_key_of_a_class_of_its_own_is_found_among_many():
    rows = [{"a": place, "b": c.Pair(place)} for place in range(100)]
    rows[50] = {c.Text("a"): 1, "b": c.Pair(1)}
    with pytest.raises(UnsupportedValueError, match="a Text, a subclass of str"):
        encoded(rows)


def test_a_field_that_was_not_set_stays_so():
    value = c.Slots(1)
    del value.y
    assert not hasattr(assert_kept(value), "y")


def test_a_pattern_for_a_module_is_not_one_for_what_it_imports():
    policy = AllowedClasses(["tests.codecs.classes.*"])
    assert class_named("tests.codecs.classes:Outer.Inner", policy) is c.Outer.Inner
    with pytest.raises(UnreadableBlobError, match="cannot be imported"):
        class_named("tests.codecs.classes:subprocess.Popen", policy)


@pytest.mark.parametrize("name", [7, c.Text("z"), "\ud800"])
def test_an_attribute_that_json_would_name_otherwise_is_refused(name):
    point = c.Point(1)
    vars(point)[name] = 1
    with pytest.raises(UnsupportedValueError, match="an attribute whose name is no text"):
        encoded(point)


def test_what_has_become_equal_since_it_was_hashed_is_refused():
    left, right = c.Key(1), c.Key(2)
    made = [{left, right}, frozenset([left, (right,)]), {left: 1, right: 2}]
    returned(made)
    right.x = 1
    for value in (made[0], made[2]):
        with pytest.raises(UnsupportedValueError, match="have become equal"):
            encoded(value)


DEEP = WIDE = slice(1)
for _ in range(2000):
    DEEP = slice(DEEP)
for _ in range(100):
    WIDE = slice(WIDE, WIDE, WIDE)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (defaultdict(c.Unhashable()), "factory is not a class"),
        (c.PairOfThree((1, 2, 3)), "more elements than names"),
        (DEEP, "slices nested deeper than 8 levels"),
        (WIDE, "slices nested deeper"),
    ],
)
def test_what_is_odd_is_refused_in_words(value, message):
    with pytest.raises(UnsupportedValueError, match=message):
        encoded([value])


def test_what_cannot_even_be_looked_at_is_refused():
    released = memoryview(b"x")
    released.release()
    for odd in (released, c.Anything()):
        with pytest.raises(UnsupportedValueError, match="cannot be looked at"):
            encoded([odd])
