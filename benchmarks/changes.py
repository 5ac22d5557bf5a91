"""The next checkpoint of a key: the one before it with a small change, stored by the same process."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from random import Random
from typing import Any

from benchmarks import shapes
from benchmarks.cases import KEY, Case, timed, warm_worker
from benchmarks.servers import counted

__all__ = ["BASES", "CHANGES", "again"]

_SEED = 20_261_124
Change = Callable[[Any, Callable[[int], Any]], Any]


def _array(megabytes: float) -> Any:
    import numpy as np

    return np.random.default_rng(_SEED).standard_normal(round(megabytes * 250_000), dtype=np.float32)


def _fresh_floats(count: int) -> Any:
    import numpy as np

    return np.random.default_rng(_SEED + 1).standard_normal(count, dtype=np.float32)


def _fresh_records(count: int) -> list[Any]:
    random = Random(_SEED + 1)
    found = list(islice(shapes.records(), count))
    for record in found:
        record["token"], record["score"] = f"{random.getrandbits(64):016x}", random.random()
    return found


BASES: dict[str, tuple[Callable[[float], Any], Callable[[int], Any]]] = {
    "array": (_array, _fresh_floats),
    "records": (lambda megabytes: shapes.make("records", megabytes), _fresh_records),
}
"""How to make the first value of so many million bytes, and so many new elements."""


def _joined(*parts: Any) -> Any:
    if isinstance(parts[0], list):
        return [element for part in parts for element in part]
    import numpy as np

    return np.concatenate(parts)


def _appended(value: Any, fresh: Callable[[int], Any]) -> Any:
    return _joined(value, fresh(len(value) // 100))


def _one_stretch(value: Any, fresh: Callable[[int], Any]) -> Any:
    start, count = len(value) // 2, len(value) // 20
    return _joined(value[:start], fresh(count), value[start + count :])


def _scattered(value: Any, fresh: Callable[[int], Any]) -> Any:
    changed = value.copy()
    changed[::100] = fresh(len(changed[::100]))
    return changed


def _inserted(value: Any, fresh: Callable[[int], Any]) -> Any:
    return _joined(fresh(max(1, len(value) // 1000)), value)


def _everything(value: Any, fresh: Callable[[int], Any]) -> Any:
    return fresh(len(value))


CHANGES: dict[str, Change] = {
    "nothing": lambda value, _: value.copy(),
    "1 % appended": _appended,
    "5 % in one stretch": _one_stretch,
    "1 % scattered": _scattered,
    "0.1 % inserted at the front": _inserted,
    "everything": _everything,
}


def again(case: Case) -> dict[str, Any]:
    """What the second ``set`` takes and sends; what it stored is read back and compared."""
    store, supervisor = warm_worker(case)
    make, fresh = BASES[case.shape]
    value = make(case.megabytes)
    store.set(KEY, value)
    value = CHANGES[case.options["change"]](value, fresh)
    before = counted(case.endpoint, "received")
    _, figures = timed(lambda: store.set(KEY, value), case.endpoint)
    sent = counted(case.endpoint, "received") - before
    found = store.get(KEY)
    equal = found == value
    assert type(found) is type(value), f"a {type(found).__name__} came back"
    assert equal if isinstance(equal, bool) else equal.all(), f"{case.shape} came back changed"
    return {**figures, "sent": sum(sent.values()), "rows": {("task", KEY): supervisor.rows["task", KEY]}}
