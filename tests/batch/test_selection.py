"""The least sure rows of a file: the same as those of a stable sort, in constant memory."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridmodel.batch.selection import Cut, Marker, find_cut
from hybridmodel.cascade.least_sure import least_sure

Array = np.ndarray[Any, Any]

SCORES = st.one_of(
    st.floats(width=32),
    st.floats(0, 1),
    st.sampled_from([0.0, -0.0, 0.5, 0.5, math.nan, -math.nan, math.inf, -math.inf, 1e300]),
    st.integers(0, (1 << 32) - 1).map(lambda bits: float(np.uint32(bits).view(np.float32))),
)


def in_blocks(scores: Array, ends: list[int]) -> list[Array]:
    """Cut scores at these rows."""
    return np.split(scores, sorted(end % (len(scores) + 1) for end in ends))


@given(
    scores=st.lists(SCORES, max_size=80),
    share=st.floats(-0.1, 1.1),
    ends=st.lists(st.integers(0, 80), max_size=4),
)
def test_the_rows_are_those_of_a_stable_sort(
    scores: list[float], share: float, ends: list[int]
) -> None:
    """Whatever the scores, their number, and the blocks they come in; NaN before all others."""
    with np.errstate(over="ignore"):
        stored = np.array(scores, np.float64).astype(np.float32)
    count = int(share * len(stored))
    order = np.lexsort((np.arange(len(stored)), stored, ~np.isnan(stored)))
    wanted = np.zeros(len(stored), bool)
    wanted[order[: max(count, 0)]] = True
    blocks = in_blocks(stored, ends)
    found = list(map(Marker(find_cut(lambda: blocks, count)), blocks))
    assert [len(mask) for mask in found] == [len(block) for block in blocks]
    np.testing.assert_array_equal(np.concatenate(found), wanted)
    np.testing.assert_array_equal(least_sure(np.array(scores, np.float64), count), wanted)


def test_many_rows_are_chosen_in_constant_memory() -> None:
    """Two million rows, of which many are equal, take no more than some bins and one block."""
    count, blocks, rows = 100_003, 128, 1 << 14

    def made() -> Iterator[Array]:
        for seed in range(blocks):
            yield np.random.default_rng(seed).beta(5, 1, rows).astype(np.float16).astype(np.float32)

    tracemalloc.start()
    try:
        cut = find_cut(made, count)
        chosen = sum(int(mask.sum()) for mask in map(Marker(cut), made()))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert chosen == count
    assert cut.ties > 0
    assert peak < 4 << 20


@pytest.mark.parametrize(("count", "wanted"), [(0, 0), (-5, 0), (3, 3), (4, 4), (9, 4)])
def test_none_and_all_rows_may_go(count: int, wanted: int) -> None:
    """More than there are is all of them."""
    blocks = [np.float32([0.5, np.nan]), np.float32([]), np.float32([np.inf, 0.1])]
    cut = find_cut(lambda: blocks, count)
    assert sum(int(mask.sum()) for mask in map(Marker(cut), blocks)) == wanted


def test_no_score_is_read_where_no_row_goes() -> None:
    """A budget of nothing costs nothing."""
    assert find_cut(pytest.fail, 0) == Cut(0, 0)
