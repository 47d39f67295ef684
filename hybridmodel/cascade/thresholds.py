"""The cheapest threshold that keeps a promise, found on a sample of scores and losses.

The promise: with probability at least ``1 - delta`` over samples, at most a share `epsilon` of all
rows are kept local although they should have been escalated.

How: every threshold from infinity downwards is a hypothesis "the risk is above epsilon". They are
tested in this order, which no data has chosen, each with the exact binomial test at level `delta`,
up to the first that is not rejected (fixed-sequence testing, from A. N. Angelopoulos, S. Bates,
E. J. Candès, M. I. Jordan, L. Lei, "Learn then Test: Calibrating Predictive Algorithms to Achieve
Risk Control", arXiv:2110.01052). The sequence is the whole line of numbers and not a grid: the
failures in a sample change only at its own scores, so only those have to be looked at, and the
scores of the sample choose nothing. One level serves all tests, since a lower threshold never
escalates more and so never has less risk: a broken promise needs a wrong rejection at one and the
same threshold, the highest at which the true risk is above epsilon.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from hybridmodel.cascade.bounds import most_failures, upper_bound
from hybridmodel.cascade.scores import escalated, finite
from hybridmodel.checks import check_share
from hybridmodel.data.json_records import members
from hybridmodel.data.tensors import Array
from hybridmodel.exceptions import ConfigurationError


def find_threshold(scores: Array, losses: Array, *, epsilon: float, delta: float) -> float:
    """Return the threshold under which rows have to be escalated.

    Parameters
    ----------
    scores : ndarray of shape (n,)
        Of independent rows of the population that the promise is about. NaN is always escalated.
    losses : ndarray of bool, shape (n,)
        Whether it is a loss to keep the row.
    epsilon, delta : float
        Between 0 and 1, both excluded.

    Returns
    -------
    float
        Halfway between two scores, so that rounding moves no row across; infinity where only
        escalating everything keeps the promise.

    Raises
    ------
    ConfigurationError
        If the arrays or shares are not as described.
    """
    epsilon, delta = check_share("epsilon", epsilon), check_share("delta", delta)
    return threshold_allowing(scores, losses, most_failures(len(scores), epsilon, delta))


def threshold_allowing(scores: Array, losses: Array, failures: int) -> float:
    """Return the lowest threshold above which a sample has at most so many losses.

    Takes and raises what `find_threshold` does; `failures` below 0 gives infinity.
    """
    scores, losses = _checked(scores, losses)
    if failures < 0:
        return math.inf
    lost = np.sort(scores[losses & ~np.isnan(scores)])[::-1]
    if len(lost) <= failures:
        # Rows that are less sure than any of the sample were not tried, and are escalated.
        return float(np.fmin.reduce(scores, initial=math.inf))
    last = lost[failures]
    surer = scores[scores > last]
    return _between(last, surer.min()) if surer.size else math.inf


def threshold_where(scores: Array, allows: Callable[[Array], Array]) -> float:
    """Return the threshold before the first, from infinity downwards, that a test does not allow.

    Parameters
    ----------
    scores : ndarray of float64, shape (n,)
        NaN is always escalated.
    allows : callable
        Takes the positions of the rows with a score, the surest first; tells for each whether the
        rows down to it may be kept. It is asked about rows of equal scores together.
    """
    known = np.flatnonzero(~np.isnan(scores))
    order = known[np.argsort(-scores[known], kind="stable")]
    if not order.size:
        return math.inf
    ordered = scores[order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    refused = np.flatnonzero(~allows(order)[ends])
    if not refused.size:
        # Rows that are less sure than any of the sample were not tried, and are escalated.
        return float(ordered[-1])
    first = refused[0]
    return _between(ordered[ends[first]], ordered[ends[first - 1]]) if first else math.inf


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Shares of a sample that are right, by who answers.

    Attributes
    ----------
    small, big, cascade : float
        The small model alone, the big one alone, both with the threshold.
    """

    small: float
    big: float
    cascade: float

    @classmethod
    def of(cls, right: tuple[Array, Array] | None, gone: Array) -> Accuracy | None:
        """Count who is right about each row, small and big; None where that is unknown."""
        if right is None:
            return None
        small, big = right
        cascade = np.where(gone, big, small)
        return cls(small=float(small.mean()), big=float(big.mean()), cascade=float(cascade.mean()))


