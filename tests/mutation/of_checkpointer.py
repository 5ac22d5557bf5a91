"""Mutants of the Checkpointer: what it commits in which order, what it says is due, what it refuses."""

from __future__ import annotations

__all__ = ["CHECKPOINTER"]

_TESTS = ("tests/state/test_checkpointer.py",)

CHECKPOINTER = {
    ("checkpointer.py", _TESTS): [
        ("if slot not in used)", ")", "a slot that the progress names is written to"),
        (
            "        self._set(self._key_of(saved), {",
            "        self._set(self._name, self._progress(line))\n        self._set(self._key_of(saved), {",
            "the progress is written before the state",
        ),
        (
            "        self._named.add(saved)\n",
            "",
            "an unsure progress counts as not written",
        ),
        ("if self._named and not named:", "if False:", "what is gone is a reason to start anew"),
        ("][-self._keep :]", "]", "all are kept"),
        ("sorted(self._named.difference(line))", "sorted(self._named)", "checkpoints that count are deleted"),
        ("for other in dropped:", "for other in ():", "the oldest is not deleted"),
        ("        if kind is None:\n", "        if True:\n", "a state that is half changed is saved"),
        ('case {"step": saved.step, "state": state}:', 'case {"state": state}:', "any state in the slot is taken"),
        (
            "            if self._step != done + 1:\n",
            "            if False:\n",
            "an item without an offer is not noticed",
        ),
        (
            "line = named[: named.index(chosen[-1]) + 1]",
            "line = named",
            "what came after the checkpoint is kept",
        ),
        ("self._step - self._saved_step >= self._every or ", "", "only the time makes a checkpoint due"),
        (
            "self._state = saved.step, None\n        self._due_at = self._clock() + self._seconds",
            "self._state = saved.step, None",
            "after the first time, each step is due",
        ),
        (
            "except (BlobNotFoundError, BlobCorruptError) as error:",
            "except Exception as error:",
            "trouble is damage",
        ),
    ],
}
