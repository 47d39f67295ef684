"""The mean of graded losses, each from 0 to 1: two tests for it, and which one to use.

Both test "the mean loss of the rows kept, over all rows, is above epsilon" and need nothing but
independent rows and losses between 0 and 1.

``hoeffding_bentkus``
    The smaller of Hoeffding's and Bentkus's bound for the chance of so low a mean; S. Bates,
    A. N. Angelopoulos, L. Lei, J. Malik, M. I. Jordan, "Distribution-Free, Risk-Controlling
    Prediction Sets", Journal of the ACM 68 (2021), arXiv:2101.02703. It knows the mean only, and so
    treats all losses as if they were 0 or 1.
``betting``
    Somebody bets against a mean above epsilon, and would have multiplied his money by 1 / delta in
    at most a share delta of samples if it were above: I. Waudby-Smith, A. Ramdas, "Estimating means
    of bounded random variables by betting", Journal of the Royal Statistical Society B 86 (2024),
    arXiv:2010.09686. The stakes are fixed and mixed, so that the order of rows does not matter. It
    gains where losses vary less than zeros and ones do.

`method_for` chooses by epsilon, delta and the size of the sample, before any loss is seen.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from hybridmodel.cascade.bounds import Floats, most_failures
from hybridmodel.checks import needed_for
from hybridmodel.data.tensors import Array
from hybridmodel.exceptions import ConfigurationError

HOEFFDING_BENTKUS, BETTING = "hoeffding_bentkus", "betting"
METHODS = (HOEFFDING_BENTKUS, BETTING)

_ENOUGH = 20
"""Losses in a sample at epsilon from which on bets are worth their price."""

_STAKES = (1.0, 2.0, 4.0, 8.0)
_WEIGHTS = (0.4, 0.3, 0.2, 0.1)


def method_for(rows: int, epsilon: float) -> str:
    """Return the method that is expected to allow more, whatever the losses turn out to be."""
    return BETTING if rows * epsilon >= _ENOUGH else HOEFFDING_BENTKUS


def kept_allows(losses: Array, rows: int, epsilon: float, delta: float, method: str) -> Array:
    """Tell for each row, from the surest, whether all rows down to it may be kept.

    Parameters
    ----------
    losses : ndarray of float64, shape (k,)
        Of the rows that may be kept, from the surest; each from 0 to 1.
    rows : int
        Size of the sample, at least k.
    epsilon, delta : float
        The promise.
    method : str
        One of `METHODS`.

    Returns
    -------
    ndarray of bool, shape (k,)
        True up to some row, and False from there on.
    """
    if method == HOEFFDING_BENTKUS:
        return np.cumsum(losses) <= largest_sum(rows, epsilon, delta)
    if method != BETTING:
        raise ConfigurationError(f"method is one of {', '.join(METHODS)}, not {method!r}")
    allowed = _log_wealth(losses, rows, epsilon, delta) >= -math.log(delta)
    return np.asarray(np.logical_and.accumulate(allowed))


def largest_sum(rows: int, epsilon: float, delta: float) -> float:
    """Return up to which sum of losses Hoeffding's or Bentkus's bound is at most `delta`; or -1."""
    # Bentkus counts a started loss as a whole one, and pays a factor e.
    bentkus = most_failures(rows, epsilon, delta / math.e)
    if rows * -math.log1p(-epsilon) < -math.log(delta):
        return float(bentkus)
    return max(float(bentkus), rows * _hoeffding_mean(rows, epsilon, delta))


def required_for_mean(rows: int, epsilon: float, delta: float) -> int:
    """Return the smallest sample of the method for `rows` that may save anything without a loss."""
    method = method_for(rows, epsilon)
    low, high = 0, 1
    while not _saves(high, epsilon, delta, method):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        saves = _saves(middle, epsilon, delta, method)
        low, high = (low, middle) if saves else (middle, high)
    return high


def mean_bound(losses: Array, rows: int, delta: float, method: str) -> float:
    """Return the least upper bound for the mean loss of a sample of `rows`; others lose nothing."""
    low, high = min(float(losses.sum()) / rows, 1 - 1e-9), 1 - 1e-9
    last = losses if losses.size else np.zeros(1)
    for _ in range(30):
        middle = (low + high) / 2
        rejected = middle > 0 and bool(kept_allows(last, rows, middle, delta, method)[-1])
        low, high = (low, middle) if rejected else (middle, high)
    return high


def mean_bounds(sums: Array, rows: int, delta: float) -> Floats:
    """Return upper bounds for the mean from sums of losses, by Bentkus's bound: for curves."""
    with needed_for("an exact bound"):
        from scipy import special
    counts = np.ceil(sums - 1e-9 * rows)
    passed = np.maximum(rows - counts, 1.0)
    bounds = special.betainccinv(counts + 1, passed, delta / math.e)
    return np.asarray(np.where(counts >= rows, 1.0, bounds), dtype=np.float64)


def _saves(rows: int, epsilon: float, delta: float, method: str) -> bool:
    return bool(kept_allows(np.zeros(1), rows, epsilon, delta, method)[0])


def _log_wealth(losses: Array, rows: int, epsilon: float, delta: float) -> Any:
    """Return the logarithm of the money won when all rows down to each are kept."""
    base = _stake(rows, epsilon, delta)
    most = (1 - 1e-9) / (1 - epsilon)
    stakes = np.minimum(base * np.array(_STAKES), most)[:, np.newaxis]
    kept = np.cumsum(np.log1p(stakes * (epsilon - losses)), axis=1)
    others = (rows - np.arange(1, len(losses) + 1)) * np.log1p(stakes * epsilon)
    logs = kept + others + np.log(np.array(_WEIGHTS))[:, np.newaxis]
    return np.logaddexp.reduce(logs, axis=0)


def _stake(rows: int, epsilon: float, delta: float) -> float:
    """Return the best stake against losses of 0 and 1 whose mean is just low enough."""
    if rows * -math.log1p(-epsilon) < -math.log(delta):
        return 1 / (1 - epsilon)
    mean = _hoeffding_mean(rows, epsilon, delta)
    return (epsilon - mean) / (epsilon * (1 - epsilon))


def _hoeffding_mean(rows: int, epsilon: float, delta: float) -> float:
    """Return the mean at which Hoeffding's bound, with the Kullback-Leibler distance, is delta."""
    low, high = 0.0, epsilon
    for _ in range(60):
        middle = (low + high) / 2
        far = rows * _distance(middle, epsilon) >= -math.log(delta)
        low, high = (middle, high) if far else (low, middle)
    return low


def _distance(mean: float, epsilon: float) -> float:
    first = mean * math.log(mean / epsilon) if mean > 0 else 0.0
    return first + (1 - mean) * (math.log1p(-mean) - math.log1p(-epsilon))
