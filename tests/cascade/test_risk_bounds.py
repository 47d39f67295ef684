"""The bound told for a threshold is right, although the same rows have chosen the threshold."""

from __future__ import annotations

import numpy as np
import pytest

from hybridmodel.cascade.bounds import interval, most_failures, upper_bound
from hybridmodel.cascade.promises import ESCALATION, LOSS, Promise
from hybridmodel.cascade.scores import escalated

DELTA, ROWS, DRAWS = 0.1, 300, 2000

Levels = tuple[tuple[float, float], ...]
"""Of each level of scores, from the surest: its share of all rows, and how much of it is lost."""


def worst(*counts: int) -> Levels:
    """Make as many levels as counts, each of which is a trap of its own.

    Down to it, the risk is just above the bound of so many losses, of which a sample has so few in
    a share `DELTA` of all samples.
    """
    risks = np.append(0, upper_bound(counts, ROWS, DELTA) + 2e-4)
    return tuple((1 / len(counts), float(rate)) for rate in np.diff(risks) * len(counts))


def worst_to_escalate(epsilon: float) -> Levels:
    """Make three levels without losses; the shares escalated down from each are such traps."""
    most = most_failures(ROWS, epsilon, DELTA)
    low, high = (float(share) for share in upper_bound([0, most], ROWS, DELTA) + 2e-4)
    return ((1 - high, 0.0), (high - low, 0.0), (low, 0.0))


def samples_broken(kind: str, levels: Levels, epsilon: float) -> tuple[int, int]:
    """Count the samples whose promise, and whose bound, is not kept by the population."""
    shares, rates = map(np.array, zip(*levels, strict=True))
    values = -np.arange(len(levels), dtype=float)
    promise, random = Promise(epsilon=epsilon, delta=DELTA, kind=kind), np.random.default_rng(0)
    broken = too_low = 0
    for _ in range(DRAWS):
        drawn = random.choice(len(levels), size=ROWS, p=shares)
        scores, harm = values[drawn], (random.random(ROWS) < rates[drawn]).astype(float)
        threshold = promise.threshold(scores, harm)
        bound = promise.bound(harm, escalated(scores, threshold))
        gone = escalated(values, threshold)
        value = shares[gone].sum() if kind == ESCALATION else (shares * rates)[~gone].sum()
        broken += value > epsilon
        too_low += value > bound
    return broken, too_low


@pytest.mark.parametrize(
    ("kind", "levels", "epsilon"),
    [
        (LOSS, worst(0, 9), 0.05),
        (LOSS, worst(0, 4, 9), 0.05),
        (LOSS, worst(*range(10)), 0.05),
        (ESCALATION, worst_to_escalate(0.1), 0.1),
    ],
    ids=["two levels", "three levels", "ten levels", "a share escalated"],
)
def test_tied_scores_do_not_make_the_bound_too_low(
    kind: str, levels: Levels, epsilon: float
) -> None:
    """Over samples of few different scores, the bound is wrong in a share delta at most."""
    broken, too_low = samples_broken(kind, levels, epsilon)
    assert interval(broken, DRAWS, 0.998)[0] <= DELTA
    assert interval(too_low, DRAWS, 0.998)[0] <= DELTA


def test_the_bound_of_a_sample_is_that_of_the_losses_it_allows() -> None:
    """Where no tie ends the search, the bound counts the losses that are kept."""
    promise = Promise(epsilon=0.05, delta=DELTA)
    scores, harm = np.linspace(0, 1, ROWS), np.zeros(ROWS)
    harm[:30:3] = 1
    gone = escalated(scores, promise.threshold(scores, harm))
    kept = int(harm[~gone].sum())
    assert kept == 9
    assert promise.bound(harm, gone) == pytest.approx(float(upper_bound(9, ROWS, DELTA)))
    harm[:] = 0
    assert promise.bound(harm, gone) == pytest.approx(1 - DELTA ** (1 / ROWS))
    assert promise.bound(harm, np.ones(ROWS, bool)) == 0
