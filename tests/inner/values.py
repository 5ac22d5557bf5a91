"""What the tests of the inner layer generate and compare."""

from __future__ import annotations

import struct
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from offload_backend.address import AssetAddress, TaskAddress

QUICK = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
THOROUGH = settings(QUICK, max_examples=250)


def same(left: Any, right: Any) -> bool:
    """Equal type for type: 1 is not True nor 1.0, 0.0 is not -0.0, and a dict has its keys in order."""
    if type(left) is not type(right):
        return False
    if type(left) is float:
        return struct.pack(">d", left) == struct.pack(">d", right)
    if type(left) is list:
        return len(left) == len(right) and all(map(same, left, right))
    if type(left) is dict:
        return same(list(left), list(right)) and same(list(left.values()), list(right.values()))
    return bool(left == right)


any_text = st.text(st.characters(exclude_categories=()), max_size=40)
"""Text of any code points, lone surrogates included."""

json_leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([-0.0, 1e-320, 5e-324, 1.7976931348623157e308, 2**64 - 1, -(2**63), 2**53 + 1])
    | st.text(max_size=20)
    | st.sampled_from(["", "\x00", "null", "😀", "한글", '"\\/', "\u2028", "\x7f", "{}"])
)
json_keys = st.text(max_size=8) | st.sampled_from(["", "\x00", "null", "😀", 'a"b', "a\\", "__class__"])
json_values = st.recursive(
    json_leaves,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(json_keys, inner, max_size=6),
    max_leaves=30,
)

regions = st.none() | st.uuids() | st.just(UUID(int=0))
names = any_text | st.sampled_from(["assets", "region=1", ".", "..", "/", "a/b", "", "~", "%2F", "%", "a~b"])
task_addresses = st.builds(TaskAddress, names, names, names, st.integers(-1, 2**31 - 1), regions)
asset_addresses = st.builds(AssetAddress, name=names) | st.builds(AssetAddress, uri=names)
addresses = task_addresses | asset_addresses
