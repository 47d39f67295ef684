"""Finds exactly the k least sure of any number of rows in constant memory.

Scores are read twice. The first time, rows are counted in 65,536 bins by the upper half of their
order key; the second time, the rows in the bin of the k-th row are counted by the lower half. That
gives the score of the k-th row to the last bit, and how many rows of this score are sent. As in
`hybridmodel.cascade.least_sure`, rows are compared as float32, a row without a score (NaN) is less
sure than any other, and of rows with equal scores the earlier are sent first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from hybridmodel.cascade.least_sure import order_keys
from hybridmodel.data.tensors import Array

Blocks = Callable[[], Iterable[Array]]
"""Reads all scores again, in the order of the rows, some at a time."""

_BLOCK_ROWS = 1 << 16
_BINS = 1 << 16
_LOW = np.uint32(_BINS - 1)


@dataclass(frozen=True, slots=True)
class Cut:
    """Rows are sent whose order key is less than `key`, and the first `ties` rows with this key."""

    key: int
    ties: int


def find_cut(scores: Blocks, count: int) -> Cut:
    """Find the cut that selects the `count` least sure rows; reads the scores twice."""
    if count <= 0:
        return Cut(0, 0)
    upper = _counted(key >> np.uint32(16) for key in _keys(scores()))
    high, before = _bin_of(upper, count)
    if high == _BINS:
        return Cut(1 << 32, 0)
    lower = _counted(key[key >> np.uint32(16) == high] & _LOW for key in _keys(scores()))
    low, earlier = _bin_of(lower, count - before)
    return Cut(high << 16 | low, count - before - earlier)


class Marker:
    """Marks the rows that are sent, in blocks of scores that come in the order of the rows."""

    def __init__(self, cut: Cut) -> None:
        self._key = cut.key
        self._ties = cut.ties

    def __call__(self, scores: Array) -> Array:
        """Return which rows of the next block are sent: bool of shape (n,)."""
        keys = order_keys(scores)
        chosen: Array = keys < self._key
        if self._ties:
            equal = np.flatnonzero(keys == self._key)[: self._ties]
            chosen[equal] = True
            self._ties -= len(equal)
        return chosen


def _keys(blocks: Iterable[Array]) -> Iterator[Array]:
    for block in blocks:
        for start in range(0, len(block), _BLOCK_ROWS):
            yield order_keys(block[start : start + _BLOCK_ROWS])


def _counted(numbers: Iterable[Array]) -> Array:
    """Count how often each number below 65,536 occurs."""
    counts = np.zeros(_BINS, np.int64)
    for some in numbers:
        counts += np.bincount(some, minlength=_BINS)
    return counts


def _bin_of(counts: Array, position: int) -> tuple[int, int]:
    """Return the bin of the row at a position, from 1 up, and how many rows the bins before have.

    The bin is 65,536 if there are fewer rows.
    """
    sums = np.cumsum(counts)
    found = int(np.searchsorted(sums, position))
    return found, int(sums[found - 1]) if found else 0