@dataclass(frozen=True, kw_only=True)
class Curve:
    """What each threshold would do to the sample, from keeping every row to escalating all.

    Attributes
    ----------
    escalation : tuple of float
        Shares of rows escalated, rising.
    threshold : tuple of float
        Thresholds that escalate so many.
    risk, risk_bound : tuple of float
        Share of rows kept at a loss, and its upper bound with confidence ``1 - delta``.
    accuracy : tuple of float or None
        Share of rows that small and big model together get right, where that is known.
    risk_low, risk_high, accuracy_low, accuracy_high : tuple of float or None
        Where these shares lie among all rows, with 95 % confidence, when only some rows of the
        sample were answered. Risk is then exact for the sample at thresholds that need no more.
    """

    escalation: tuple[float, ...]
    threshold: tuple[float, ...]
    risk: tuple[float, ...]
    risk_bound: tuple[float, ...]
    accuracy: tuple[float, ...] | None = None
    risk_low: tuple[float, ...] | None = None
    risk_high: tuple[float, ...] | None = None
    accuracy_low: tuple[float, ...] | None = None
    accuracy_high: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        columns = [getattr(self, item.name) for item in fields(self)]
        if any(len(item) != len(self.escalation) for item in columns if item is not None):
            raise ConfigurationError("all columns of a curve have to be equally long")

    def to_dict(self) -> dict[str, Any]:
        """Return the columns in JSON's types, without intervals where there are none."""
        found = members(self)
        return {
            name: column
            for name, column in found.items()
            if column is not None or not name.endswith(("_low", "_high"))
        }


def trace(
    scores: Array,
    losses: Array,
    right: tuple[Array, Array] | None,
    *,
    delta: float,
    points: int = 101,
    bounds: Callable[[Array, Array], Array] | None = None,
) -> Curve:
    """Compute the curve of a sample.

    Parameters
    ----------
    scores, losses : ndarray of shape (n,)
        As `find_threshold` takes them; with `bounds` any number may be a loss.
    right : (ndarray of bool, ndarray of bool) or None
        Whether the small and the big model is right about each row.
    delta : float
        Of the upper bound.
    points : int
        At most so many, at even steps of the share; rows of equal scores stay together.
    bounds : callable, optional
        Takes the losses, those of the least sure rows first, and how many of these rows are
        escalated; returns upper bounds for what is kept. Default is the exact binomial one.
    """
    scores, losses = _checked(scores, losses, "?" if bounds is None else "d")
    rows = len(scores)
    order = np.argsort(np.where(np.isnan(scores), -math.inf, scores), kind="stable")
    possible = steps(scores)
    wanted = np.linspace(0, rows, points)
    counts = np.unique(possible[np.searchsorted(possible, wanted)])
    failures = losses.sum() - _within_first(losses[order], counts)
    found = bounds(losses[order], counts) if bounds else upper_bound(failures, rows, delta)
    # No sample is needed to know that keeping no row risks nothing.
    bound = np.where(counts == rows, 0.0, found)
    surest = np.append(scores[order], math.inf)
    return Curve(
        escalation=_floats(counts / rows),
        threshold=_floats(surest[counts]),
        risk=_floats(failures / rows),
        risk_bound=_floats(bound),
        accuracy=None if right is None else _floats(_accuracy(right, order, counts)),
    )


def steps(scores: Array) -> Array:
    """Return how many rows a threshold can escalate, rising: rows of equal scores stay together."""
    ordered = np.sort(scores)  # NaN last
    without = int(np.isnan(scores).sum())
    known = ordered[: len(ordered) - without]
    first = np.flatnonzero(np.append(True, known[1:] != known[:-1])) if known.size else known
    return np.append(first + without, len(scores)).astype(np.int64)


def jump(scores: Array, threshold: float) -> tuple[float, float]:
    """Return the next lower and next higher share of rows that another threshold can escalate."""
    possible, rows = steps(scores), len(scores)
    place = int(np.searchsorted(possible, escalated(scores, threshold).sum()))
    low, high = possible[max(place - 1, 0)], possible[min(place + 1, len(possible) - 1)]
    return float(low / rows), float(high / rows)


def _between(last: float, lowest: float) -> float:
    """Return a threshold that keeps the row with the score `lowest`, and not that with `last`."""
    middle = last / 2 + lowest / 2
    return float(middle if last < middle <= lowest else lowest)


def _checked(scores: Array, losses: Array, dtype: str = "?") -> tuple[Array, Array]:
    scores, losses = np.asarray(scores), np.asarray(losses)
    if scores.ndim != 1 or scores.shape != losses.shape or not scores.size:
        raise ConfigurationError(
            f"scores and losses have to be one for each of at least one row; their shapes are "
            f"{list(scores.shape)} and {list(losses.shape)}"
        )
    return finite(scores), losses.astype(dtype)


def _accuracy(right: tuple[Array, Array], order: Array, counts: Array) -> Array:
    small, big = (item[order] for item in right)
    kept = small.sum() - _within_first(small, counts)
    return np.asarray((_within_first(big, counts) + kept) / len(order))


def _within_first(flags: Array, counts: Array) -> Array:
    """Count the flags within the first rows, for each of `counts`."""
    return np.asarray(np.append(0, np.cumsum(flags))[counts])


def _floats(values: Array) -> tuple[float, ...]:
    return tuple(map(float, values))
