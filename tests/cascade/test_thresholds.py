"""The threshold search on arrays: valid, monotone, indifferent to order, and no more than that."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridmodel.cascade import escalated, find_threshold
from hybridmodel.cascade.bounds import interval, most_failures, tail, upper_bound
from hybridmodel.cascade.thresholds import Curve, jump, steps, threshold_allowing, trace
from hybridmodel.exceptions import ConfigurationError
from tests.support.strategies import Array, law

NAN, INF = math.nan, math.inf

# Few values, so that many are equal, and every special one.
some_scores = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.5000000001, 0.9, 1.0, -3.0, NAN, INF, -INF])


@st.composite
def samples(draw: st.DrawFn) -> tuple[Array, Array]:
    """Draw scores and losses of up to 300 rows."""
    rows = draw(st.lists(st.tuples(some_scores, st.booleans()), min_size=1, max_size=40))
    times = draw(st.integers(1, 8))
    scores, losses = zip(*rows * times, strict=True)
    return np.array(scores), np.array(losses)


shares = st.floats(0.01, 0.6)


def failures_kept(scores: Array, losses: Array, threshold: float) -> int:
    """Count the losses that a threshold keeps."""
    return int((losses & ~escalated(scores, threshold) & np.isfinite(scores)).sum())


@law
@given(samples(), shares, shares)
def test_every_threshold_found_passes_the_test(
    sample: tuple[Array, Array], epsilon: float, delta: float
) -> None:
    """At the threshold found, and at every safer one, the exact test rejects a risk too large."""
    scores, losses = sample
    found = find_threshold(scores, losses, epsilon=epsilon, delta=delta)
    for threshold in [found, *scores[scores >= found]]:
        kept = failures_kept(scores, losses, threshold)
        assert threshold == INF or tail(kept, len(scores), epsilon) <= delta


@law
@given(samples(), shares, shares)
def test_no_threshold_is_cheaper(sample: tuple[Array, Array], epsilon: float, delta: float) -> None:
    """Where a row that is escalated for its score were kept, the test would fail."""
    scores, losses = sample
    found = find_threshold(scores, losses, epsilon=epsilon, delta=delta)
    gone = scores[np.isfinite(scores) & escalated(scores, found)]
    if gone.size:
        kept = failures_kept(scores, losses, gone.max())
        assert tail(kept, len(scores), epsilon) > delta


@law
@given(samples(), shares, shares, shares)
def test_threshold_falls_with_both_shares(
    sample: tuple[Array, Array], epsilon: float, delta: float, other: float
) -> None:
    """A weaker promise never escalates more."""
    found = find_threshold(*sample, epsilon=epsilon, delta=delta)
    assert find_threshold(*sample, epsilon=max(epsilon, other), delta=delta) <= found
    assert find_threshold(*sample, epsilon=epsilon, delta=max(delta, other)) <= found


@law
@given(samples(), shares, shares, st.randoms(use_true_random=False))
def test_order_of_rows_does_not_matter(
    sample: tuple[Array, Array], epsilon: float, delta: float, random: Any
) -> None:
    """Permuted rows give the same threshold and the same curve."""
    order = list(range(len(sample[0])))
    random.shuffle(order)
    permuted = sample[0][order], sample[1][order]
    expected = find_threshold(*sample, epsilon=epsilon, delta=delta)
    assert find_threshold(*permuted, epsilon=epsilon, delta=delta) == expected
    assert trace(*permuted, None, delta=delta) == trace(*sample, None, delta=delta)


@law
@given(samples(), shares, shares)
def test_equal_scores_stay_together(
    sample: tuple[Array, Array], epsilon: float, delta: float
) -> None:
    """What is escalated is a number of rows that a threshold can escalate."""
    scores, losses = sample
    found = find_threshold(scores, losses, epsilon=epsilon, delta=delta)
    scores = np.where(np.isfinite(scores), scores, NAN)
    assert escalated(scores, found).sum() in steps(scores)


@law
@given(st.integers(1, 400), shares, shares)
def test_too_small_a_sample_escalates_everything(rows: int, epsilon: float, delta: float) -> None:
    """A clean sample saves something exactly when it is large enough to show it."""
    found = find_threshold(np.arange(rows), np.zeros(rows), epsilon=epsilon, delta=delta)
    assert (found == INF) == (most_failures(rows, epsilon, delta) < 0)


@pytest.mark.parametrize(
    ("scores", "losses", "allowed", "expected"),
    [
        ([0.1, 0.2, 0.3, 0.4], [1, 1, 0, 0], -1, INF),
        ([0.1, 0.2, 0.3, 0.4], [1, 1, 0, 0], 0, 0.25),
        ([0.1, 0.2, 0.3, 0.4], [1, 1, 0, 0], 1, 0.15),
        ([0.1, 0.2, 0.3, 0.4], [1, 1, 0, 0], 2, 0.1),
        ([0.1, 0.2, 0.3, 0.4], [0, 0, 0, 1], 0, INF),
        ([0.1, 0.2, 0.2, 0.4], [0, 1, 0, 0], 0, 0.3),
        ([0.1, 0.2, 0.2, 0.4], [0, 1, 1, 0], 1, 0.3),
        ([0.1, 0.2, 0.2, 0.4], [0, 0, 0, 0], 0, 0.1),
        ([NAN, 0.2, 0.3], [1, 0, 0], 0, 0.2),
        ([NAN, NAN], [0, 0], 5, INF),
        ([INF, 0.2, 0.3], [1, 0, 0], 0, 0.2),
        ([-1e308, 1e308], [1, 0], 0, 0.0),
        ([1e308, 1.5e308], [1, 0], 0, 1.25e308),
        ([0.0, 5e-324], [1, 0], 0, 5e-324),
        ([1.0, np.nextafter(1.0, 2)], [1, 0], 0, np.nextafter(1.0, 2)),
        ([3, 7], [1, 0], 0, 5.0),
    ],
)
def test_where_the_threshold_lies(
    scores: list[float], losses: list[int], allowed: int, expected: float
) -> None:
    """Halfway above the first loss too many; at the least sure row when all may stay."""
    found = threshold_allowing(np.array(scores), np.array(losses), allowed)
    assert found == pytest.approx(expected, rel=1e-15, abs=0)
    assert type(found) is float


@pytest.mark.parametrize(
    ("scores", "losses"),
    [([], []), ([0.1], [True, False]), ([[0.1]], [[True]]), (0.1, True)],
)
def test_arrays_of_other_shapes_are_refused(scores: Any, losses: Any) -> None:
    """Scores and losses are one for each of at least one row."""
    with pytest.raises(ConfigurationError, match="one for each of at least one row"):
        threshold_allowing(scores, losses, 1)


@law
@given(samples(), shares, st.integers(2, 101))
def test_curve_says_what_each_threshold_does(
    sample: tuple[Array, Array], delta: float, points: int
) -> None:
    """Every point of the curve is what its threshold makes of the sample."""
    scores, losses = sample
    scores = np.where(np.isfinite(scores), scores, NAN)
    small = ~losses
    big = np.ones(len(scores), bool)
    curve = trace(*sample, (small, big), delta=delta, points=points)
    assert len(curve.escalation) <= points
    assert curve.escalation[-1] == 1
    assert curve.risk_bound[-1] == 0
    assert list(curve.escalation) == sorted(curve.escalation)
    assert curve.accuracy is not None
    rows = zip(curve.escalation, curve.threshold, curve.risk, curve.accuracy, strict=True)
    for escalation, threshold, risk, accuracy in rows:
        gone = escalated(scores, threshold)
        assert gone.mean() == escalation
        assert (losses & ~gone).mean() == pytest.approx(risk)
        assert np.where(gone, big, small).mean() == pytest.approx(accuracy)
    kept = [round(risk * len(scores)) for risk in curve.risk[:-1]]
    assert list(curve.risk_bound[:-1]) == pytest.approx(upper_bound(kept, len(scores), delta))


def test_curve_begins_with_keeping_everything() -> None:
    """The first point escalates nothing, the last all, and one is there for each percent."""
    curve = trace(np.arange(1000), np.zeros(1000), None, delta=0.1)
    assert (curve.escalation[0], curve.escalation[-1]) == (0, 1)
    assert len(curve.escalation) == 101
    assert curve.accuracy is None


def test_curve_of_unequal_columns_is_refused() -> None:
    """A curve has as many risks as shares."""
    with pytest.raises(ConfigurationError, match="equally long"):
        Curve(escalation=(0.0, 1.0), threshold=(0.5,), risk=(0.0,), risk_bound=(0.0,))


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.1, 0.2, 0.3], [0, 1, 2, 3]),
        ([0.3, 0.1, 0.1], [0, 2, 3]),
        ([0.5, 0.5], [0, 2]),
        ([NAN, 0.5, NAN, 0.1], [2, 3, 4]),
        ([NAN, NAN], [2]),
    ],
)
def test_steps(scores: list[float], expected: list[int]) -> None:
    """Equal scores make one step, and rows without a score are always escalated."""
    assert steps(np.array(scores)).tolist() == expected


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [(0.1, (0.0, 0.1)), (0.2, (0.0, 0.5)), (0.3, (0.1, 1.0)), (INF, (0.5, 1.0))],
)
def test_jump(threshold: float, expected: tuple[float, float]) -> None:
    """The neighbours of a threshold's share are those that other thresholds can have."""
    scores = np.array([0.1] + [0.2] * 4 + [0.3] * 5)
    assert jump(scores, threshold) == expected


