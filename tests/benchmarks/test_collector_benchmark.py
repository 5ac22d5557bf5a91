from __future__ import annotations

import json

from benchmarks import collector


def test_the_collectors_benchmark_runs_and_every_orphan_is_deleted():
    results = collector.run(collector.QUICK)
    assert [found["blobs"] for found in results["sizes"]] == list(collector.QUICK)
    assert [found["deleted"] for found in results["sizes"]] == [100, 200]
    assert all(found["mark seconds"] > 0 and found["mark peak"] > 0 for found in results["sizes"])
    assert collector.table(results).count("\n| 1,000 ") == 1


def test_the_readme_shows_the_last_results():
    results = json.loads(collector.RESULTS.read_text())
    assert [found["blobs"] for found in results["sizes"]] == list(collector.SIZES)
    assert collector.table(results) in collector.README.read_text()
