"""Net accuracy: how much less often a cascade is right than the big model alone.

Of the rows that are kept, those count +1 that only the big model gets right, and those -1 that only
the small one does. The cascade's accuracy lies below the big model's by the mean over all rows. In
a sample of n the two counts and the rest are trinomial, so "the mean is above epsilon" leaves one
share open, that of the -1.

The test is exact and unconditional: it rejects where the score statistic of T. Tango, "Equivalence
test and confidence interval for the difference in proportions for the paired-sample design",
Statistics in Medicine 17 (1998), is so low that this happens with a chance of at most delta
whatever the open share is; H.-M. Hsueh, J.-P. Liu, J. J. Chen, "Unconditional exact tests for
equivalence or noninferiority for paired binary endpoints", Biometrics 57 (2001). The chance is
added up over the trinomial distribution; its maximum is searched on a grid of shares, which are
closer together than the chance changes.

What is rejected depends on n, epsilon and delta alone, so it is a table: how many rows may count
+1, for each number of those that count -1.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from functools import lru_cache
from typing import Any

import numpy as np

from hybridmodel.cascade.bounds import Floats, required_rows, upper_bound
from hybridmodel.checks import needed_for
from hybridmodel.data.tensors import Array

_STEP = 0.05
"""Distance of the grid's shares, in standard deviations of the difference of both counts."""

_MOST_SHARES = 240

_MANY_ROWS = 50_000
"""From here on single rows no longer show in the chance, and fewer shares will do."""

_WINDOW_SD = 6.5
"""Counts further from their mean than this are left out: less than 1e-10 of all."""

_LEAST_LIMIT, _MOST_LIMIT = 0.0, 12.0
_DIGITS = 10


@lru_cache(maxsize=64)
def most_harmed(rows: int, epsilon: float, delta: float) -> Array:
    """Return for each number of rows that only the small model gets right how many may be lost.

    Returns
    -------
    ndarray of int64, shape (m,)
        At place j: with j rows kept at a gain, so many may be kept at a loss; -1 for none at all.
        More gains than there are places allow as many losses as the last. Not writable.
    """
    limits = np.linspace(_LEAST_LIMIT, _MOST_LIMIT, 1 << _DIGITS)
    most = _MOST_SHARES if rows <= _MANY_ROWS else _MOST_SHARES // 4
    coarse, fine = _shares(rows, epsilon, 24), _shares(rows, epsilon, most)

    def size(limit: float, shares: Array) -> float:
        return _largest_chance(_table(rows, epsilon, limit), rows, epsilon, shares)

    place = bisect_left(range(len(limits)), -delta, key=lambda i: -size(float(limits[i]), coarse))
    while place < len(limits) and size(float(limits[place]), fine) > delta:
        place += 1
    none = np.full(1, -1, np.int64)
    table = _table(rows, epsilon, float(limits[place])) if place < len(limits) else none
    table.setflags(write=False)
    return table


def allows(gains: Array, losses: Array, table: Array) -> Array:
    """Tell for counts of gains and losses whether a table of `most_harmed` allows them."""
    return np.asarray(losses <= table[np.minimum(gains, len(table) - 1)])


def required_for_accuracy(epsilon: float, delta: float) -> int:
    """Return the smallest sample with which a promise of net accuracy can save anything."""
    least = required_rows(epsilon, delta)
    if most_harmed(least, epsilon, delta)[0] >= 0:
        return least
    return least + bisect_left(
        range(3 * least), 0, key=lambda more: int(most_harmed(least + more, epsilon, delta)[0])
    )


def difference_bounds(gains: Array, losses: Array, rows: int, delta: float) -> Floats:
    """Return upper bounds for the mean, from one exact bound for each count, with delta halved.

    Wider than the test, and cheap: for curves.
    """
    high = upper_bound(losses, rows, delta / 2)
    low = 1 - upper_bound(rows - np.asarray(gains), rows, delta / 2)
    return np.asarray(high - low, dtype=np.float64)


def mean_bound(gains: int, losses: int, rows: int, delta: float) -> float:
    """Return the least upper bound for the mean that the test gives, to four digits."""
    low, high = max((losses - gains) / rows, 1e-9), 1 - 1e-9
    for _ in range(14):
        middle = math.sqrt(low * high) if low > 0 else high / 2
        rejected = _chance_of_as_low(gains, losses, rows, middle) <= delta
        low, high = (low, middle) if rejected else (middle, high)
    return high


