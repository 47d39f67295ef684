"""Promises on arrays: what their tests allow, by enumeration, by laws, and on traps."""

from __future__ import annotations

import math
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridmodel.cascade import escalated
from hybridmodel.cascade import promises_accuracy as net
from hybridmodel.cascade import promises_mean as mean
from hybridmodel.cascade.bounds import most_failures, required_rows, tail
from hybridmodel.cascade.promises import Promise, cheapest
from hybridmodel.cascade.promises_words import ACCURACY, ESCALATION, LOSS, MEAN_LOSS
from hybridmodel.cascade.thresholds import threshold_where
from hybridmodel.exceptions import ConfigurationError
from tests.support.strategies import Array, law

NAN, INF = math.nan, math.inf
DELTA = 0.1

shares = st.floats(0.02, 0.5)


@st.composite
def samples(draw: st.DrawFn, harms: st.SearchStrategy[float]) -> tuple[Array, Array]:
    """Draw scores with ties and NaN, and what it costs to keep each row."""
    scores = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0, -3.0, NAN])
    rows = draw(st.lists(st.tuples(scores, harms), min_size=1, max_size=40))
    times = draw(st.integers(1, 8))
    found, harm = zip(*rows * times, strict=True)
    return np.array(found), np.array(harm, dtype=float)


net_samples = samples(st.sampled_from([-1.0, 0.0, 0.0, 0.0, 1.0]))
mean_samples = samples(st.sampled_from([0.0, 0.0, 0.0, 0.2, 0.5, 1.0]))


def chance_allowed(table: Array, rows: int, epsilon: float, share: float) -> float:
    """Add up the trinomial distribution over all that a table allows."""
    more, rest = epsilon + share, 1 - epsilon - 2 * share
    return sum(
        comb(rows, gains)
        * comb(rows - gains, losses)
        * share**gains
        * more**losses
        * max(rest, 0.0) ** (rows - gains - losses)
        for gains in range(rows + 1)
        for losses in range(rows - gains + 1)
        if losses <= table[min(gains, len(table) - 1)]
    )


@pytest.mark.parametrize(
    ("rows", "epsilon", "delta"),
    [(20, 0.15, 0.1), (40, 0.1, 0.1), (40, 0.3, 0.05), (60, 0.05, 0.3)],
)
def test_a_net_above_epsilon_is_allowed_in_a_share_delta(
    rows: int, epsilon: float, delta: float
) -> None:
    """Whatever share of rows counts -1, the exact chance is at most delta, and not far below."""
    table = net.most_harmed(rows, epsilon, delta)
    grid = np.linspace(0, (1 - epsilon) / 2, 60)
    chances = [chance_allowed(table, rows, epsilon, float(share)) for share in grid]
    assert max(chances) <= delta
    assert max(chances) > 0.5 * delta


@pytest.mark.parametrize(("rows", "epsilon"), [(500, 0.01), (2_000, 0.02), (10_000, 0.01)])
def test_between_the_shares_of_the_grid_no_chance_is_larger(rows: int, epsilon: float) -> None:
    """A grid several times finer, with other shares, finds no chance above delta."""
    table = net.most_harmed(rows, epsilon, DELTA)
    roots = np.linspace(0, math.sqrt((1 - epsilon) / 2), 700)
    assert max(net._chance(table, rows, epsilon, float(root**2)) for root in roots) <= DELTA


def test_gains_allow_more_losses() -> None:
    """A table rises with the gains; without any, it allows little more than the binomial test."""
    table = net.most_harmed(2_000, 0.02, DELTA)
    assert (np.diff(table) >= 0).all()
    assert table[100] > 100
    assert abs(int(table[0]) - most_failures(2_000, 0.02, DELTA)) <= 3
    beyond = net.allows(np.array([10**6]), table[-1:], table)
    assert beyond.all()
    assert not net.allows(np.array([10**6]), table[-1:] + 1, table).any()
    with pytest.raises(ValueError, match="read-only"):
        table[0] = 1


