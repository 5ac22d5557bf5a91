"""Checkpoints of a loop: saved now and then, the last few kept, gone on from after a crash."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from datetime import datetime, timedelta, timezone
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from offload_backend.errors import BlobCorruptError, BlobNotFoundError, CheckpointError

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Checkpointer", "StateStore"]

_FORMAT = 1
_T = TypeVar("_T")


class StateStore(Protocol):
    """What is needed of a store: Airflow's accessors have it, with any backend or none, and so have ours."""

    def get(self, key: str) -> Any:
        """The value, or ``None``."""
        ...

    @property
    def set(self) -> Callable[..., None]:
        """Write or overwrite the key's value; a task's store also takes ``retention``."""
        ...

    def delete(self, key: str) -> None:
        """Remove the key, if it exists."""
        ...


class _Saved(NamedTuple):
    """A checkpoint that is saved: after how many steps, and in which slot."""

    step: int
    slot: int


class Checkpointer:
    """Saves the state of a loop every so many steps or seconds, so that the next attempt goes on from there.

    ::

        with Checkpointer(task_state_store, "model", every=100, seconds=60, keep=3) as checkpoint:
            model = checkpoint.resume(start=new_model)
            for batch in checkpoint.remaining(batches):
                learn(model, batch)
                checkpoint.offer(model)

    A checkpoint is saved when ``every`` steps have been done since the last one, or ``seconds`` have passed,
    whichever is first; after each step if neither is given. The last ``keep`` of them stay, for ``retention``,
    as the store's ``set`` has it.

    Killed at any moment, it leaves the last checkpoint that was saved, whole. Each is written to a slot (a key
    such as ``model.0``) that the **progress**, a small value under the key ``model``, does not name; writing the
    progress commits it; only then is the oldest deleted. So ``keep`` states take space, and one more while
    another is being saved. The progress stays in its row: in Airflow's UI it tells people how far the loop is.

    Leaving the block normally saves what was offered last. Leaving it by an exception saves nothing, since
    the state may be half changed: the next attempt repeats what came after the last save.

    One attempt uses it, from one thread. What ``get``, ``set`` and ``delete`` of the store raise passes through;
    after it, every checkpoint that was committed is as it was.
    """

    def __init__(
        self,
        store: StateStore,
        name: str,
        *,
        every: int | None = None,
        seconds: float | None = None,
        keep: int = 1,
        retention: timedelta | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``clock`` tells seconds that never go back. Raises ``ValueError`` for what can never be due or kept."""
        if every is not None and every < 1:
            raise ValueError(f"every is a number of steps, at least 1, not {every}")
        if seconds is not None and not seconds >= 0:
            raise ValueError(f"seconds is not negative, unlike {seconds}")
        if keep < 1:
            raise ValueError(f"keep is a number of checkpoints, at least 1, not {keep}")
        self._store = store
        self._name = name
        self._every = every if every is not None else 1 if seconds is None else math.inf
        self._seconds = math.inf if seconds is None else seconds
        self._keep = keep
        # Assets' stores know of no retention.
        self._options = {} if retention is None else {"retention": retention}
        self._clock = clock
        self._due_at = math.inf
        self._step = self._saved_step = 0
        self._state: Any = None
        self._total: int | None = None
        self._line: list[_Saved] | None = None
        """The checkpoints that the state descends from; ``None`` before ``resume``."""
        self._named: set[_Saved] = set()
        """What the progress in the store names, or may name."""

    @property
    def step(self) -> int:
        """How many steps are done, in all attempts: those in the state of ``resume``, or of the last offer."""
        return self._step

    @property
    def saved_steps(self) -> tuple[int, ...]:
        """After how many steps the checkpoints were saved that ``resume`` can go back to, oldest first."""
        return tuple(saved.step for saved in self._line or ())

    def resume(self, start: Callable[[], _T], *, step: int | None = None) -> _T:
        """The state of the latest checkpoint or, if there is none yet, what ``start`` makes.

        With ``step``, that of the checkpoint after so many steps; the next save forgets those that came later.
        Raises :class:`~offload_backend.errors.CheckpointError` when the checkpoint is gone or damaged: which
        one to go on from instead is not decided here.
        """
        named = self._read_progress()
        if self._named and not named:
            raise _error("the progress that was written, or may have been, is not there", self._name, named)
        chosen = [saved for saved in named if step in (None, saved.step)]
        if chosen:
            state: _T = self._read(chosen[-1], named)
            line = named[: named.index(chosen[-1]) + 1]
        elif step is None:
            state, line = start(), []
        else:
            raise _error(f"there is no checkpoint after {step} steps", self._name, named)
        self._named |= {*named}
        self._line = line
        self._step = self._saved_step = line[-1].step if line else 0
        self._state = None
        self._due_at = self._clock() + self._seconds
        return state

    def remaining(self, items: Iterable[_T]) -> Iterator[_T]:
        """The items after the first :attr:`step`, which are done: one step each, so one :meth:`offer` each.

        The items have to be the same, in the same order, in every attempt. Raises ``RuntimeError`` when the next
        one is asked for and the state after the last one has not been offered, once.
        """
        if self._line is None:
            raise _not_resumed()
        self._total = len(items) if isinstance(items, Sized) else None
        rest: Any = items[self._step :] if isinstance(items, range) else islice(items, self._step, None)
        for item in rest:
            done = self._step
            yield item
            if self._step != done + 1:
                raise RuntimeError("offer the state once for each item; to go back, loop by `step` instead")

    def offer(self, state: Any) -> None:
        """One more step is done, and this is the state after it: save it if a checkpoint is due.

        Saved before this returns, or not at all. Between offers, the state may be changed in place.
        """
        if self._line is None:
            raise _not_resumed()
        self._step += 1
        self._state = state
        if self._step - self._saved_step >= self._every or self._clock() >= self._due_at:
            self.save()

    def save(self) -> None:
        """Save what was offered last, due or not, unless it is saved."""
        if self._step == self._saved_step or self._line is None:
            return
        used = {saved.slot for saved in self._named}
        saved = _Saved(self._step, next(slot for slot in range(len(used) + 1) if slot not in used))
        line = [*self._line, saved][-self._keep :]
        self._set(self._key_of(saved), {"step": saved.step, "state": self._state})
        # A write that fails may have been carried out, and no slot that the progress may name is written to. To
        # read it again would not do: after a time-out, Airflow may give an older answer to the next question.
        self._named.add(saved)
        self._set(self._name, self._progress(line))
        dropped = sorted(self._named.difference(line))
        self._named, self._line = {*line}, line
        self._saved_step, self._state = saved.step, None
        self._due_at = self._clock() + self._seconds
        for other in dropped:
            self._store.delete(self._key_of(other))

    def clear(self) -> None:
        """Remove every checkpoint; what was offered is not saved any more, and ``resume`` starts anew.

        ``[state_store] clear_on_success`` does as much for a task that succeeds.
        """
        named = self._named.union(self._read_progress())
        self._line, self._named, self._state = None, set(), None
        self._step = self._saved_step = 0
        self._store.delete(self._name)
        for slot in sorted({*range(self._keep + 1), *(saved.slot for saved in named)}):
            self._store.delete(self._key_of(_Saved(0, slot)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.save()

    def __repr__(self) -> str:
        return f"<Checkpointer {self._name!r} after {self._step} steps>"

    def _key_of(self, saved: _Saved) -> str:
        return f"{self._name}.{saved.slot}"

    def _set(self, key: str, value: Any) -> None:
        self._store.set(key, value, **self._options)

    def _read(self, saved: _Saved, named: list[_Saved]) -> Any:
        key = self._key_of(saved)
        cause = None
        try:
            match self._store.get(key):
                case {"step": saved.step, "state": state}:
                    return state
                case None:
                    problem = "its row is gone"
                case _:
                    problem = "its row holds something else"
        except (BlobNotFoundError, BlobCorruptError) as error:
            problem, cause = error.message, error
        others = [other for other in named if other != saved]
        raise _error(f"the checkpoint after {saved.step} steps cannot be had: {problem}", key, others) from cause

    def _progress(self, line: list[_Saved]) -> dict[str, Any]:
        return {
            "checkpointer": _FORMAT,
            "step": line[-1].step,
            **({} if self._total is None else {"of": self._total}),
            "saved_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "checkpoints": [saved._asdict() for saved in line],
        }

    def _read_progress(self) -> list[_Saved]:
        value = self._store.get(self._name)
        match value:
            case None:
                return []
            case {"checkpointer": 1, "checkpoints": [_, *_] as checkpoints}:
                named = [
                    _Saved(each["step"], each["slot"])
                    for each in checkpoints
                    if isinstance(each, dict) and all(type(each.get(name)) is int for name in _Saved._fields)
                ]
                if len(named) == len(checkpoints):
                    return named
        raise CheckpointError(
            "the key holds something that is not a checkpointer's progress",
            key=self._name,
            hint="give the Checkpointer a name that no other key has; or upgrade, if a newer release wrote it",
        )


def _not_resumed() -> RuntimeError:
    return RuntimeError("call resume() first: what earlier attempts have saved would be lost")


def _error(message: str, key: str, others: list[_Saved]) -> CheckpointError:
    steps = [saved.step for saved in others]
    there = f"resume(…, step=N) takes one of {steps}; " if steps else ""
    return CheckpointError(message, key=key, steps=steps, hint=f"{there}clear() forgets all, to start anew")
