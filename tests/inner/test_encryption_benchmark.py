"""The benchmark of encryption runs, and leaves nothing behind. Never its times."""

from __future__ import annotations

from benchmarks import encryption


def test_the_benchmark_sets_and_gets_every_value_both_ways(tmp_path):
    found = encryption.measure(tmp_path, scale=0.001, runs=1)
    assert [(m["value"], m["operation"]) for m in found] == [
        (value, operation) for value in encryption.values(0.001) for operation in ("set", "get")
    ]
    assert encryption.table(found).count("\n") == 1 + len(found)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