@pytest.mark.parametrize(("epsilon", "delta"), [(0.01, 0.1), (0.05, 0.05), (0.1, 0.3)])
def test_required_rows_are_the_fewest_that_save_anything(epsilon: float, delta: float) -> None:
    """A clean sample of so many rows keeps them all; one row fewer escalates everything."""
    for kind in (LOSS, ACCURACY, MEAN_LOSS):
        promise = Promise(kind=kind, epsilon=epsilon, delta=delta)
        rows = promise.required_rows(10)
        assert rows >= required_rows(epsilon, delta)
        assert promise.threshold(np.arange(rows), np.zeros(rows)) == 0
        assert promise.threshold(np.arange(rows - 1), np.zeros(rows - 1)) == INF


def test_bound_and_test_of_a_net_agree() -> None:
    """The bound of counts that are just allowed is just below epsilon."""
    table = net.most_harmed(2_000, 0.02, DELTA)
    for gains in (0, 20, 200):
        most = int(table[gains])
        assert net.mean_bound(gains, most, 2_000, DELTA) <= 0.0204
        assert net.mean_bound(gains, most + 4, 2_000, DELTA) > 0.02


@law
@given(net_samples, shares)
def test_every_net_on_the_way_is_allowed(sample: tuple[Array, Array], epsilon: float) -> None:
    """At the threshold found, and at every safer one, the counts lie within the table."""
    scores, harm = sample
    epsilon = round(epsilon, 1) or 0.1
    found = Promise(kind=ACCURACY, epsilon=epsilon, delta=DELTA).threshold(scores, harm)
    table = net.most_harmed(len(scores), epsilon, DELTA)
    for threshold in {*scores[scores >= found].tolist()}:
        kept = harm[~escalated(scores, threshold)]
        assert net.allows(np.array((kept < 0).sum()), np.array((kept > 0).sum()), table)


@law
@given(mean_samples, shares, st.sampled_from(mean.METHODS))
def test_a_mean_is_no_cheaper_than_the_exact_test(
    sample: tuple[Array, Array], epsilon: float, method: str
) -> None:
    """Of losses that are 0 and 1 only, the tests for graded losses allow no more rows."""
    scores, harm = sample
    harm = np.ceil(harm)
    exact = Promise(epsilon=epsilon, delta=DELTA).threshold(scores, harm)
    graded = Promise(kind=MEAN_LOSS, epsilon=epsilon, delta=DELTA, method=method)
    assert graded.threshold(scores, harm) >= exact


@law
@given(mean_samples, shares, st.sampled_from(mean.METHODS), st.floats(0, 1))
def test_smaller_losses_never_escalate_more(
    sample: tuple[Array, Array], epsilon: float, method: str, factor: float
) -> None:
    """Losses of which each is smaller keep at least as many rows."""
    scores, harm = sample
    promise = Promise(kind=MEAN_LOSS, epsilon=epsilon, delta=DELTA, method=method)
    assert promise.threshold(scores, factor * harm) <= promise.threshold(scores, harm)


@pytest.mark.parametrize("epsilon", [0.02, 0.2])
@pytest.mark.parametrize("values", [(0.0, 1.0), (0.0, 0.4), (0.1, 0.9)])
def test_nobody_wins_against_a_mean_of_epsilon(epsilon: float, values: tuple[float, float]) -> None:
    """The money won is 1 in the mean, over all samples of 40 rows with a mean of epsilon."""
    low, high = values
    share = (epsilon - low) / (high - low)
    if not 0 <= share <= 1:
        share, epsilon = 0.3, low + 0.3 * (high - low)
    rows, total = 40, 0.0
    for count in range(rows + 1):
        losses = np.where(np.arange(rows) < count, high, low)
        wealth = math.exp(mean._log_wealth(losses, rows, epsilon, DELTA)[-1])
        total += comb(rows, count) * share**count * (1 - share) ** (rows - count) * wealth
    assert total == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(("rows", "epsilon"), [(100, 0.05), (500, 0.01), (5_000, 0.02)])
def test_the_largest_sum_is_that_of_hoeffding_or_bentkus(rows: int, epsilon: float) -> None:
    """At the largest sum one of both bounds is at most delta, and a little above it neither."""

    def bounds(total: float) -> float:
        share = total / rows
        far = share * math.log(share / epsilon) if share else 0.0
        far += (1 - share) * math.log((1 - share) / (1 - epsilon))
        hoeffding = math.exp(-rows * far) if share < epsilon else 1.0
        return min(hoeffding, math.e * tail(math.ceil(total - 1e-9), rows, epsilon))

    found = mean.largest_sum(rows, epsilon, DELTA)
    assert bounds(found - 1e-6) <= DELTA
    assert bounds(found + 1e-3) > DELTA


