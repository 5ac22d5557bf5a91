"""NumPy's dtypes as JSON: nothing in a blob ever reaches ``numpy.dtype`` that is not of one of these forms.

============================================  =====================================================
``"<f8"`` ``"|b1"`` ``"<U5"`` ``"<M8[ns]"``    the dtype's ``str``
``"<i8:q"``                                   the same, of that C type where two have one ``str``
``"<f16:g63"``                                a long double, with the bits of its mantissa
``{"names", "formats", "offsets", …}``        structured; also ``itemsize``, ``titles``, ``aligned``, ``record``
``{"base", "shape"}``                         a field that is an array
``{"text", "coerce"}``                        texts of any length, and what stands where one is missing
============================================  =====================================================
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from offload_backend.codecs.tree.kinds import Json, Reader, Writer
from offload_backend.errors import UnreadableBlobError

__all__ = ["DtypeKind", "dtype_facts", "dtype_from", "numbers_from"]

_PLAIN = re.compile(
    r"(?P<str>[<>|](?:b1|[iu][1248]|f[248]|c8|c16|O|[SUV][0-9]{1,10}"
    r"|[mM]8(?:\[[1-9]?[0-9]{0,9}(?:Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?))(?::(?P<char>[bhilqBHILQfdFD]))?"
)
_LONG = re.compile(r"(?P<str>[<>][fc][0-9]{1,2}):(?P<char>[gG])(?P<mantissa>[0-9]{1,3})")
_SURROGATE = re.compile("[\ud800-\udfff]")
_TEXT: Any = getattr(np.dtypes, "StringDType", None)  # since NumPy 2.0
_MISSING: dict[str, dict[str, Any]] = {"": {}, "None": {"na_object": None}, "NaN": {"na_object": np.nan}}
_STRUCTURED = {"names", "formats", "offsets", "itemsize"}
_OPTIONAL = {"titles", "aligned", "record"}


class DtypeKind:
    """``numpy.dtype`` itself, as it stands in many a configuration."""

    tag = "numpy.dtype"
    version = 1
    module = "numpy"
    needs = "numpy"

    def accepts(self, value: object) -> bool:
        return isinstance(value, np.dtype)

    def encode(self, value: Any, writer: Writer) -> Json:
        """The dtype's facts; dtypes of other libraries and with metadata are refused."""
        return dtype_facts(value, writer)

    def decode(self, facts: Json, version: int, reader: Reader) -> Any:
        return dtype_from(facts)


def dtype_facts(dtype: Any, writer: Writer) -> Json:
    """The facts from which :func:`dtype_from` makes this very dtype; refuses all others."""
    if dtype.isbuiltin == 1 and dtype.char not in "gG" and dtype == np.dtype(dtype.char):
        return _plain_facts(dtype)
    facts = _facts(dtype) if _is_numpys(dtype) else None
    if facts is None or not _same(dtype_from(facts), dtype):
        writer.refuse(
            f"dtype {dtype!r} is not one that comes back the same",
            "convert to a dtype of NumPy's own, without objects in fields and without metadata: value.astype(...)",
        )
    return facts


def dtype_from(facts: Json) -> Any:
    """The dtype. Raises :class:`ValueError` for anything that :func:`dtype_facts` cannot have made."""
    try:
        match facts:
            case str():
                return _from_text(facts)
            case {"base": base, "shape": [_, *_] as shape}:
                return np.dtype((dtype_from(base), numbers_from(shape)))
            case {"text": str(word), "coerce": bool(coerce)} if word in _MISSING and _TEXT:
                return _TEXT(coerce=coerce, **_MISSING[word])
            case dict():
                return _from_fields(facts)
    except (TypeError, OverflowError, RecursionError, MemoryError) as error:
        raise ValueError(f"no dtype: {error}") from error
    raise ValueError("no dtype")


def numbers_from(facts: Json) -> tuple[int, ...]:
    """A shape or the like: a list of integers that fit NumPy's, none negative. Else :class:`ValueError`."""
    if isinstance(facts, list) and all(type(number) is int and 0 <= number < 2**63 for number in facts):
        return tuple(facts)
    raise ValueError("a list of integers was expected")


