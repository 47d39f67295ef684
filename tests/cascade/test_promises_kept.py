"""Promises are kept on populations made to break them: risks that lie just above epsilon."""

from __future__ import annotations

import numpy as np
import pytest

from hybridmodel.cascade import escalated
from hybridmodel.cascade.bounds import tail
from hybridmodel.cascade.promises import Promise
from hybridmodel.cascade.promises_groups import find_by_group, group_names, notes
from hybridmodel.cascade.promises_words import ACCURACY, ESCALATION, LOSS, MEAN_LOSS, told_of_groups
from hybridmodel.exceptions import ConfigurationError, InputMismatch
from tests.support.strategies import Array

DELTA, ROWS, DRAWS, EPSILON = 0.1, 400, 1_500, 0.05

Level = tuple[float, float, float]
"""Of a level of scores: its share of all rows, its mean harm, and how large each harm is."""

ABOVE = EPSILON + 2e-4


def drawn(levels: list[Level], gains: float, random: np.random.Generator) -> tuple[Array, Array]:
    """Draw a sample; `gains` of the rows count -1, and as many more count their harm."""
    parts, means, sizes = map(np.array, zip(*levels, strict=True))
    of = random.choice(len(levels), size=ROWS, p=parts / parts.sum())
    lot = random.random(ROWS)
    harm = np.where(lot < gains, -1.0, 0.0)
    rate = means[of] / sizes[of] + gains / sizes[of]
    return -of.astype(float), np.where((lot >= gains) & (lot < gains + rate), sizes[of], harm)


def truth(levels: list[Level], threshold: float) -> float:
    """Return the mean harm of what a threshold keeps, over all rows."""
    kept = [level for place, level in enumerate(levels) if -place >= threshold]
    return sum(level[0] * level[1] for level in kept) / sum(level[0] for level in levels)


ONE = [(1.0, ABOVE, 1.0)]
TWO = [(0.5, 0.0, 1.0), (0.5, 2 * ABOVE, 1.0)]
GRADED = [(0.5, 0.01, 0.2), (0.5, 2 * ABOVE - 0.01, 0.3)]


@pytest.mark.parametrize(
    ("kind", "method", "levels", "gains"),
    [
        (LOSS, None, ONE, 0.0),
        (ACCURACY, None, ONE, 0.0),
        (ACCURACY, None, ONE, 0.02),
        (ACCURACY, None, TWO, 0.2),
        (MEAN_LOSS, "hoeffding_bentkus", ONE, 0.0),
        (MEAN_LOSS, "betting", ONE, 0.0),
        (MEAN_LOSS, "hoeffding_bentkus", GRADED, 0.0),
        (MEAN_LOSS, "betting", GRADED, 0.0),
    ],
)
def test_a_promise_is_broken_in_a_share_delta_at_most(
    kind: str, method: str | None, levels: list[Level], gains: float
) -> None:
    """Where the least sure level brings the risk just above epsilon, few samples keep it."""
    promise = Promise(kind=kind, epsilon=EPSILON, delta=DELTA, method=method)
    random, broken = np.random.default_rng(3), 0
    for _ in range(DRAWS):
        broken += truth(levels, promise.threshold(*drawn(levels, gains, random))) > EPSILON
    assert 1 - tail(broken - 1, DRAWS, DELTA) > 0.001
    assert kind == MEAN_LOSS or broken > 0.02 * DRAWS, "a trap that never closes tells nothing"


def test_a_share_escalated_is_exceeded_in_a_share_delta_at_most() -> None:
    """The threshold is among scores that are drawn evenly, so its true share is itself."""
    promise = Promise(kind=ESCALATION, epsilon=0.2, delta=DELTA)
    random = np.random.default_rng(0)
    found = [promise.threshold(random.random(ROWS), np.zeros(ROWS)) for _ in range(DRAWS)]
    broken = int((np.array(found) > 0.2).sum())
    assert 1 - tail(broken - 1, DRAWS, DELTA) > 0.001
    assert 0.16 < np.mean(found) < 0.2


