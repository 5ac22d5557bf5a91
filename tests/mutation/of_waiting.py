"""Mutants of how long a store is waited for, and what then goes on."""

from __future__ import annotations

__all__ = ["WAITING"]

_UNITS = ("tests/stores/test_retries.py", "-k", "patience or pause or obeyed or progress")
_OBEYED = ("tests/stores/test_retries.py", "-k", "come_back")
_TRICKLED = ("tests/stores/test_retries.py", "-k", "prolong")
_INTERRUPTED = ("tests/stores/test_retries.py", "-k", "interrupts and direct")
_INTERRUPTED_ANYWHERE = ("tests/stores/test_s3_interrupted.py", "-k", "upload")
_TRIGGERS = ("tests/airflow/test_triggerer_loop.py", "-k", "go_on")

WAITING = {
    ("stores/patience.py", _UNITS): [
        ("if size >= self._moved + PROGRESS:", "if True:", "bytes that are sent again are progress"),
        (
            "return min(self._end, self._latest) - time.monotonic()",
            "return self._end - time.monotonic()",
            "what is cut goes on",
        ),
        ("max(at_least, min(seconds, last))", "max(at_least, seconds)", "the last try comes too late"),
        ("if last <= 0 or at_least > last:", "if last <= 0:", "who asks for a long pause is waited for in vain"),
    ],
    ("stores/s3_wire.py", _TRICKLED): [
        ("            if left <= 0:", "            if False:", "bytes that trickle are waited for"),
    ],
    ("stores/s3_retries.py", _OBEYED): [
        ("patience.pause(pause, asked)", "patience.pause(pause, 0.0)", "Retry-After is not obeyed"),
    ],
    ("stores/s3_multipart.py", _INTERRUPTED): [
        ("            patience.cut(seconds / 2)\n", "            pass\n", "parts go on after an interruption"),
        ("        if again:\n", "        if False:\n", "a part may arrive after the abort"),
    ],
    ("stores/s3_multipart.py", _INTERRUPTED_ANYWHERE): [
        ("        for thread in threads:\n            thread.join()\n", "", "a part may arrive after both aborts"),
        ("bool(threads) or not", "not", "a part that was just begun is forgotten"),
    ],
    ("airflow/loop.py", _TRIGGERS): [
        ("if greenback is None or not on_event_loop()", "if True", "a trigger that reads stops the others"),
    ],
}