def _is_numpys(dtype: Any) -> bool:
    """Whether the dtype and all parts of it are NumPy's own, and no more than their layout."""
    if dtype.metadata or dtype.isbuiltin == 2:  # noqa: PLR2004  # a user's dtype
        return False
    if dtype.subdtype is not None:
        return _is_numpys(dtype.base)
    if dtype.names is None:
        return bool(dtype.type.__module__ == "numpy" or dtype.kind == "T")
    fields = [dtype.fields[name] for name in dtype.names]
    texts = [*dtype.names, *_titles(fields)]
    return (
        dtype.type in (np.void, np.record)
        and not dtype.hasobject
        and all(text is None or (type(text) is str and not _SURROGATE.search(text)) for text in texts)
        and all(_is_numpys(field[0]) for field in fields)
    )


def _titles(fields: list[tuple[Any, ...]]) -> list[Any]:
    """One for each field, a tuple of dtype, offset and, if it has one, title."""
    return [next(iter(field[2:]), None) for field in fields]


def _facts(dtype: Any) -> Json:
    if dtype.subdtype is not None:
        return {"base": _facts(dtype.base), "shape": list(dtype.shape)}
    if dtype.names is None:
        return _text_facts(dtype) if dtype.kind == "T" else _plain_facts(dtype)
    fields = [dtype.fields[name] for name in dtype.names]
    facts: dict[str, Json] = {
        "names": list(dtype.names),
        "formats": [_facts(field[0]) for field in fields],
        "offsets": [field[1] for field in fields],
        "itemsize": dtype.itemsize,
    }
    if any(titles := _titles(fields)):
        facts["titles"] = titles
    if dtype.isalignedstruct:
        facts["aligned"] = True
    if dtype.type is np.record:
        facts["record"] = True
    return facts


def _text_facts(dtype: Any) -> Json:
    same = (word for word, more in _MISSING.items() if dtype == _TEXT(coerce=dtype.coerce, **more))
    return {"text": next(same, ""), "coerce": dtype.coerce}


def _plain_facts(dtype: Any) -> str:
    text: str = dtype.str
    if dtype.char in "gG":
        return f"{text}:{dtype.char}{np.finfo(np.longdouble).nmant}"
    return text if dtype.char == np.dtype(text).char else f"{text}:{dtype.char}"


def _same(one: Any, other: Any) -> bool:
    return (one, one.type, one.isalignedstruct) == (other, other.type, other.isalignedstruct)


def _from_text(text: str) -> Any:
    if match := _PLAIN.fullmatch(text):
        dtype = np.dtype(match["str"])
        alias = np.dtype(match["char"]).newbyteorder(text[0]) if match["char"] else dtype
        # Another platform may have that C type in another size; the bytes then count, not the C type.
        return alias if alias.str == dtype.str else dtype
    if match := _LONG.fullmatch(text):
        dtype = np.dtype(match["char"]).newbyteorder(text[0])
        if (dtype.str, np.finfo(np.longdouble).nmant) == (match["str"], int(match["mantissa"])):
            return dtype
        raise UnreadableBlobError(
            f"this machine has another long double than {text}",
            hint="read the value on a machine of the kind that wrote it, or store float64 there",
        )
    raise ValueError("no dtype")


def _from_fields(facts: dict[str, Any]) -> Any:
    if not _STRUCTURED <= facts.keys() <= _STRUCTURED | _OPTIONAL:
        raise ValueError("no dtype")
    spec: dict[str, Any] = {
        "names": [_text(name) for name in facts["names"]],
        "formats": [dtype_from(field) for field in facts["formats"]],
        "offsets": list(numbers_from(facts["offsets"])),
        "itemsize": numbers_from([facts["itemsize"]])[0],
    }
    if "titles" in facts:
        spec["titles"] = [title if title is None else _text(title) for title in facts["titles"]]
    if any(field.hasobject for field in spec["formats"]):
        raise ValueError("no field may hold objects")
    dtype = np.dtype(spec, align=facts.get("aligned") is True)
    return np.dtype((np.record, dtype)) if facts.get("record") is True else dtype


def _text(name: Json) -> str:
    if isinstance(name, str):
        return name
    raise ValueError("the name of a field is text")
