"""What users may add. A hook can make the collector keep more, never delete more."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from offload_backend.address import StateAddress
from offload_backend.errors import ConfigError, Refusal
from offload_backend.settings import Settings

if TYPE_CHECKING:
    from offload_backend.lifecycle.records import Candidate
    from offload_backend.lifecycle.report import Dangling, MarkReport, PurgeReport

__all__ = ["ENTRY_POINTS", "Hooks", "load_hooks", "notified", "raised"]

ENTRY_POINTS = "offload_backend.hooks"
_log = logging.getLogger(__name__)


class Hooks:
    """Subclass it and override what you need; every method here does nothing.

    Configured by ``[offload_backend] hooks``, a dotted path, or by an entry point in the group
    ``offload_backend.hooks``; made without arguments. The first three run in workers, where a hook that
    raises is logged and nothing else. The others run in the collector, where one that raises before
    anything was deleted is a refusal.
    """

    def on_offloaded(self, address: StateAddress, key: str, ref: str) -> None:
        """The blob of this ref is durable; its row is about to be written."""

    def on_resolved(self, ref: str) -> None:
        """The value of this ref was read and verified."""

    def on_reclaimed(self, refs: Sequence[str]) -> None:
        """The blobs of these refs were proven dead and deleted by the worker."""

    def on_orphans_marked(self, report: MarkReport) -> None:
        """A mark found these; it is concluded, and its manifest written, when this returns."""

    def before_delete(self, batch: Sequence[Candidate]) -> Iterable[Candidate]:
        """Which of these, at most a thousand, may go. Asked about every batch before the first delete."""
        return batch

    def on_purged(self, report: PurgeReport) -> None:
        """A purge that was to delete has ended; the report says what the store confirmed."""

    def on_rescued(self, batch: Sequence[Candidate]) -> None:
        """These, at most a thousand, were marked and have become live again: something commits late."""

    def on_refused(self, refusals: Sequence[Refusal]) -> None:
        """A run was refused; nothing was deleted."""

    def on_dangling(self, batch: Sequence[Dangling]) -> None:
        """These refs, at most a thousand, name blobs that are gone or damaged."""

    def extra_roots(self) -> Iterable[str]:
        """Ids, refs, or any texts that hold ids, of blobs to keep as if a row named them."""
        return ()


class _Combined(Hooks):
    """Several hooks as one, in order; a blob goes only if all let it go."""

    def __init__(self, members: Sequence[Hooks]) -> None:
        self._members = tuple(members)

    def on_offloaded(self, address: StateAddress, key: str, ref: str) -> None:
        self._each("on_offloaded", address, key, ref)

    def on_resolved(self, ref: str) -> None:
        self._each("on_resolved", ref)

    def on_reclaimed(self, refs: Sequence[str]) -> None:
        self._each("on_reclaimed", refs)

    def on_orphans_marked(self, report: MarkReport) -> None:
        self._each("on_orphans_marked", report)

    def before_delete(self, batch: Sequence[Candidate]) -> Iterable[Candidate]:
        allowed = [set(member.before_delete(batch)) for member in self._members]
        strangers = set().union(*allowed) - set(batch)
        # A stranger is passed on, so that whoever asked sees that a hook tried to delete more.
        return [*strangers, *(blob for blob in batch if all(blob in kept for kept in allowed))]

    def on_purged(self, report: PurgeReport) -> None:
        self._each("on_purged", report)

    def on_rescued(self, batch: Sequence[Candidate]) -> None:
        self._each("on_rescued", batch)

    def on_refused(self, refusals: Sequence[Refusal]) -> None:
        self._each("on_refused", refusals)

    def on_dangling(self, batch: Sequence[Dangling]) -> None:
        self._each("on_dangling", batch)

    def extra_roots(self) -> Iterator[str]:
        for member in self._members:
            yield from member.extra_roots()

    def _each(self, method: str, *arguments: Any) -> None:
        """Call all members, whatever one of them raises; the first exception is raised in the end."""
        errors = []
        for member in self._members:
            try:
                getattr(member, method)(*arguments)
            except Exception as error:  # noqa: BLE001, PERF203 - raised below, when the others had their turn
                errors.append(error)
        if errors:
            raise errors[0]


def load_hooks(settings: Settings, *further: Hooks) -> Hooks:
    """The hooks of the setting, of all installed packages, and ``further`` ones, as one.

    Raises :class:`ConfigError` for what cannot be imported or is no :class:`Hooks`.
    """
    members = []
    if settings.hooks:
        members.append(_made(f"[offload_backend] hooks = {settings.hooks}", lambda: _imported(settings.hooks)))
    points = sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name)
    members += [_made(f"entry point {point.name} = {point.value}", point.load) for point in points]
    members += further
    return members[0] if len(members) == 1 else _Combined(members)


def _imported(path: str) -> Any:
    module, dot, name = path.rpartition(".")
    if not dot:
        raise ImportError("a dotted path has a module and a class")
    return getattr(importlib.import_module(module), name)


def _made(origin: str, load: Callable[[], Any]) -> Hooks:
    try:
        made = load()()
    except Exception as error:
        raise ConfigError(
            f"the hooks of {origin} cannot be made: {type(error).__name__}",
            hint="name a class that can be imported here and made without arguments, or leave it out",
        ) from error
    if not isinstance(made, Hooks):
        raise ConfigError(
            f"the hooks of {origin} are a {type(made).__name__}",
            hint="derive the class from offload_backend.lifecycle.hooks.Hooks",
        )
    return made


def raised(method: str, error: Exception) -> Refusal:
    """The refusal for a hook that raised; its text is not shown, for it may hold anything."""
    return Refusal(
        rule="hook",
        measured=f"the hook {method} raised {type(error).__name__}",
        limit="no hook raises",
        override="correct the hook, or take it out of [offload_backend] hooks",
    )


def notified(method: str, call: Callable[[], None]) -> None:
    """Tell a hook in a worker; whatever it raises is logged, and the task goes on."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 - a user's hook must never fail the task
        _log.warning("the hook %s raised %s", method, type(error).__name__, exc_info=True)