def population(rows: int = 50_000, *, ties: bool = False) -> tuple[Array, Array]:
    """Make a population in which the less sure are lost more often: 15 % of all rows."""
    random = np.random.default_rng(1)
    scores = random.random(rows)
    losses = random.random(rows) < 0.3 * (1 - scores)
    return np.round(scores, 1) if ties else scores, losses


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("size", "epsilon"), [(300, 0.02), (300, 0.05), (2_000, 0.02)])
def test_the_promise_holds_over_calibrations(size: int, epsilon: float, ties: bool) -> None:
    """Of 400 calibrations no more than delta break the promise, where the empirical ones do."""
    scores, losses = population(ties=ties)
    random = np.random.default_rng(2)
    broken = naive_broken = 0
    for _ in range(400):
        rows = random.integers(len(scores), size=size)
        sample = scores[rows], losses[rows]
        found = find_threshold(*sample, epsilon=epsilon, delta=0.1)
        naive = threshold_allowing(*sample, math.floor(epsilon * size))
        broken += (losses & ~escalated(scores, found)).mean() > epsilon
        naive_broken += (losses & ~escalated(scores, naive)).mean() > epsilon
    assert interval(broken, 400)[0] <= 0.1
    if not ties:  # Coarse scores leave gaps, which may happen to be on the safe side.
        assert interval(naive_broken, 400)[0] > 0.35
        assert broken > 0
