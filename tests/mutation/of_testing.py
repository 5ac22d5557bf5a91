"""Mutants of what other people's tests rest on: what is told of what they leave behind, and what faults do."""

from __future__ import annotations

__all__ = ["TESTING"]

_PLUGIN = ("tests/testing/test_plugin.py", "-k", "AtTheEnd")
_FAULTS = ("tests/testing/test_state_faults.py", "-k", "offload_state or asked or happened or new_ones")
_ATTEMPTS = ("tests/testing/test_attempts.py",)
_AIRFLOW = ("tests/airflow/test_state_under_test.py",)
_EXAMPLES = ("tests/testing/test_documented.py", "-k", "defect")

TESTING = {
    ("testing/leftovers.py", _PLUGIN): [
        ("and blob.id not in kept)", "and False)", "a test is not told of orphans"),
        (
            "            offloader.resolve(text)\n",
            "            pass\n",
            "no ref is followed",
        ),
    ],
    ("testing/plugin.py", _PLUGIN): [
        ("if lines[1:] and word not in allowed", "if lines[1:] and not allowed", "one mark allows everything"),
        (
            "        return\n    left = ",
            "        pass\n    left = ",
            "who has failed is told more",
        ),
        ('"faults": ["faults that', '"fault": ["faults that', "who marks a test for its faults is not heard"),
    ],
    ("testing/faults.py", _FAULTS): [
        ("            if fault.after > 0:\n", "            if False:\n", "the first calls are not left alone"),
        (
            "if fault not in self._happened]",
            "if fault.times is None and fault not in self._happened]",
            "a fault that never happened is not told",
        ),
    ],
    ("testing/state_faults.py", _FAULTS): [
        (
            'self.rows.add("before", _kill, 1, after)',
            'self.rows.add("after", _kill, 1, after)',
            "a late kill",
        ),
    ],
    ("testing/airflow_state.py", _ATTEMPTS): [
        ("            except Killed:\n", "            except KeyboardInterrupt:\n", "a killed attempt tidies up"),
    ],
    ("testing/airflow_state.py", _AIRFLOW): [
        (
            "        forget_backend()\n        context = ",
            "        context = ",
            "attempts share a memory",
        ),
    ],
    ("testing/supervisor.py", _AIRFLOW): [
        ("if message.ti_id in self._superseded:", "if False:", "a superseded attempt is believed"),
        ("return AssetAddress(name=known.name) if known else address", "return address", "an asset is two assets"),
    ],
    ("testing/key_source.py", _EXAMPLES): [
        (
            'assert found == [], "',
            'assert isinstance(found, list), "',
            "forged bytes may have keys",
        ),
    ],
    ("testing/core_store.py", _EXAMPLES): [
        (
            'core_store.set(TASK, "key", "2", expires_at=None) == "1"',
            'core_store.set(TASK, "key", "2", expires_at=None) != "2"',
            "a core store need not tell what it replaced",
        ),
    ],
}
