"""Planted texts, in all the forms in which they might come out again, and a watch on where that could be."""

from __future__ import annotations

import base64
import contextlib
import logging
import pickle
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

_SHORTEST = 12


class Canaries:
    """What must not come out, by a word for what it is."""

    def __init__(self) -> None:
        self._forms: dict[str, set[bytes]] = {}

    def plant(self, what: str, text: str) -> str:
        """The text itself, remembered."""
        raw = text.encode()
        assert len(raw) >= _SHORTEST, "a shorter one might be met by chance"
        forms = {
            raw,
            quote(text, safe="").encode(),
            quote(text).encode(),
            raw.hex().encode(),
            repr(text)[1:-1].encode(),
        }
        for offset in range(3):  # whatever stands before it moves the groups of base64
            encoded = base64.b64encode(b"\0" * offset + raw + b"\0" * 3)
            middle = encoded[4 * (offset > 0) : -4 - 4 * (len(raw) % 3 > 0)][:-4]
            forms |= {middle, middle.translate(bytes.maketrans(b"+/", b"-_"))}
        with contextlib.suppress(ValueError):  # a key in base64: its bytes, too
            key = base64.b64decode(raw, validate=True)
            forms |= {key, key.hex().encode()}
        self._forms.setdefault(what, set()).update(form for form in forms if len(form) >= _SHORTEST)
        return text

    def in_text(self, text: str | bytes) -> set[str]:
        """What of it is there."""
        raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
        return {what for what, forms in self._forms.items() if any(form in raw for form in forms)}


def told_of(error: BaseException) -> list[str]:
    """Everything that a logger may write of an exception, its causes and contexts included."""
    texts = ["".join(traceback.format_exception(error))]
    link: BaseException | None = error
    while link is not None:
        texts += [str(link), repr(link), repr(link.args)]
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return texts


class _Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = f"{record.getMessage()} {record.args!r}"
        if record.exc_info and record.exc_info[1] is not None:
            text += "\n".join(told_of(record.exc_info[1]))
        self.lines.append((record.name, text))


@dataclass
class Watch:
    """What came out while :func:`watching`."""

    canaries: Canaries
    capture: Any
    records: _Records
    warned: list[warnings.WarningMessage]
    more: list[str | bytes] = field(default_factory=list)

    def saw(self, *texts: str | bytes) -> None:
        """Also this came out."""
        self.more += texts

    @contextlib.contextmanager
    def failing(self, *kinds: type[BaseException]) -> Iterator[None]:
        """The block must raise one of these, and what can be told of it is watched."""
        try:
            yield
        except kinds as error:
            self.saw(*told_of(error), pickle.dumps(error))  # as it crosses to another process
        else:
            raise AssertionError(f"nothing was raised: {kinds}")

    def found(self) -> set[str]:
        """Which canary came out, and where."""
        told = self.capture.readouterr()
        places = {"stdout": told.out, "stderr": told.err}
        places |= {f"warning {number}": str(found.message) for number, found in enumerate(self.warned)}
        places |= {f"text {number}": text for number, text in enumerate(self.more)}
        places |= {f"log {name} {number}": text for number, (name, text) in enumerate(self.records.lines)}
        return {f"{what} in {place}" for place, text in places.items() for what in self.canaries.in_text(text)}


@contextlib.contextmanager
def watching(canaries: Canaries, capture: Any, quiet: dict[str, int]) -> Iterator[Watch]:
    """Watch stdout, stderr, warnings and every logger at DEBUG, but those that ``quiet`` has another level for."""
    records, root = _Records(), logging.getLogger()
    with contextlib.ExitStack() as after:
        for name, level in {"": logging.DEBUG, **quiet}.items():
            logger = logging.getLogger(name)
            after.callback(logger.setLevel, logger.level)
            logger.setLevel(level)
        root.addHandler(records)
        after.callback(root.removeHandler, records)
        capture.readouterr()
        warned = after.enter_context(warnings.catch_warnings(record=True))
        warnings.simplefilter("always")
        yield Watch(canaries, capture, records, warned)
