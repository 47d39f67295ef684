"""What may be promised about a cascade, and the threshold that keeps it.

==============  ===========================================================  =====================
kind            of all rows                                                  test
==============  ===========================================================  =====================
``loss``        at most a share epsilon is kept at a loss                    binomial, exact
``accuracy``    the cascade is right for epsilon fewer than the big model    trinomial, exact
``mean_loss``   the graded losses of those kept are epsilon in the mean      betting, or Hoeffding
                                                                             and Bentkus
``escalation``  at most a share epsilon goes to the endpoint                 binomial, exact
==============  ===========================================================  =====================

All are kept with probability at least ``1 - delta`` over samples, by testing thresholds in a fixed
order (`hybridmodel.cascade.thresholds`). The order of the first three is from infinity downwards,
that of ``escalation`` upwards. Every threshold on the way is tested at one and the same level, and
all of them keep the promise together: a wrong one is reached only through the first wrong one. So
whoever likes may use a safer threshold than the one found, for whatever reason (`cheapest`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hybridmodel.cascade import promises_accuracy as net
from hybridmodel.cascade import promises_mean as mean
from hybridmodel.cascade.bounds import most_failures, required_rows, upper_bound
from hybridmodel.cascade.judges import Judged
from hybridmodel.cascade.promises_words import (
    ACCURACY,
    ESCALATION,
    LOSS,
    MEAN_LOSS,
    check_kind,
)
from hybridmodel.cascade.scores import finite
from hybridmodel.cascade.thresholds import (
    Curve,
    steps,
    threshold_allowing,
    threshold_where,
    trace,
)
from hybridmodel.checks import check_share, shown
from hybridmodel.data.tensors import Array
from hybridmodel.exceptions import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class Promise:
    """One promise about all rows.

    Attributes
    ----------
    kind : str
        ``loss``, ``accuracy``, ``mean_loss`` or ``escalation``.
    epsilon, delta : float
        How much, and how often it may be broken; between 0 and 1, both excluded.
    method : str or None
        The test of ``mean_loss``, one of `promises_mean.METHODS`; by default chosen by epsilon and
        the size of the sample.

    Raises
    ------
    ConfigurationError
        If one of them is none of these.
    """

    epsilon: float
    delta: float
    kind: str = LOSS
    method: str | None = None

    def __post_init__(self) -> None:
        check_share("epsilon", self.epsilon)
        check_share("delta", self.delta)
        check_kind(self.kind)
        if self.method is not None and (self.kind, self.method) not in [
            (MEAN_LOSS, name) for name in mean.METHODS
        ]:
            raise ConfigurationError(
                f"method is one of {', '.join(map(repr, mean.METHODS))}, and goes with "
                f"promise={MEAN_LOSS!r} only; got {shown(self.method)} with {self.kind!r}"
            )

    def for_rows(self, rows: int) -> Promise:
        """Return this promise with the method that it uses for a sample of so many rows."""
        if self.kind != MEAN_LOSS or self.method is not None:
            return self
        return replace(self, method=mean.method_for(rows, self.epsilon))

    def harm(self, judged: Judged) -> Array:
        """Return what it costs to keep each row.

        Returns
        -------
        ndarray of float64, shape (n,)
            0 or 1; with ``accuracy`` also -1, with ``mean_loss`` anything from 0 to 1.

        Raises
        ------
        ConfigurationError
            If nothing tells who is right, which ``accuracy`` asks.
        """
        if self.kind != ACCURACY:
            return np.asarray(judged.losses, dtype=np.float64)
        if judged.right is None:
            raise ConfigurationError(
                f"promise={ACCURACY!r} compares who is right: pass labels, and no loss function"
            )
        small, big = judged.right
        return big.astype(np.float64) - small.astype(np.float64)

    def threshold(self, scores: Array, harm: Array) -> float:
        """Return the threshold that keeps the promise: the lowest, of ``escalation`` the highest.

        Parameters
        ----------
        scores : ndarray of shape (n,)
            NaN is always escalated.
        harm : ndarray of float64, shape (n,)
            As `harm` returns it; not read by ``escalation``.

        Returns
        -------
        float
            Infinity where only escalating everything keeps the promise; of ``escalation`` minus
            infinity where only escalating nothing may.
        """
        scores, rows = finite(np.asarray(scores)), len(scores)
        if self.kind == LOSS:
            most = most_failures(rows, self.epsilon, self.delta)
            return threshold_allowing(scores, harm, most)
        if self.kind == ESCALATION:
            return _highest(scores, most_failures(rows, self.epsilon, self.delta))
        return threshold_where(scores, lambda order: self._allows(harm[order], rows))

    def required_rows(self, rows: int) -> int:
        """Return how many rows it takes at least that a sample like one of `rows` saves something.

        For ``escalation``: that it lets a row go.
        """
        if self.kind == ACCURACY:
            return net.required_for_accuracy(self.epsilon, self.delta)
        if self.kind == MEAN_LOSS and self.for_rows(rows).method == mean.BETTING:
            return mean.required_for_mean(rows, self.epsilon, self.delta)
        return required_rows(self.epsilon, self.delta)

    def risk(self, harm: Array, gone: Array) -> float:
        """Return the value in a sample of what is promised to be at most epsilon."""
        return float(gone.mean() if self.kind == ESCALATION else harm[~gone].sum() / len(harm))

    def bound(self, harm: Array, gone: Array) -> float:
        """Return the upper bound, with confidence ``1 - delta``, of the value among all rows.

        The threshold was chosen by these rows. Where ties end the search early, a bound by what was
        counted would be chosen with it, and too low too often; that by what the search allows holds
        whatever it finds. For nets and means it is epsilon unless all rows are kept.
        """
        rows, kept = len(harm), harm[~gone]
        most = most_failures(rows, self.epsilon, self.delta)
        if self.kind == ESCALATION:
            return float(upper_bound(max(int(gone.sum()), most), rows, self.delta))
        if not kept.size:
            # No sample is needed to know that keeping no row risks nothing.
            return 0.0
        if self.kind == LOSS:
            count = max(int(kept.sum()), min(int(harm.sum()), most))
            return float(upper_bound(count, rows, self.delta))
        if len(kept) < rows:
            return self.epsilon
        if self.kind == ACCURACY:
            return net.mean_bound(int((kept < 0).sum()), int((kept > 0).sum()), rows, self.delta)
        method = self.for_rows(rows).method or mean.HOEFFDING_BENTKUS
        return mean.mean_bound(kept, rows, self.delta, method)

    def curve(self, scores: Array, harm: Array, right: tuple[Array, Array] | None) -> Curve:
        """Return what each threshold would do to the sample."""
        if self.kind == ESCALATION:
            return _curve_of_escalation(finite(np.asarray(scores)), self.delta)
        bounds = {ACCURACY: self._net_bounds, MEAN_LOSS: self._mean_bounds}.get(self.kind)
        return trace(scores, harm, right, delta=self.delta, bounds=bounds)

    def _allows(self, harm: Array, rows: int) -> Array:
        if self.kind == ACCURACY:
            table = net.most_harmed(rows, self.epsilon, self.delta)
            return net.allows(np.cumsum(harm < 0), np.cumsum(harm > 0), table)
        method = self.for_rows(rows).method or mean.HOEFFDING_BENTKUS
        return mean.kept_allows(harm, rows, self.epsilon, self.delta, method)

    def _net_bounds(self, harm: Array, counts: Array) -> Any:
        gains, losses = (_after(flags, counts) for flags in (harm < 0, harm > 0))
        return net.difference_bounds(gains, losses, len(harm), self.delta)

    def _mean_bounds(self, harm: Array, counts: Array) -> Any:
        return mean.mean_bounds(_after(harm, counts), len(harm), self.delta)


def cheapest(scores: Array, harm: Array, threshold: float, cost_remote: float) -> float:
    """Return the threshold with the least cost of a row, not below one that keeps a promise.

    Parameters
    ----------
    scores, harm : ndarray of shape (n,)
        Of a sample.
    threshold : float
        What `Promise.threshold` found; any higher one keeps the same promise.
    cost_remote : float
        Of asking the endpoint for a row, where a loss of 1 costs 1.

    Returns
    -------
    float
        `threshold` itself, or one of the scores above it; infinity where it is cheapest to
        escalate everything.
    """
    scores = finite(np.asarray(scores))
    surer = scores >= threshold
    order = np.flatnonzero(surer)[np.argsort(scores[surer], kind="stable")]
    if not order.size:
        return threshold
    ordered = scores[order]
    places = np.append(np.append(True, ordered[1:] != ordered[:-1]), True)
    # Sending on the first so many of the rows that the threshold keeps.
    saved = np.append(0.0, np.cumsum(harm[order])) - cost_remote * np.arange(len(order) + 1)
    best = int(np.argmax(np.where(places, saved, -math.inf)))
    return threshold if best == 0 else float(np.append(ordered, math.inf)[best])


def _highest(scores: Array, most: int) -> float:
    """Return the highest threshold that escalates at most so many rows of a sample."""
    allowed = most - int(np.isnan(scores).sum())
    known = np.sort(scores[~np.isnan(scores)])
    if allowed < 0:
        return -math.inf
    below = known[known < known[allowed]]
    lower = below[-1] if below.size else known[allowed]
    middle = float(lower / 2 + known[allowed] / 2)
    return middle if lower < middle <= known[allowed] else float(known[allowed])


def _curve_of_escalation(scores: Array, delta: float) -> Curve:
    possible, rows = steps(scores), len(scores)
    counts = np.unique(possible[np.searchsorted(possible, np.linspace(0, rows, 101))])
    known = np.sort(np.where(np.isnan(scores), -math.inf, scores))
    shares = tuple(map(float, counts / rows))
    return Curve(
        escalation=shares,
        threshold=tuple(map(float, np.append(known, math.inf)[counts])),
        risk=shares,
        risk_bound=tuple(map(float, upper_bound(counts, rows, delta))),
    )


def _after(values: Array, counts: Array) -> Array:
    """Add up what comes after the first so many."""
    return np.asarray(values.sum() - np.append(0, np.cumsum(values))[counts])