def _chance_of_as_low(gains: int, losses: int, rows: int, epsilon: float) -> float:
    """Return the largest chance of a statistic as low, over the open share."""
    seen = -float(_statistic(np.array(losses), np.array(gains), rows, epsilon))
    if seen <= 0:
        return 1.0
    # A limit a rounding error lower, so that what was seen is counted itself.
    table = _table(rows, epsilon, seen - 1e-9)
    return _largest_chance(table, rows, epsilon, _shares(rows, epsilon, 24))


def _shares(rows: int, epsilon: float, most: int) -> Array:
    """Return the shares of -1 at which chances are computed, evenly far apart as they count."""
    low, high = math.sqrt(rows * epsilon), math.sqrt(rows * epsilon + 2 * _gains(rows))
    count = min(most, 2 + math.ceil((high - low) / _STEP))
    counts = (np.linspace(low, high, count) ** 2 - rows * epsilon) / 2
    return np.clip(counts / rows, 0.0, (1 - epsilon) / 2)


def _gains(rows: int) -> int:
    """Return up to how many gains a table tells apart; any more do not help."""
    return max(min(rows, 64), rows // 4)


def _table(rows: int, epsilon: float, limit: float) -> Array:
    """Return for each number of gains the most losses whose statistic is at most minus `limit`."""
    gains = np.arange(_gains(rows) + 1)
    low, high = np.full(len(gains), -1), rows - gains
    while (low < high).any():
        middle = (low + high + 1) // 2
        fits = _statistic(middle, gains, rows, epsilon) <= -limit
        low, high = np.where(fits, middle, low), np.where(fits, high, middle - 1)
    return low.astype(np.int64)


def _statistic(losses: Array, gains: Array, rows: int, epsilon: float) -> Array:
    """Return Tango's statistic: the difference less epsilon, in standard deviations under it."""
    both = (losses + gains) * (1 - epsilon) - 2 * epsilon * (rows - losses)
    root = np.sqrt(both**2 + 8.0 * rows * gains * epsilon * (1 - epsilon))
    share = (both + root) / (4 * rows)
    spread = np.sqrt(rows * (2 * share + epsilon * (1 - epsilon)))
    return np.asarray((losses - gains - rows * epsilon) / spread)


def _largest_chance(table: Array, rows: int, epsilon: float, shares: Array) -> float:
    """Return the largest chance, over shares of -1, that a sample lies within the table."""
    chances = [_chance(table, rows, epsilon, float(share)) for share in shares]
    # Of shares beyond the last: no more gains than the table has are ever used.
    last = len(table) - 1
    beyond = float(_binomial(table[-1:], np.array([rows]), epsilon + last / rows)[0])
    return max(*chances, beyond)


def _chance(table: Array, rows: int, epsilon: float, share: float) -> float:
    mean, half = rows * share, _WINDOW_SD * math.sqrt(rows * share * (1 - share)) + 12
    gains = np.arange(max(0, int(mean - half)), min(rows, int(mean + half)) + 1)
    most = table[np.minimum(gains, len(table) - 1)]
    below = _binomial(most, rows - gains, (epsilon + share) / (1 - share))
    return float(_mass(gains, rows, share) @ below)


def _binomial(most: Array, rows: Array, share: float) -> Array:
    """Return the chances of at most so many in so many tries."""
    inside = (most >= 0) & (most < rows)
    first, second = np.where(inside, most + 1, 1), np.where(inside, rows - most, 1)
    chances = _special().betaincc(first, second, min(share, 1.0))
    return np.where(inside, chances, (most >= rows).astype(np.float64))


def _mass(counts: Array, rows: int, share: float) -> Array:
    """Return the chances of exactly so many."""
    special = _special()
    ways = special.gammaln(rows + 1) - special.gammaln(counts + 1)
    ways -= special.gammaln(rows - counts + 1)
    logs = ways + special.xlogy(counts, share) + special.xlog1py(rows - counts, -share)
    return np.asarray(np.exp(logs))


def _special() -> Any:
    with needed_for("an exact bound"):
        from scipy import special
    return special
