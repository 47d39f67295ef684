"""Exact binomial bounds: what a sample of so many rows shows about all rows."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hybridmodel.cascade.bounds import (
    interval,
    most_failures,
    required_rows,
    tail,
    upper_bound,
)
from tests.support.strategies import law

shares = st.floats(0.001, 0.999)
counts = st.integers(1, 3_000)


def exact_tail(failures: int, rows: int, share: float) -> float:
    """Add up the binomial distribution, term by term."""
    return sum(comb(rows, k) * share**k * (1 - share) ** (rows - k) for k in range(failures + 1))


@law
@given(st.integers(1, 60), st.floats(0.01, 0.99), st.data())
def test_tail_is_the_sum_of_the_distribution(rows: int, share: float, data: st.DataObject) -> None:
    """The incomplete beta function and the sum of the terms are the same number."""
    failures = data.draw(st.integers(-1, rows))
    assert tail(failures, rows, share) == pytest.approx(exact_tail(failures, rows, share), abs=1e-9)


@law
@given(counts, shares, shares)
def test_most_failures_is_the_last_that_the_test_accepts(
    rows: int, epsilon: float, delta: float
) -> None:
    """So many failures are likely enough to be rejected at delta, and one more is not."""
    most = most_failures(rows, epsilon, delta)
    assert -1 <= most < rows
    assert tail(most, rows, epsilon) <= delta < tail(most + 1, rows, epsilon)


@law
@given(counts, shares, shares, shares)
def test_most_failures_grow_with_both_shares(
    rows: int, epsilon: float, delta: float, other: float
) -> None:
    """A weaker promise never allows fewer failures."""
    most = most_failures(rows, epsilon, delta)
    assert most_failures(rows, max(epsilon, other), delta) >= most
    assert most_failures(rows, epsilon, max(delta, other)) >= most


@law
@given(counts, shares, shares)
def test_bound_and_test_agree(rows: int, epsilon: float, delta: float) -> None:
    """The upper bound is at most epsilon exactly for the failures that the test allows."""
    most = most_failures(rows, epsilon, delta)
    bounds = upper_bound(np.arange(rows + 1), rows, delta)
    assume(np.abs(bounds - epsilon).min() > 1e-9)
    assert np.flatnonzero(bounds <= epsilon).max(initial=-1) == most


@law
@given(counts, shares, st.data())
def test_bound_is_the_quantile_of_the_beta_distribution(
    rows: int, delta: float, data: st.DataObject
) -> None:
    """The bound is that of Clopper and Pearson, above the share seen for a delta under half."""
    from scipy.stats import beta

    failures = data.draw(st.integers(0, rows - 1))
    bound = float(upper_bound(failures, rows, delta))
    assert bound == pytest.approx(beta.ppf(1 - delta, failures + 1, rows - failures), rel=1e-9)
    assert delta > 0.5 or bound > failures / rows


@pytest.mark.parametrize("rows", [1, 7, 10_000])
def test_bounds_at_the_edges(rows: int) -> None:
    """Nothing but failures leaves a bound of 1, and none leaves what the power law says."""
    assert upper_bound(rows, rows, 0.1) == 1
    assert upper_bound(0, rows, 0.1) == pytest.approx(1 - 0.1 ** (1 / rows))
    assert interval(0, rows)[0] == 0
    assert interval(rows, rows)[1] == 1


@pytest.mark.parametrize(
    ("epsilon", "delta", "rows"),
    [
        (0.005, 0.1, 460),
        (0.01, 0.1, 230),
        (0.02, 0.1, 114),
        (0.05, 0.05, 59),
        (0.5, 0.5, 1),
        (0.9, 0.1, 1),
        (1e-6, 0.1, 2_302_584),
    ],
)
def test_required_rows(epsilon: float, delta: float, rows: int) -> None:
    """The smallest sample that can keep a promise is where (1 - epsilon)^n comes down to delta."""
    assert required_rows(epsilon, delta) == rows
    assert (1 - epsilon) ** rows <= delta * (1 + 1e-9)
    assert rows == 1 or (1 - epsilon) ** (rows - 1) > delta


@law
@given(shares, shares)
def test_required_rows_are_where_something_is_allowed(epsilon: float, delta: float) -> None:
    """One row fewer allows nothing, not even a clean sample."""
    rows = required_rows(epsilon, delta)
    assert most_failures(rows, epsilon, delta) >= 0
    assert most_failures(rows - 1, epsilon, delta) == -1


@law
@given(st.integers(1, 500), st.data())
def test_interval_holds_the_share_seen(rows: int, data: st.DataObject) -> None:
    """Both ends lie on their side of the share, mirrored for successes and failures."""
    successes = data.draw(st.integers(0, rows))
    low, high = interval(successes, rows)
    assert 0 <= low <= successes / rows <= high <= 1
    assert interval(rows - successes, rows) == pytest.approx((1 - high, 1 - low))


def test_interval_covers_as_often_as_it_says() -> None:
    """Weighted with how likely each count is, at least 95 % of the intervals hold the truth."""
    rows = 40
    for share in (0.02, 0.3, 0.5, 0.91):
        chances = np.diff([tail(k, rows, share) for k in range(-1, rows + 1)])
        ends = [interval(k, rows) for k in range(rows + 1)]
        covered = sum(
            chance
            for chance, (low, high) in zip(chances, ends, strict=True)
            if low <= share <= high
        )
        assert 0.95 <= covered < 0.999
