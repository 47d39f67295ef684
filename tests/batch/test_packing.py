"""Rows of many batches go in few full requests, in their order."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridmodel import InputMismatch
from hybridmodel.batch.packing import MOST_REQUEST_ROWS, packed, request_rows
from hybridmodel.data.binding import Bound


@given(
    batches=st.lists(st.integers(0, 9), max_size=12),
    size=st.integers(1, 12),
    first=st.integers(0, 3),
)
def test_requests_are_full_but_for_the_last(batches: list[int], size: int, first: int) -> None:
    """All rows are there once, in order, in as few requests as can be."""
    rows = sum(batches)
    feeds = {"a": np.arange(rows), "b": np.arange(2 * rows).reshape(-1, 2).astype(str)}
    ends = np.cumsum([0, *batches])
    some = [
        Bound({name: array[start:stop] for name, array in feeds.items()}, stop - start)
        for start, stop in pairwise(ends)
    ]
    found = list(packed(some, size, first))
    assert [request.rows for request in found[:-1]] == [size] * (len(found) - 1)
    assert len(found) == -(-rows // size)
    assert [request.number for request in found] == list(range(first, first + len(found)))
    for request in found:
        assert {len(array) for array in request.feeds.values()} == {request.rows}
    for name, array in feeds.items():
        together = [array[:0], *(request.feeds[name] for request in found)]
        np.testing.assert_array_equal(np.concatenate(together), array)


def test_rows_that_wait_do_not_hold_their_batch() -> None:
    """A few rows of a large batch are copied, so that memory stays flat."""
    large = np.zeros((1000, 10))
    requests = packed([Bound({"x": large}, 1000), Bound({"x": large[:1]}, 1)], 999)
    next(requests)
    (last,) = requests
    assert last.rows == 2
    assert last.feeds["x"].base is not large


def test_rows_of_different_shapes_do_not_go_together() -> None:
    """As in one call of `predict`, it is the input's fault."""
    some = [Bound({"x": np.zeros((1, width))}, 1) for width in (2, 3)]
    with pytest.raises(InputMismatch, match="rows of different shapes"):
        list(packed(some, 2))


@pytest.mark.parametrize(
    ("told", "row_bytes", "rows"),
    [(4, 120, 4), (10**9, 120, MOST_REQUEST_ROWS), (10**9, 1 << 20, 4), (64, 1 << 30, 1)],
)
def test_a_request_is_as_large_as_the_endpoint_takes_it(
    told: int, row_bytes: float, rows: int
) -> None:
    """What it says counts, and otherwise some megabytes."""
    assert request_rows(told, row_bytes) == rows
