"""Mutants of what keeps a ref from counting in a row of other state."""

from __future__ import annotations

__all__ = ["ISOLATION"]

_STATE = ("tests/state/test_isolation.py",)
_AIRFLOW = ("tests/airflow/test_isolation.py",)

ISOLATION = {
    ("isolation.py", _STATE): [
        (
            "(scope, row[1] if encoded is None else encoded) == row",
            "scope == row[0]",
            "any key of an address will do",
        ),
        (
            "without_index(scope) == without_index(own)",
            "scope == own",
            "clearing all indices spares the others",
        ),
        ("if is_own is not None and not any(", "if is_own is None and not any(", "a copied ref resolves"),
    ],
    ("address.py", _STATE): [
        (
            "(kind, *segments[:2], segments[-2])",
            "(kind, *segments[:1], segments[-2])",
            "a task has one run",
        ),
    ],
    ("namespace.py", _STATE): [
        ("(ref := _ref_in(text))], is_own)", "(ref := _ref_in(text))])", "a forged row deletes what it names"),
        (
            "self._discard([text], of_row(address, key))\n\n    def deleted",
            "self._discard([text], of_address(address))\n\n    def deleted",
            "an overwritten row deletes by its address",
        ),
        ('settings.isolation == "state"', 'settings.isolation == "deployment"', "the setting is turned round"),
    ],
    ("peervalue.py", _STATE): [
        ("dag, run, task = segments[-_OF_TASK:-2]", "run, dag, task = segments[-_OF_TASK:-2]", "a run is a dag"),
        ("AssetAddress(name=last), AssetAddress(uri=last)", "AssetAddress(name=last)", "assets have no uri"),
    ],
    ("airflow/ownership.py", _AIRFLOW): [
        (
            '        if not scope.startswith("task/"):\n            return False\n',
            "",
            "task rows may name assets' blobs where no task can be told",
        ),
        (
            '        if not scope.startswith("asset/"):\n            return False\n',
            "",
            "asset rows may name tasks' blobs where no task runs",
        ),
        ("return of_address(address_of_ti(ti))(scope, key)", "return True", "a task reads any task's state"),
        ("return started is None or of_address(", "return True or of_address(", "a trigger reads any task's state"),
        (", all_map_indices=True)(scope, key)", ")(scope, key)", "a mapped task's callback cannot read its state"),
        ("[*inlets, *outlets]", "[*inlets]", "outlets have no state"),
        ("return  # nor has it any state", "yield None", "an asset that is not there opens all"),
        (
            "        for question in unknown:\n            yield from self._answered(question)\n",
            "",
            "Airflow is not asked",
        ),
        ("                yield None\n", "", "without an answer an asset's own value is refused"),
    ],
    ("airflow/running.py", _AIRFLOW): [
        (
            "        return None\n    dag_id, run_id",
            "        pass\n    dag_id, run_id",
            "a watcher has a task",
        ),
        ('ti.region_index if hasattr(ti, "region_index") else ', "", "an index in a region is the map index"),
    ],
}
