"""Values that JSON has no word for, and what people do today to store them with common-io all the same."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

from pydantic import BaseModel

from benchmarks.cases import KEY, Case, timed, warm_worker

__all__ = ["ALLOWED", "VALUES", "WAYS", "Checkpoint", "Item", "Source", "read", "store"]

ALLOWED = "benchmarks.typed.* pandas.*"
"""What Airflow's ``[core] allowed_deserialization_classes`` has to name."""
_SEED = 20_261_123
_TINY = 1e-4
_FIRST = datetime(2026, 11, 23, tzinfo=timezone.utc)


class Source(BaseModel):
    """Where an item came from."""

    bucket: str
    offset: int


class Item(BaseModel):
    """One of many in a checkpoint."""

    id: int
    token: str
    score: float
    seen: datetime
    tags: list[str]
    source: Source


class Checkpoint(BaseModel):
    """A tree of models, one in two of them nested in another."""

    epoch: int
    items: list[Item]


def random_array(scale: float) -> Any:
    """256 MB of float32 that hardly compress: weights."""
    import numpy as np

    return np.random.default_rng(_SEED).standard_normal(max(1, round(64e6 * scale)), dtype=np.float32)


def smooth_array(scale: float) -> Any:
    """256 MB of float32 with two decimals that rise and fall: a sensor."""
    import numpy as np

    steps = np.arange(max(1, round(64e6 * scale)), dtype=np.float32)
    return np.round(np.sin(steps / 5_000) * 100 + np.sin(steps / 7) * 3, 2).astype(np.float32)


def frame(scale: float) -> Any:
    """5 million rows of an integer, a float with two decimals and one of 50,000 texts."""
    import numpy as np
    import pandas as pd

    random, rows = np.random.default_rng(_SEED), max(1, round(5e6 * scale))
    users = np.array([f"user-{number:05}@example.org" for number in range(50_000)])
    return pd.DataFrame(
        {
            "id": np.arange(rows, dtype=np.int64),
            "amount": np.round(random.exponential(50, rows), 2),
            "user": users[random.integers(0, len(users), rows)],
        }
    )


def many_arrays(scale: float) -> Any:
    """A dict of 500 arrays of 500 kB: the layers of a model."""
    import numpy as np

    random = np.random.default_rng(_SEED)
    each = max(1, round(125_000 * scale))
    return {f"layer.{number}.weight": random.standard_normal(each, dtype=np.float32) for number in range(500)}


def models(scale: float) -> Any:
    """50,000 pydantic models in one, half of them within the other half."""
    return Checkpoint(
        epoch=3,
        items=[
            Item(
                id=number,
                token=f"{number * 0x9E3779B97F4A7C15 % (1 << 64):016x}",
                score=number / 7,
                seen=_FIRST + timedelta(seconds=number),
                tags=["new", "checked"][: number % 3],
                source=Source(bucket=f"raw-{number % 16}", offset=number * 4096),
            )
            for number in range(max(1, round(25_000 * scale)))
        ],
    )


VALUES: dict[str, Callable[[float], Any]] = {
    "array, random": random_array,
    "array, smooth": smooth_array,
    "frame": frame,
    "500 arrays": many_arrays,
    "models": models,
}


def store(case: Case) -> dict[str, Any]:
    """What a ``set`` takes with everything that has to be done to the value before it."""
    accessor, supervisor = warm_worker(case)
    to_json, from_json = WAYS[case.options["way"]]
    make, scale = VALUES[case.shape], case.options["scale"]
    try:
        accessor.set("warm-up", to_json(make(_TINY)))
        from_json(accessor.get("warm-up"), make(_TINY))
    except TypeError as error:
        return {"refused": f"{type(error).__name__}: {str(error).partition('. ')[0].splitlines()[0]}"}
    value = make(scale)
    _, figures = timed(lambda: accessor.set(KEY, to_json(value)), case.endpoint)
    return {**figures, "size": weight(value), "rows": {("task", KEY): supervisor.rows["task", KEY]}}


def read(case: Case) -> dict[str, Any]:
    """What a ``get`` takes with everything that has to be done after it; what comes back is compared."""
    accessor, _ = warm_worker(case)
    to_json, from_json = WAYS[case.options["way"]]
    make, scale = VALUES[case.shape], case.options["scale"]
    kind = make(_TINY)
    accessor.set("warm-up", to_json(kind))
    from_json(accessor.get("warm-up"), kind)
    value, figures = timed(lambda: from_json(accessor.get(KEY), kind), case.endpoint)
    assert same(value, make(scale)), f"{case.shape} came back changed"
    return {**figures, "size": weight(value)}


def weight(value: Any) -> int:
    """Bytes of the value's own data; of models, of their JSON."""
    if isinstance(value, dict):
        return sum(map(weight, value.values()))
    if isinstance(value, BaseModel):
        return len(value.model_dump_json())
    return int(value.memory_usage(deep=True).sum() if hasattr(value, "columns") else value.nbytes)


def same(found: Any, expected: Any) -> bool:
    """Equal, of the same type and, of arrays, of the same element type."""
    if type(found) is not type(expected):
        return False
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(same(found[name], expected[name]) for name in expected)
    if hasattr(expected, "columns"):
        return bool(found.equals(expected) and (found.dtypes == expected.dtypes).all())
    if isinstance(expected, BaseModel):
        return bool(found == expected)
    return bool(found.dtype == expected.dtype and found.shape == expected.shape and (found == expected).all())


def _as_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: each.tolist() for name, each in value.items()}
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return value.to_dict("list") if hasattr(value, "columns") else value.tolist()


def _from_lists(found: Any, kind: Any) -> Any:
    import numpy as np

    if isinstance(kind, dict):
        return {name: np.array(each, dtype=np.float32) for name, each in found.items()}
    if isinstance(kind, BaseModel):
        return type(kind).model_validate(found)
    return type(kind)(found) if hasattr(kind, "columns") else np.array(found, dtype=np.float32)


def _as_base64(value: Any) -> Any:
    """NumPy's own file format; Parquet of a frame, with Snappy, as Airflow's XCom has it."""
    import numpy as np

    if isinstance(value, dict):
        return {name: _as_base64(each) for name, each in value.items()}
    file = io.BytesIO()
    if hasattr(value, "columns"):
        value.to_parquet(file)
    elif isinstance(value, np.ndarray):
        np.save(file, value)
    else:
        raise TypeError(f"nobody writes {type(value).__name__} in base64")
    return base64.b64encode(file.getbuffer()).decode()


def _from_base64(found: Any, kind: Any) -> Any:
    import numpy as np

    if isinstance(kind, dict):
        return {name: _from_base64(each, kind[name]) for name, each in found.items()}
    file = io.BytesIO(base64.b64decode(found))
    if hasattr(kind, "columns"):
        import pandas as pd

        return pd.read_parquet(file)
    return np.load(file)


def _as_xcom(value: Any) -> Any:
    from airflow.sdk.serde import serialize

    return serialize(value)


def _from_xcom(found: Any, _: Any) -> Any:
    from airflow.sdk.serde import deserialize

    return deserialize(found)


WAYS: dict[str, tuple[Callable[[Any], Any], Callable[[Any, Any], Any]]] = {
    "ours": (lambda value: value, lambda found, _: found),
    "lists": (_as_lists, _from_lists),
    "base64": (_as_base64, _from_base64),
    "xcom": (_as_xcom, _from_xcom),
}
"""How a value becomes what the backend takes, and back; the second one is shown a tiny value of the same kind."""
