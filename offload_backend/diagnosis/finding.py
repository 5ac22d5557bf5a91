"""What a check saw, and how checks are run: none of them stops or stalls the others, whatever it meets."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from offload_backend.errors import ConfigError, OffloadError, without_text

__all__ = ["Check", "Finding", "Fix", "Result", "SkippedError", "StalledError", "Status"]
__all__ += ["UnseenError", "amount", "bounded", "diagnose", "failed", "ok", "warn"]

_T = TypeVar("_T")
SECONDS = 30.0
IN_ALL = 180.0
"""Seconds after which checks that remain are skipped, whatever the others have waited for."""


class Status(str, Enum):
    """How things are. ``UNKNOWN``: it could not be seen, which is not the same as well."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "unknown"
    SKIP = "skip"


@dataclass(frozen=True)
class Fix:
    """What ``--fix`` would do, in ``words``; ``act`` does it, and tells in words what it did."""

    words: str
    act: Callable[[], str]


@dataclass(frozen=True)
class Finding:
    """What was seen, what it means, and the setting or command that mends it.

    ``setting``: the configuration is to blame. No text holds a secret.
    """

    status: Status
    seen: str
    means: str = ""
    mend: str = ""
    setting: bool = False
    fix: Fix | None = None


@dataclass(frozen=True)
class Check:
    """One thing to look at. ``examine`` tells at least one finding, or raises; it has ``seconds`` for it."""

    name: str
    examine: Callable[[], Iterable[Finding]]
    seconds: float = SECONDS


@dataclass(frozen=True)
class Result:
    """A finding, the name of its check, and what was done about it."""

    check: str
    finding: Finding
    fixed: str = ""


class StalledError(Exception):
    """Something was not done in time."""


class SkippedError(Exception):
    """There is nothing to look at, for the reason that is the text."""


class UnseenError(Exception):
    """What was to be looked at may not be seen from here, as ``error`` says; nothing is known of it."""

    def __init__(self, what: str, error: OffloadError) -> None:
        super().__init__(what)
        self.what = what
        self.error = error


def ok(seen: str, means: str = "") -> Finding:
    """All is well."""
    return Finding(Status.OK, seen, means)


def warn(seen: str, means: str, mend: str = "", *, fix: Fix | None = None) -> Finding:
    """It works, and yet somebody should know."""
    return Finding(Status.WARN, seen, means, mend, fix=fix)


def failed(seen: str, means: str, mend: str = "", *, setting: bool = False, fix: Fix | None = None) -> Finding:
    """It does not work, or will not."""
    return Finding(Status.FAIL, seen, means, mend, setting, fix)


def amount(count: int, what: str) -> str:
    """``1 ref``, ``1,234 refs``."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def diagnose(
    checks: Sequence[Check],
    *,
    fix: bool = False,
    on_step: Callable[[str, int, int], None] = lambda _name, _done, _total: None,
) -> list[Result]:
    """The results of all checks, in their order. Raises nothing that a check raises.

    A check that is not done in time is left to itself in its thread. With ``fix``, what a finding offers is done,
    and its check made once more.
    """
    results = []
    end = time.monotonic() + IN_ALL
    for number, check in enumerate(checks):
        on_step(check.name, number, len(checks))
        if time.monotonic() > end:
            results.append(Result(check.name, Finding(Status.SKIP, "the checks before it took too long")))
            continue
        found = _examined(check)
        fixes = [finding.fix for finding in found if finding.fix is not None] if fix else []
        if fixes:
            done = [_fixed(each) for each in fixes]
            found = _examined(check)
            results += [Result(check.name, found[0], "; ".join(done))]
            found = found[1:]
        results += [Result(check.name, finding) for finding in found]
    return results


def bounded(call: Callable[[], _T], seconds: float, name: str) -> _T:
    """What ``call`` returns or raises; :class:`StalledError` when it takes longer, and then it goes on unheard."""
    returned: list[_T] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            returned.append(call())
        except BaseException as error:  # noqa: BLE001 - raised in the caller's thread
            raised.append(error)

    thread = threading.Thread(target=copy_context().run, args=(run,), name=f"offload-{name}", daemon=True)
    thread.start()
    thread.join(seconds)
    if raised:
        raise raised[0]
    if not returned:
        raise StalledError(f"not done within {seconds:g} s")
    return returned[0]


def _examined(check: Check) -> list[Finding]:
    """What the check told until it ended, raised, or ran out of time; then also that it did."""
    found: list[Finding] = []
    try:
        bounded(lambda: found.extend(check.examine()), check.seconds, check.name)
    except StalledError as error:
        stalled = Finding(Status.UNKNOWN, str(error), "whatever it waits for does not answer in time")
        return [*found, stalled]  # a copy: the thread goes on
    except (Exception, SystemExit) as error:  # noqa: BLE001 - told as a finding; who is imported may want to exit
        return [*found, _told(error)]
    return found or [Finding(Status.UNKNOWN, "the check told nothing")]


def _told(error: BaseException) -> Finding:
    if isinstance(error, SkippedError):
        return Finding(Status.SKIP, str(error))
    if isinstance(error, UnseenError):
        return Finding(
            Status.UNKNOWN, error.error.message, f"{error.what} cannot be seen from here", error.error.hint
        )
    if isinstance(error, OffloadError):
        return failed(error.message, "", error.hint, setting=isinstance(error, ConfigError))
    # Of what others raise, the text may hold anything.
    return Finding(
        Status.UNKNOWN,
        f"the check itself failed: {_named(error)}",
        "nothing is known of what it was to look at",
        "report it, with the versions above",
    )


def _named(error: BaseException) -> str:
    return str(without_text(error)) if isinstance(error, Exception) else type(error).__name__


def _fixed(fix: Fix) -> str:
    try:
        return fix.act()
    except Exception as error:  # noqa: BLE001 - told
        told = error.message if isinstance(error, OffloadError) else str(without_text(error))
        return f"could not be done: {fix.words}: {told}"
