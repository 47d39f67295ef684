"""Bets on a mean: what they own is fair to the last digit, so no number of looks is too many."""

from __future__ import annotations

from math import comb
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hybridmodel.cascade.sequential import (
    HEAD,
    RUN_LENGTH,
    TIMES,
    ChangeDetector,
    log_capital,
    lower_limit,
    upper_limit,
)
from tests.support.strategies import law

Array = np.ndarray[Any, Any]
means = st.floats(0.001, 0.9)
losses = arrays(np.float64, st.integers(0, 600), elements=st.floats(0, 1))
alphas = st.floats(0.001, 0.2)


def chances(rows: int, mean: float) -> Array:
    """Return the binomial distribution."""
    counts = range(rows + 1)
    return np.array([comb(rows, k) * mean**k * (1 - mean) ** (rows - k) for k in counts])


@law
@given(st.integers(1, 40), means, st.floats(0, 1))
def test_a_bet_is_fair_where_its_mean_is_true_and_loses_below(
    rows: int, mean: float, part: float
) -> None:
    """Over all outcomes of so many rows, bets own 1 on average; less where the mean is smaller."""
    owned = np.exp(log_capital(np.arange(rows + 1), rows, mean))
    assert chances(rows, mean) @ owned == pytest.approx(1)
    assert chances(rows, part * mean) @ owned <= 1 + 1e-9


@law
@given(means, st.floats(0, 1))
def test_a_graded_loss_wins_no_more_than_a_whole_one(mean: float, low: float) -> None:
    """A value that is `low` or 1, with the same mean, is no better to bet on than 0 or 1."""
    if low >= mean:
        low = mean / 2
    chance = (mean - low) / (1 - low)
    graded = (1 - chance) * np.exp(log_capital(low, 1, mean)) + chance * np.exp(
        log_capital(1.0, 1, mean)
    )
    assert graded <= 1 + 1e-9


@law
@given(st.integers(1, 10_000), st.floats(0, 1), alphas)
def test_limits_lie_on_both_sides_of_what_was_seen(rows: int, share: float, alpha: float) -> None:
    """And a smaller alpha, or fewer rows with the same share, give wider ones."""
    total = share * rows
    low, high = lower_limit(total, rows, alpha), upper_limit(total, rows, alpha)
    assert 0 <= low <= share + 1e-9
    assert share - 1e-9 <= high <= 1
    assert lower_limit(total, rows, alpha / 10) <= low + 1e-6
    assert lower_limit(10 * total, 10 * rows, alpha) >= low - 1e-6


def test_before_the_first_row_nothing_is_known() -> None:
    """Every mean is possible."""
    assert (lower_limit(0, 0, 0.05), upper_limit(0, 0, 0.05)) == (0, 1)


def test_the_lower_limit_is_where_the_bets_are_won() -> None:
    """The mean at the limit is refuted, one that is a little larger is not."""
    low, needed = lower_limit(40, 1_000, 0.05), -np.log(0.05)
    assert log_capital(40, 1_000, low) >= needed
    assert log_capital(40, 1_000, low * 1.001) < needed


@pytest.mark.parametrize("mean", [0.02, 0.3])
def test_a_limit_is_wrong_at_any_time_in_few_streams(mean: float) -> None:
    """Of 300 streams that are looked at after each of 1,000 rows, a tenth at the most."""
    seen = np.random.default_rng(0).random((300, 1_000)) < mean
    owned = log_capital(seen.cumsum(axis=1), np.arange(1, 1_001), mean)
    assert (owned.max(axis=1) >= -np.log(0.1)).mean() <= 0.1


def stepped(detector: ChangeDetector, values: Array) -> ChangeDetector:
    """Place the bets row by row, as the definition says."""
    first, later = np.array(detector.first), np.array(detector.later)
    for value in values:
        gain = value * np.log(TIMES) - np.log1p(detector.bound * (TIMES - 1))
        first, later = first + gain, later * np.exp(gain) + 1
    return ChangeDetector(bound=detector.bound, first=tuple(first), later=tuple(later))


@law
@given(st.floats(0.2, 0.95), losses)
def test_the_detector_begins_a_bet_after_every_row(bound: float, values: Array) -> None:
    """Many rows at once own what rows one by one do, whatever the values are."""
    found, alarm = ChangeDetector(bound=bound).after(values)
    wanted = stepped(ChangeDetector(bound=bound), values if alarm is None else values[: alarm + 1])
    assert found.first == pytest.approx(wanted.first)
    assert found.later == pytest.approx(wanted.later)
    assert (found.share >= 1) is (alarm is not None)


