"""What the database itself can tell of a row's text: whether it is a ref, and how many bytes its blob takes.

So a page of a hundred rows is all that is fetched, whatever it is sorted by and however many there are.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Double, Text, and_, case, func, literal, or_
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from offload_backend.row import TYPED, envelope

__all__ = ["any_text", "is_ref", "stored_bytes"]

_ENVELOPE = envelope("").removesuffix('"}')
_INLINE = ("{", "[", '\\"', TYPED[:5])
"""How a text begins that is no ref though it may hold one: an object, a list, a text, a typed value."""

_SIZE = "#offload=1&size="
_DIGITS = 15
"""So much of a forged size counts: a sum of it stays exact."""


def is_ref(value: Any) -> ColumnElement[bool]:
    """Whether the row's text is an envelope around a ref, of ours or of the peer."""
    text = _Exactly(value)
    inline = [text.startswith(_ENVELOPE + begin, autoescape=True) for begin in _INLINE]
    return and_(text.startswith(_ENVELOPE, autoescape=True), text.contains("://"), ~or_(*inline))


def stored_bytes(value: Any) -> ColumnElement[float]:
    """What the value takes, as a blob or in its row; 0 where the ref does not say."""
    return case(
        (and_(is_ref(value), _Exactly(value).contains(_SIZE)), _StatedSize(value)),
        (is_ref(value), literal(0.0)),
        else_=func.length(value),
    )


class _Converted(FunctionElement[str]):
    """A text that MySQL takes in another form, so that it compares it as the other databases do anyway."""

    inherit_cache = True
    type = Text()
    in_mysql: str
    """What it is there, ``{}`` being the text."""


class _Exactly(_Converted):
    """The text, so that no collation takes another for it."""

    inherit_cache = True
    in_mysql = "CAST({} AS BINARY)"


class any_text(_Converted):  # noqa: N801 (SQLAlchemy's functions are named so)
    """The text of a column in characters with which any other text can be compared.

    MySQL refuses to look for what the column cannot hold: an emoji among ids, Japanese among names of assets.
    """

    inherit_cache = True
    in_mysql = "CONVERT({} USING utf8mb4)"


@compiles(_Converted)
def _as_it_is(element: Any, compiler: Any, **options: Any) -> str:
    return str(compiler.process(element.clauses, **options))


@compiles(_Converted, "mysql", "mariadb")
def _in_mysql(element: Any, compiler: Any, **options: Any) -> str:
    return str(element.in_mysql.format(compiler.process(element.clauses, **options)))


class _StatedSize(FunctionElement[float]):
    """The size that a ref states, 0 for what is no number. Of a forged one only digits count, ``9e999`` is 9.

    Floating point, since what it states must not overflow a sum either.
    """

    inherit_cache = True
    type = Double()


@compiles(_StatedSize)
def _compiled(element: Any, compiler: Any, **options: Any) -> str:
    text = compiler.process(element.clauses, **options)
    stated = f"SUBSTR({text}, INSTR({text}, '{_SIZE}') + {len(_SIZE)}, {_DIGITS})"
    return f"CAST(MAX(0, CAST({stated} AS INTEGER)) AS REAL)"


@compiles(_StatedSize, "mysql", "mariadb")
def _compiled_mysql(element: Any, compiler: Any, **options: Any) -> str:
    text = compiler.process(_Exactly(*element.clauses), **options)
    stated = f"SUBSTR({text}, INSTR({text}, '{_SIZE}') + {len(_SIZE)}, {_DIGITS})"
    return f"CAST(GREATEST(0, CAST({stated} AS SIGNED)) AS DOUBLE)"


@compiles(_StatedSize, "postgresql")
def _compiled_postgresql(element: Any, compiler: Any, **options: Any) -> str:
    text = compiler.process(element.clauses, **options)
    stated = f"SUBSTRING({text} FROM '{_SIZE}([0-9]{{1,{_DIGITS}}})')"
    return f"COALESCE(CAST({stated} AS DOUBLE PRECISION), 0)"
