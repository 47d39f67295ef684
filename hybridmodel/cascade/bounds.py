"""Exact bounds for a share that is known from a sample: no normal approximation anywhere.

All rest on one identity: the chance of at most k failures in n independent tries, each of which
fails with probability p, is a regularised incomplete beta function. The bounds are those of
C. J. Clopper and E. S. Pearson, "The use of confidence or fiducial limits illustrated in the case
of the binomial", Biometrika 26 (1934).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Any

import numpy as np

from hybridmodel.checks import needed_for

Floats = np.ndarray[Any, np.dtype[np.float64]]

_MOST_ROWS = 2**53  # Beyond this a float does not count by ones.


def tail(failures: int, rows: int, share: float) -> float:
    """Return the chance of at most `failures` in `rows` tries that fail with chance `share`."""
    if failures < 0:
        return 0.0
    if failures >= rows:
        return 1.0
    return float(_special().betaincc(failures + 1, rows - failures, share))


def most_failures(rows: int, epsilon: float, delta: float) -> int:
    """Return how many failures in a sample still show that their share is at most `epsilon`.

    Parameters
    ----------
    rows : int
        Size of the sample.
    epsilon : float
        Share in the population that is not to be exceeded.
    delta : float
        Chance of being wrong about it: a population with a larger share than `epsilon` gives a
        sample with so few failures at most that often.

    Returns
    -------
    int
        -1 when the sample is so small that not even a clean one shows it.
    """
    return bisect_right(range(rows + 1), delta, key=lambda k: tail(k, rows, epsilon)) - 1


def required_rows(epsilon: float, delta: float) -> int:
    """Return the smallest sample that shows a share of at most `epsilon` when no row fails.

    The smallest n with ``(1 - epsilon) ** n <= delta``.
    """
    return rows_allowing(0, epsilon, delta)


def rows_allowing(failures: int, epsilon: float, delta: float) -> int:
    """Return the smallest sample that shows a share of at most `epsilon` with so many failures."""
    least = failures + 1
    sizes = range(least, _MOST_ROWS)
    return least + bisect_left(sizes, -delta, key=lambda n: -tail(failures, n, epsilon))


def upper_bound(failures: Any, rows: int, delta: float) -> Floats:
    """Return the share that the population has at most, with confidence ``1 - delta``.

    Parameters
    ----------
    failures : int or ndarray of int
        Failures in samples of `rows`.

    Returns
    -------
    ndarray of float64
        Of the shape of `failures`.
    """
    failures = np.asarray(failures, dtype=np.float64)
    passed = np.maximum(rows - failures, 1.0)
    bounds = _special().betainccinv(failures + 1, passed, delta)
    return np.asarray(np.where(failures >= rows, 1.0, bounds), dtype=np.float64)


def interval(successes: int, rows: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the two-sided interval for a share, of which `successes` of `rows` were seen."""
    outside = (1 - confidence) / 2
    low = 1 - float(upper_bound(rows - successes, rows, outside))
    return low, float(upper_bound(successes, rows, outside))


def _special() -> Any:
    with needed_for("an exact bound"):
        from scipy import special
    return special