@law
@given(st.floats(0.01, 0.4), arrays(np.float64, 300, elements=st.sampled_from([0.0, 1.0])))
def test_an_alarm_does_not_depend_on_how_the_rows_are_divided(bound: float, values: Array) -> None:
    """The alarm comes at the same row, whether a call has one row or hundreds."""
    _, wanted = ChangeDetector(bound=bound).after(values)
    detector, found = ChangeDetector(bound=bound), None
    for place, value in enumerate(values):
        detector, at_once = detector.after(np.array([value]))
        if at_once is not None:
            found = place
            break
    assert found == wanted


def owned_on_average(parts: tuple[int, ...], bound: float, mean: float, skipped: float) -> float:
    """Average what detectors of so many rows each own together, over all that may happen."""
    total = 0.0
    for code in range(2 ** sum(parts)):
        values = np.array([code >> place & 1 for place in range(sum(parts))], np.float64)
        chance = mean ** values.sum() * (1 - mean) ** (len(values) - values.sum())
        detectors = [
            ChangeDetector(bound=bound).skip(skipped).after(part)[0]
            for part in np.split(values, np.cumsum(parts)[:-1])
        ]
        joined = detectors[0]
        for other in detectors[1:]:
            joined = joined + other
        total += chance * joined.share * RUN_LENGTH
    return total


@pytest.mark.parametrize("parts", [(6,), (3, 3), (4, 1, 1)], ids=str)
@pytest.mark.parametrize("bound", [0.02, 0.3])
def test_bets_own_what_was_put_in_on_average(parts: tuple[int, ...], bound: float) -> None:
    """1 for each row and `HEAD`, of one process or of several that are added; less below the bound.

    So P(an alarm in n rows) <= (HEAD + n) / RUN_LENGTH, of all processes together.
    """
    put_in = HEAD + sum(parts)
    assert owned_on_average(parts, bound, bound, 0.0) == pytest.approx(put_in)
    assert owned_on_average(parts, bound, bound / 2, 0.0) < put_in
    assert owned_on_average(parts, bound, bound, 0.7) < put_in


@law
@given(st.floats(0.01, 0.9), st.floats(0, 1))
def test_a_row_that_may_be_skipped_counts_for_no_less_than_looking(
    bound: float, rate: float
) -> None:
    """A row known to be without a loss costs the bets what looking at it now and then would."""
    skipped = np.exp(ChangeDetector(bound=bound).skip(rate).first)
    looked = np.exp(ChangeDetector(bound=bound).skip(1.0).first)
    assert (skipped <= rate * looked + (1 - rate) + 1e-12).all()


@law
@given(st.floats(0.01, 0.9), st.floats(0, 1_000), arrays(np.float64, 20, elements=st.floats(0, 1)))
def test_zeros_come_evenly_between_the_values(bound: float, zeros: float, values: Array) -> None:
    """As if they were skipped one part before, between, and after the values."""
    parts = zeros / 21
    wanted = ChangeDetector(bound=bound).skip(parts)
    for value in values:
        wanted = wanted.after(np.array([value]))[0].skip(parts)
    found, alarm = ChangeDetector(bound=bound).after(values, zeros)
    if alarm is None:
        assert found.first == pytest.approx(wanted.first)
        assert found.later == pytest.approx(wanted.later)


@pytest.mark.parametrize("quiet", [0, 3_000])
def test_a_change_is_found_soon_and_nothing_where_nothing_is(quiet: int) -> None:
    """Twice a bound of 3 % within 1,000 rows, median of 41; at the bound 2 alarms of 41 at most."""
    random = np.random.default_rng(1)
    before = ChangeDetector(bound=0.03).after(1.0 * (random.random(quiet) < 0.01))[0]
    places = []
    for _ in range(41):
        assert before.after(1.0 * (random.random(2_000) < 0.024))[1] is None
        place = before.after(1.0 * (random.random(6_000) < 0.06))[1]
        places.append(np.inf if place is None else place)
    assert np.median(places) <= 1_000
    alarms = [before.after(1.0 * (random.random(20_000) < 0.03))[1] for _ in range(41)]
    assert sum(alarm is not None for alarm in alarms) <= 2