def test_bets_win_where_losses_are_small() -> None:
    """Of many small losses bets keep more rows; they are chosen before any loss is seen."""
    rows = 10_000
    scores, harm = np.arange(rows), np.full(rows, 0.1) * (np.arange(rows) % 5 == 0)
    found = {
        name: Promise(kind=MEAN_LOSS, epsilon=0.01, delta=DELTA, method=name).threshold(
            scores, harm
        )
        for name in mean.METHODS
    }
    assert found[mean.BETTING] < found[mean.HOEFFDING_BENTKUS]
    assert mean.method_for(rows, 0.01) == mean.BETTING
    assert mean.method_for(500, 0.01) == mean.HOEFFDING_BENTKUS


@law
@given(net_samples, shares, shares)
def test_the_highest_threshold_that_escalates_few(
    sample: tuple[Array, Array], epsilon: float, delta: float
) -> None:
    """So many rows of a sample may go, those without a score among them, and no row more."""
    scores, harm = sample
    rows, most = len(scores), most_failures(len(scores), epsilon, delta)
    found = Promise(kind=ESCALATION, epsilon=epsilon, delta=delta).threshold(scores, harm)
    missing = int(np.isnan(scores).sum())
    if missing > most:
        assert found == -INF
        return
    assert escalated(scores, found).sum() <= most
    higher = scores[scores >= found]
    if higher.size:
        assert escalated(scores, np.nextafter(higher.min(), INF)).sum() > most
    assert rows > most


@law
@given(mean_samples, st.floats(0, 1.2), st.sampled_from([-INF, 0.0, 0.2, 0.9, INF]))
def test_no_threshold_that_keeps_the_promise_costs_less(
    sample: tuple[Array, Array], cost: float, least: float
) -> None:
    """By trying all thresholds from the least one upwards."""
    scores, harm = sample

    def price(threshold: float) -> float:
        gone = escalated(scores, threshold)
        return float(cost * gone.sum() + harm[~gone].sum())

    found = cheapest(scores, harm, least, cost)
    assert found >= least
    tried = [item for item in {*scores.tolist(), INF, least} if item >= least]
    assert price(found) == pytest.approx(min(map(price, tried)))


@pytest.mark.parametrize(
    ("scores", "allowed", "expected"),
    [
        ([0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1], 0.25),
        ([0.1, 0.2, 0.3, 0.4], [1, 1, 1, 1], 0.1),
        ([0.1, 0.2, 0.3, 0.4], [1, 1, 1, 0], INF),
        ([0.1, 0.2, 0.2, 0.4], [1, 0, 1, 1], 0.1),
        ([0.1, 0.2, 0.2, 0.4], [1, 1, 0, 1], 0.3),
        ([NAN, 0.2], [0, 1], 0.2),
        ([NAN, NAN], [1, 1], INF),
    ],
)
def test_the_search_ends_before_what_is_not_allowed(
    scores: list[float], allowed: list[int], expected: float
) -> None:
    """Rows of equal scores are asked about together, at the last of them."""
    flags = np.array(allowed, bool)
    assert threshold_where(np.array(scores), lambda order: flags[order]) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kind": "recall"}, "promise is one of 'loss', 'accuracy', 'mean_loss', 'escalation'"),
        ({"epsilon": 0}, "epsilon is a number between 0 and 1"),
        ({"delta": 1}, "delta is a number between 0 and 1"),
        ({"method": "betting"}, "goes with promise='mean_loss' only"),
        ({"kind": MEAN_LOSS, "method": "luck"}, "method is one of 'hoeffding_bentkus', 'betting'"),
    ],
)
def test_promises_of_another_kind_are_refused(given: dict[str, object], message: str) -> None:
    """The message says what there is."""
    values: dict[str, object] = {"epsilon": 0.1, "delta": 0.1, **given}
    with pytest.raises(ConfigurationError, match=message):
        Promise(**values)  # type: ignore[arg-type]
