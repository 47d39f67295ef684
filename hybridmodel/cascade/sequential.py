"""Tests of a mean that may be looked at after every row; they need numpy and nothing else.

All rest on one inequality. For values x from 0 to 1 with mean m, and any t > 0, ``t ** x`` lies
under the chord ``1 + x * (t - 1)``, so ``t ** x / (1 + m * (t - 1))`` is 1 or less on average: a
bet at a price that favours the house. Whoever bets again and again owns 1 or less on average,
however long it goes on, and by Ville's inequality ever owns ``1 / alpha`` with probability alpha or
less. A fortune speaks against the mean that sets the price.

- `lower_limit` and `upper_limit` hold at all times at once: a confidence sequence by betting, as in
  I. Waudby-Smith and A. Ramdas, "Estimating means of bounded random variables by betting", Journal
  of the Royal Statistical Society B 86 (2024), first read in 2023, arXiv:2010.09686. The bets here
  are fixed beforehand, with the starting capital divided among them, so that count and sum of the
  values are all there is to know. The mean may change on the way: the limits are then for the
  average of the means so far, because log(1 + m * (t - 1)) is concave in m.
- `ChangeDetector` begins a new bet after every row and adds up what all of them own: a
  Shiryaev-Roberts e-detector, as in J. Shin, A. Ramdas and A. Rinaldo, "E-detectors: a
  nonparametric framework for sequential change detection", New England Journal of Statistics in
  Data Science 2 (2024), arXiv:2203.03532 of 2022. A new bet knows nothing of what was lost in quiet
  times. It begins after the row, since only rows that are kept begin one: of such a row more is
  known than of any.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]

STEPS = np.geomspace(0.01, 6.0, 18)
"""Logarithms of odds ratios: from those that millions of rows tell apart, to those that ten do."""

_GRID, _ROUNDS = np.linspace(0.0, 1.0, 33), 4  # 32 ** -4 of the distance is left.

TIMES = np.array([1.5, 2.0, 4.0])
_LOG_TIMES = np.log(TIMES)
_WEIGHTS = np.array([0.1, 0.8, 0.1])
"""By how much a change multiplies the odds of a loss, and the capital that bets on it."""

_MOST = 500.0
"""Logarithm of a fortune beyond which there is no need to count."""

HEAD = 2_500.0
RUN_LENGTH = 500_000.0
"""What is bet on the first value, and what all bets have to own for an alarm: with the level's
alarm (`LOWER_ALPHA`) the first 20,000 values give a false one with probability .05 or less."""


def lower_limit(total: float, count: float, alpha: float) -> float:
    """Return what a mean is at least; wrong at any time at all with probability `alpha` or less.

    Parameters
    ----------
    total, count : float
        Sum and number of the values, which are from 0 to 1.
    alpha : float
        Of all times together, not of each.
    """
    if total <= 0:
        return 0.0
    least, most = 0.0, min(total / count, 1.0)
    for _ in range(_ROUNDS):
        means = least + (most - least) * _GRID
        refuted = int(np.count_nonzero(log_capital(total, count, means) >= -math.log(alpha)))
        if not refuted:
            return least
        least, most = means[refuted - 1], means[min(refuted, len(means) - 1)]
    return float(least)


def upper_limit(total: float, count: float, alpha: float) -> float:
    """Return what a mean is at most; parameters as in `lower_limit`."""
    return 1.0 - lower_limit(count - total, count, alpha)


def log_capital(totals: Any, counts: Any, means: Any) -> Floats:
    """Return the logarithm of what bets on a larger mean own.

    Parameters
    ----------
    totals, counts, means : float or ndarray
        Sum and number of the values, and the means that set the price; of shapes that broadcast.

    Returns
    -------
    ndarray of float64
        From ``-log(alpha)`` up it is reason to say that the mean is larger, at any time.
    """
    totals, counts, means = (np.asarray(item)[..., np.newaxis] for item in (totals, counts, means))
    owned = totals * STEPS - counts * np.log1p(means * np.expm1(STEPS))
    return np.asarray(np.logaddexp.reduce(owned, axis=-1) - math.log(len(STEPS)))


@dataclass(frozen=True, kw_only=True)
class ChangeDetector:
    """Finds that a mean has risen above a bound, soon, whatever went before.

    While no mean is above the bound, the first n values give an alarm with probability
    ``(HEAD + n) / RUN_LENGTH`` or less: what the bets own grows by 1 for each value, on average and
    at the most, and begins with `HEAD`. So the alarm comes after ``RUN_LENGTH - HEAD`` values or
    more, on average. `HEAD` bets are placed on the first value, which finds soon what is wrong from
    the beginning.

    Attributes
    ----------
    bound : float
        Between 0 and 1.
    first : tuple of float
        Logarithms of what a bet on the first value owns by now, for each of `TIMES`.
    later : tuple of float
        What the bets on all later values own.
    """

    bound: float
    first: tuple[float, ...] = (0.0,) * len(TIMES)
    later: tuple[float, ...] = (0.0,) * len(TIMES)

    @property
    def share(self) -> float:
        """What the bets own, as a share of what gives an alarm."""
        owned = HEAD * np.exp(np.minimum(self.first, _MOST)) + self.later
        return float(_WEIGHTS @ owned) / RUN_LENGTH

    def skip(self, zeros: float) -> ChangeDetector:
        """Return the detector after so many values of 0, or parts of them, that cost no bet.

        A row that would be looked at with probability r, and is known to be 0, counts as r: the
        average over looking and not looking is not less.
        """
        if not zeros:
            return self
        lost = zeros * self._prices()
        first, later = np.subtract(self.first, lost), np.multiply(self.later, np.exp(-lost))
        return replace(self, first=tuple(first.tolist()), later=tuple(later.tolist()))

    def after(self, values: Floats, zeros: float = 0.0) -> tuple[ChangeDetector, int | None]:
        """Return the detector after some values, and the place of the first alarm among them.

        Parameters
        ----------
        values : ndarray of float64, shape (n,)
            From 0 to 1. After an alarm the rest of them does not count.
        zeros : float
            As `skip` takes them: came among these values, and are spread evenly between them. Were
            they skipped before, bets that begin later would see the values only, and be won.
        """
        gap = zeros / (len(values) + 1)
        found = self.skip(gap)
        if not len(values):
            return found, None
        lost = gap * self._prices()
        sums = np.cumsum(np.multiply.outer(values, _LOG_TIMES) - self._prices() - lost, axis=0)
        with np.errstate(divide="ignore"):  # Nothing was bet yet.
            begun = np.vstack((np.log(found.later), -lost - sums))
        later = np.exp(np.minimum(sums + np.logaddexp.accumulate(begun)[1:], _MOST))
        first = sums + found.first
        owned = HEAD * np.exp(np.minimum(first, _MOST)) + later
        over = np.flatnonzero(owned @ _WEIGHTS >= RUN_LENGTH)
        place = int(over[0]) if over.size else None
        last = -1 if place is None else place
        found = replace(self, first=tuple(first[last].tolist()), later=tuple(later[last].tolist()))
        return found, place

    def __add__(self, other: ChangeDetector) -> ChangeDetector:
        """Return the detector of two streams, whose values came in whatever order.

        Bets on the first value hold in both, so what they own is multiplied. Of later bets, each
        was placed in one stream; they are added up.
        """
        return replace(
            self,
            first=tuple(np.add(self.first, other.first).tolist()),
            later=tuple(np.add(self.later, other.later).tolist()),
        )

    def _prices(self) -> Floats:
        return np.asarray(np.log1p(self.bound * (TIMES - 1.0)))