def test_each_group_keeps_its_promise() -> None:
    """All three groups together break theirs in a share delta of samples at most."""
    random, broken = np.random.default_rng(1), 0
    names = np.repeat(np.array(["a", "b", "c"], dtype=object), 120)
    risks = {"a": 0.0, "b": 0.1002, "c": 0.1002}
    promise = Promise(epsilon=0.1, delta=0.2)
    for _ in range(600):
        scores = np.zeros(len(names))
        rates = np.array([risks[name] for name in names])
        harm = (random.random(len(names)) < rates).astype(float)
        threshold, _ = find_by_group(promise, scores, harm, names)
        broken += threshold <= 0
    assert 1 - tail(broken - 1, 600, 0.2) > 0.001
    # Both bad groups have to look good at once.
    assert broken < 0.1 * 600


def test_groups_have_thresholds_of_their_own() -> None:
    """The common threshold is the highest; a group without losses would escalate nothing."""
    scores = np.tile(np.linspace(0, 1, 500), 2)
    names = group_names(["south"] * 500 + ["north"] * 500, 1000)
    harm = np.where((names == "north") & (scores < 0.2), 1.0, 0.0)
    promise = Promise(epsilon=0.05, delta=0.1)
    threshold, groups = find_by_group(promise, scores, harm, names)
    north, south = groups
    assert (north.name, south.name) == ("north", "south")
    assert threshold == north.threshold > south.threshold == 0
    assert south.escalation == 0 < north.escalation < 0.2
    assert north.risk > 0 == south.risk
    assert 0 < south.risk_bound <= north.risk_bound <= 0.05
    gone = escalated(scores, threshold).mean()
    text = "\n".join(told_of_groups(groups, 1000, float(gone)))
    assert f"one threshold for each would escalate {north.escalation / 2:.1%} of the rows" in text
    assert f"this one for all escalates {gone:.1%}" in text
    assert not [*notes(promise, groups)]
    alone, _ = find_by_group(promise, scores, harm, np.full(1000, "all", dtype=object))
    assert alone < threshold


def test_of_shares_escalated_the_lowest_threshold_serves_all_groups() -> None:
    """No group sends more than its share."""
    scores = np.concatenate([np.linspace(0, 1, 500), np.linspace(0.5, 1, 500)])
    names = group_names([0] * 500 + [1] * 500, 1000)
    promise = Promise(kind=ESCALATION, epsilon=0.2, delta=0.1)
    threshold, (low, high) = find_by_group(promise, scores, np.zeros(1000), names)
    assert threshold == low.threshold < high.threshold
    assert low.risk_bound <= 0.2


def test_small_groups_are_named() -> None:
    """A group that can never save anything makes all rows escalate, and the note says so."""
    names = group_names([1] * 990 + [2] * 10, 1000)
    threshold, groups = find_by_group(
        Promise(epsilon=0.01, delta=0.1), np.linspace(0, 1, 1000), np.zeros(1000), names
    )
    assert threshold == np.inf
    (note,) = notes(Promise(epsilon=0.01, delta=0.1), groups)
    assert "groups with too few rows: '2' 10; each of 2 groups needs at least 299" in note


@pytest.mark.parametrize(
    ("by", "error", "message"),
    [
        ([1, 2], InputMismatch, "by has to hold the group of each of 3 rows"),
        ([1, None, 2], InputMismatch, "by is missing for 1 of 3 rows"),
        ([1.0, np.nan, np.nan], InputMismatch, "by is missing for 2 of 3 rows"),
    ],
)
def test_groups_that_do_not_fit_are_refused(
    by: list[object], error: type[Exception], message: str
) -> None:
    """Each row has one group."""
    with pytest.raises(error, match=message):
        group_names(by, 3)


def test_too_many_groups_are_refused() -> None:
    """An identifier is no group."""
    with pytest.raises(ConfigurationError, match="by has 1001 groups, such as '0'"):
        group_names(range(1001), 1001)
