from __future__ import annotations

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from offload_backend.stores.parts import part_length, parts_of

MIB = 1024**2
TIB = 1024**4


@given(st.lists(st.binary(max_size=40)), st.integers(1, 30))
def test_parts_are_the_same_bytes_cut_evenly(chunks, size):
    parts = [b"".join(part) for part in parts_of(chunks, size)]
    assert b"".join(parts) == b"".join(chunks)
    assert all(len(part) == size for part in parts[:-1])
    assert all(0 < len(part) <= size for part in parts)


def test_parts_are_cut_as_soon_as_they_are_full():
    def source():
        yield b"12345"
        raise AssertionError("read further than needed")

    assert b"".join(next(parts_of(source(), 5))) == b"12345"


def test_the_first_4800_parts_are_equal_and_no_part_is_smaller_than_the_one_before():
    lengths = [part_length(number, 8 * MIB) for number in range(1, 10_001)]
    assert set(lengths[:4800]) == {8 * MIB}
    assert lengths == sorted(lengths)
    assert lengths[4800] == 16 * MIB


def test_10000_parts_of_any_allowed_size_hold_the_largest_object_of_s3():
    for part_size in (5 * MIB, 8 * MIB, 1024 * MIB):
        lengths = [part_length(number, part_size) for number in range(1, 10_001)]
        assert list(accumulate(lengths))[-1] >= 5 * TIB
        assert max(lengths) <= 5 * 1024 * MIB
