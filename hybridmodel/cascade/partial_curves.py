"""Curves of samples of which only some rows have an answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hybridmodel.cascade.bounds import interval, upper_bound
from hybridmodel.cascade.scores import escalated
from hybridmodel.cascade.thresholds import Curve
from hybridmodel.data.tensors import Array


def with_drawn_rows(
    curve: Curve,
    settled: float,
    scores: Array,
    losses: Array,
    right: tuple[Array, Array] | None,
    *,
    delta: float,
) -> Curve:
    """Return a curve in which random rows tell what the whole sample does not.

    Parameters
    ----------
    curve : Curve
        Of the whole sample, right for thresholds above `settled`.
    settled : float
        The score down to which all losses of the sample are known.
    scores, losses : ndarray of shape (m,)
        Of the random rows.
    right : (ndarray of bool, ndarray of bool) or None
        Whether the small and the big model is right about them.
    delta : float
        Of the upper bound.

    Returns
    -------
    Curve
        Whose risk and accuracy have intervals with 95 % confidence. Without a random row, it ends
        where the losses are not known.
    """
    if not len(scores):
        return _ending_at(curve, settled)
    rows = len(scores)
    gone = [escalated(scores, threshold) for threshold in curve.threshold]
    counts = [int((losses & ~item).sum()) for item in gone]
    intervals = np.array([interval(count, rows) for count in counts])
    known = np.array([threshold > settled for threshold in curve.threshold])
    risk = np.where(known, curve.risk, np.array(counts) / rows)
    bound = np.where(known, curve.risk_bound, upper_bound(np.array(counts), rows, delta))
    # What more rows are kept at cannot be less than what fewer are.
    risk, bound = _rising(risk), np.maximum(_rising(bound), _rising(risk))
    found = replace(
        curve,
        risk=_floats(risk),
        risk_bound=_floats(bound),
        risk_low=_floats(np.minimum(intervals[:, 0], risk)),
        risk_high=_floats(np.maximum(intervals[:, 1], risk)),
    )
    return found if right is None else _with_accuracy(found, gone, right)


def _with_accuracy(curve: Curve, gone: list[Array], right: tuple[Array, Array]) -> Curve:
    small, big = right
    counts = [int(np.where(item, big, small).sum()) for item in gone]
    intervals = np.array([interval(count, len(small)) for count in counts])
    return replace(
        curve,
        accuracy=_floats(np.array(counts) / len(small)),
        accuracy_low=_floats(intervals[:, 0]),
        accuracy_high=_floats(intervals[:, 1]),
    )


def _ending_at(curve: Curve, settled: float) -> Curve:
    places = [place for place, item in enumerate(curve.threshold) if item > settled]
    columns = ("escalation", "threshold", "risk", "risk_bound")
    cut = {name: tuple(getattr(curve, name)[place] for place in places) for name in columns}
    return replace(curve, **cut, accuracy=None)


def _rising(values: Array) -> Array:
    """Return the largest of each value and those behind it."""
    return np.maximum.accumulate(values[::-1])[::-1]


def _floats(values: Array) -> tuple[float, ...]:
    return tuple(map(float, values))
