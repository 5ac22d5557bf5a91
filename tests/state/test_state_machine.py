"""Any sequence of calls behaves as a dictionary would, and leaves exactly the blobs that rows refer to."""

from __future__ import annotations

import json
import shutil
import tempfile
import uuid

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from offload_backend import connect
from offload_backend.address import AssetAddress
from offload_backend.corestores.memory import MemoryCoreStore
from offload_backend.settings import Settings
from offload_backend.stores.opening import open_store

INDICES = (-1, 0, 1)
keys = st.sampled_from(["checkpoint", "a/b", "", "..", "\ud800", "\U0001f600" * 100])
json_values = st.recursive(
    st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
large = st.integers(0, 999).map(lambda seed: {"seed": seed, "rows": [f"row {number}" for number in range(40)]})
envelopes = st.sampled_from([{"__airflow_state_ref__": "file:///etc/passwd"}, {"__airflow_state_ref__": "[1]"}])
values = json_values | large | envelopes


class StateMachine(RuleBasedStateMachine):
    """Three map indices of one task, and two assets whose name and uri are equal."""

    def __init__(self):
        super().__init__()
        self.path = self.new_path()
        self.rows = MemoryCoreStore()
        self.model = {}
        self.reopen()

    def new_path(self):
        return f"memory://{uuid.uuid4().hex}"

    @rule()
    def reopen(self):
        stores = connect(self.path, self.rows, inline_limit=120)
        self.stores = {index: stores.task_store("dag", "run", "task", index) for index in INDICES}
        self.stores["name"] = stores.asset_store(name="same")
        self.stores["uri"] = stores.asset_store(uri="same")

    owners = st.sampled_from([*INDICES, "name", "uri"])

    @rule(owner=owners, key=keys, value=values)
    def set(self, owner, key, value):
        self.stores[owner].set(key, value)
        self.model[owner, key] = value

    @rule(owner=owners, key=keys)
    def get(self, owner, key):
        got = self.stores[owner].get(key, "missing")
        assert exact(got) == exact(self.model.get((owner, key), "missing"))

    @rule(owner=owners, key=keys)
    def delete(self, owner, key):
        self.stores[owner].delete(key)
        self.model.pop((owner, key), None)

    @rule(owner=owners)
    def clear(self, owner):
        self.stores[owner].clear()
        self.forget(owner)

    @rule(index=st.sampled_from(INDICES))
    def clear_all_map_indices(self, index):
        self.stores[index].clear(all_map_indices=True)
        for owner in INDICES:
            self.forget(owner)

    def forget(self, owner):
        self.model = {place: value for place, value in self.model.items() if place[0] != owner}

    @invariant()
    def rows_are_those_of_the_model(self):
        found = {(owner_of(row.address), row.key) for row in self.rows.rows()}
        assert found == set(self.model)

    @invariant()
    def blobs_are_those_that_rows_refer_to(self):
        store = open_store(self.path, Settings(path=self.path))
        blobs = {f"{store.location}/{info.name}" for info in store.list()}
        assert blobs == {ref.partition("#")[0] for ref in refs(self.rows)}

    def teardown(self):
        for (owner, key), value in self.model.items():
            assert exact(self.stores[owner].get(key)) == exact(value)


class StateMachineOnFiles(StateMachine):
    """The same, with blobs in a directory."""

    def new_path(self):
        self.directory = tempfile.mkdtemp()
        return self.directory

    def teardown(self):
        super().teardown()
        shutil.rmtree(self.directory)


def owner_of(address):
    if isinstance(address, AssetAddress):
        return "name" if address.name else "uri"
    return address.map_index


def refs(rows):
    """The refs in the rows, found without our own code; a user's dictionary is inline JSON in an envelope."""
    decoded = [json.loads(row.text) for row in rows.rows()]
    texts = [
        row["__airflow_state_ref__"] for row in decoded if isinstance(row, dict) and "__airflow_state_ref__" in row
    ]
    return [text for text in texts if "://" in text.partition("#")[0] and not text.startswith("{")]


def exact(value):
    """Equal only for equal values of equal types."""
    return json.dumps(value)


StateMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None, database=None)
StateMachineOnFiles.TestCase.settings = settings(
    max_examples=20, stateful_step_count=25, deadline=None, database=None
)
TestInMemory = StateMachine.TestCase
TestOnFiles = StateMachineOnFiles.TestCase
