"""Only answers that can move the threshold are paid for, and it is the same threshold."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridmodel.calibrating import calibrate
from hybridmodel.calibrating.findings import find
from hybridmodel.calibrating.gathering import Evidence
from hybridmodel.cascade import escalated
from hybridmodel.cascade.bounds import most_failures
from hybridmodel.cascade.promises import Promise
from hybridmodel.exceptions import ConfigurationError
from tests.support.answers_at_hand import CLASS, by_tolerance, gather
from tests.support.calibration_pairs import Make, classes, numbers
from tests.support.strategies import Array, law


def drawn(rows: int, seed: int, *, ties: bool = False) -> tuple[Array, Array, Array, Array]:
    """Draw scores, labels, and the classes of a small model (.85 right) and a big one (.95)."""
    random = np.random.default_rng(seed)
    scores = random.random(rows)
    y = random.integers(3, size=rows)
    small = np.where(random.random(rows) < 0.3 * (1 - scores), (y + 1) % 3, y)
    big = np.where(random.random(rows) < 0.05, (y + 1 + random.integers(2, size=rows)) % 3, y)
    scores[random.random(rows) < 0.01] = np.nan
    return np.round(scores, 1) if ties else scores, y, small, big


def kept_promise(known: Evidence, promise: Promise) -> tuple[float, float, float, float]:
    """Return the threshold, the share escalated, the risk in the sample, and its bound."""
    threshold = promise.threshold(known.scores, known.losses)
    gone = escalated(known.scores, threshold)
    risk = promise.risk(known.losses, gone)
    return threshold, float(gone.mean()), risk, promise.bound(known.losses, gone)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("epsilon", [0.005, 0.02, 0.05])
def test_the_threshold_is_that_of_asking_for_all(
    labelled: bool, epsilon: float, ties: bool
) -> None:
    """Over 100 draws, threshold, promise and risk are the same, and fewer rows are asked for."""
    promise = Promise(epsilon=epsilon, delta=0.1)
    asked = []
    for seed in range(100):
        scores, y, small, big = drawn(800, seed, ties=ties)
        labels = y if labelled else None
        ask = partial(gather, CLASS, labels, small, big, scores, promise=promise, seed=seed)
        whole, _ = ask(size=None)
        part, remote = ask(size=seed % 3 * 20)
        assert kept_promise(part, promise) == kept_promise(whole, promise), seed
        asked.append(remote.asked)
    most = 150 if labelled else 700
    assert np.median(asked) < most


@law
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 0.25, 0.5, 1.0, math.nan]),
            st.integers(0, 2),
            st.integers(0, 2),
            st.integers(0, 2),
        ),
        min_size=1,
        max_size=60,
    ),
    st.floats(0.01, 0.6),
    st.floats(0.01, 0.6),
    st.integers(0, 70),
    st.booleans(),
)
def test_the_threshold_is_the_same_for_any_sample(
    rows: list[tuple[float, int, int, int]], epsilon: float, delta: float, size: int, labelled: bool
) -> None:
    """Whatever scores and answers are, and however many random rows are asked for."""
    scores, y, small, big = map(np.array, zip(*rows, strict=True))
    promise = Promise(epsilon=epsilon, delta=delta)
    labels = y if labelled else None
    odd = set(y) & (set(small) | set(big))
    if labelled and not odd:
        return
    ask = partial(gather, CLASS, labels, small, big, scores, promise=promise)
    whole, part = (kept_promise(ask(size=item)[0], promise) for item in (None, size))
    assert part == whole


def test_no_more_than_can_matter(make: Make) -> None:
    """With labels, 10,000 rows cost at most 500 answers; rows that the small model knows, none."""
    scores, y, small, big = drawn(10_000, 1)
    promise = Promise(epsilon=0.01, delta=0.1)
    _, remote = gather(CLASS, y, small, big, scores, promise=promise, size=0)
    allowed = most_failures(10_000, 0.01, 0.1)
    assert allowed < remote.asked <= 500
    assert not remote.known[small == y].any()
    # The first request may be as large as the number of losses that it takes at least.
    assert remote.requests[0] == allowed + 1
    lost = np.sort(scores[(small != y) & (big == y)])[::-1]
    needed = (small != y) & (scores >= lost[~np.isnan(lost)][allowed])
    assert needed.sum() <= remote.asked <= needed.sum() + 3


def test_too_small_a_sample_asks_for_nothing() -> None:
    """Where no answer can make the promise hold, none is paid for."""
    scores, y, small, big = drawn(200, 0)
    promise = Promise(epsilon=0.01, delta=0.1)
    known, remote = gather(CLASS, y, small, big, scores, promise=promise, size=0)
    assert remote.asked == 0
    assert find(known, promise)["threshold"] == math.inf


SERVED: list[tuple[str, Any, dict[str, Any]]] = [
    ("classes", classes, {"score": "confidence:sure"}),
    ("numbers", numbers, {"score": "uncertainty:std", "tolerance": 0.5}),
    (
        "numbers",
        numbers,
        {
            "score": "uncertainty:std",
            "loss": lambda y, small, big: np.abs(small["value"] - big["value"])[:, 0] > 1,
        },
    ),
]


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize(("pair", "sample", "how"), SERVED, ids=["class", "number", "function"])
def test_every_judge_asks_for_less(
    make: Make, pair: str, sample: Any, how: dict[str, Any], labelled: bool
) -> None:
    """A served model gives the same record for a part of the rows as for all of them."""
    data, y = sample()
    find_ = partial(calibrate, make(pair), data, y if labelled else None, epsilon=0.01, **how)
    whole, part = find_(), find_(subsample=50)
    assert (whole.asked_rows, whole.drawn_rows) == (1000, None)
    assert part.drawn_rows == 50
    assert part.asked_rows is not None
    assert (part.threshold, part.risk_bound) == (whole.threshold, whole.risk_bound)
    assert part.data_sha256 == whole.data_sha256
    if labelled and "loss" not in how:
        assert part.asked_rows <= 50 + 20
    none = find_(subsample=0)
    assert (none.threshold, none.drawn_rows, none.accuracy) == (whole.threshold, 0, None)
    assert none.asked_rows is not None
    assert none.asked_rows <= part.asked_rows


def test_what_the_random_rows_say_has_intervals(make: Make) -> None:
    """Accuracy and curve of a part hold those of the whole sample within their intervals."""
    data, y = classes(4000, harmful=80)
    find_ = partial(calibrate, make("classes"), data, y, epsilon=0.01, score="confidence:sure")
    whole, part = find_(subsample=None), find_(subsample=400)
    assert part.curve.accuracy_low is not None
    assert part.curve.accuracy_high is not None
    assert part.curve.risk_low is not None
    assert part.curve.risk_high is not None
    assert part.curve.threshold == whole.curve.threshold
    columns = zip(
        part.curve.threshold,
        whole.curve.risk,
        part.curve.risk,
        part.curve.risk_low,
        part.curve.risk_high,
        strict=True,
    )
    for threshold, truth, risk, low, high in columns:
        assert low <= risk <= high
        assert low <= truth <= high
        assert risk == truth or threshold < part.threshold
    pairs = zip(part.curve.accuracy_low, part.curve.accuracy_high, strict=True)
    assert whole.curve.accuracy is not None
    for (low, high), truth in zip(pairs, whole.curve.accuracy, strict=True):
        assert low <= truth <= high
    assert list(part.curve.risk_bound) == sorted(part.curve.risk_bound, reverse=True)
    assert part.difference_bound >= whole.difference_bound
    text = str(part)
    assert "right in 400 rows drawn at random: small 9" in text
    assert f"asked the endpoint for {part.asked_rows:,} of 4,000 rows" in text


def test_without_random_rows_the_curve_ends_where_nothing_is_known(make: Make) -> None:
    """Nobody knows the risk below the first loss too many, nor who is right."""
    data, y = classes()
    found = calibrate(make("classes"), data, y, epsilon=0.01, score="confidence:sure", subsample=0)
    assert found.curve.escalation[-1] == 1
    assert 0 < found.curve.escalation[0] <= found.escalation + 0.01
    assert found.curve.accuracy is None
    assert found.difference_bound == 1.0
    assert "right" not in str(found).replace("big right", "")
    found.plot()


def test_the_random_rows_are_chosen_by_the_seed() -> None:
    """The same rows each time, so that their answers are kept for the next; others by another."""
    scores, y, small, big = drawn(300, 0)
    promise = Promise(epsilon=0.05, delta=0.1)
    ask = partial(gather, CLASS, y, small, big, scores, promise=promise, size=40)
    rows = [ask(seed=seed)[0].drawn for seed in (0, 0, 1)]
    assert all(item is not None and len(set(item.tolist())) == 40 for item in rows)
    assert np.array_equal(rows[0], rows[1])
    assert not np.array_equal(rows[0], rows[2])


@pytest.mark.parametrize("subsample", [-1, 2.5, "all", True])
def test_sizes_that_are_none_are_refused(make: Make, subsample: Any) -> None:
    """The part is a number of rows."""
    with pytest.raises(ConfigurationError, match="subsample is a whole number"):
        calibrate(make("classes"), *classes(), epsilon=0.01, subsample=subsample)


def test_numbers_without_labels_promise_twice_the_tolerance() -> None:
    """The counterexample: label 0, small .6, big .4 is a loss at .5 that nobody sees unlabelled."""
    y, small, big = np.array([0.0]), np.array([0.6]), np.array([0.4])
    judge = by_tolerance(0.5)
    assert judge.compare(y, small, big).losses.tolist() == [True]
    assert judge.compare(None, small, big).losses.tolist() == [False]
    assert "big is within 0.5 of the truth and small not within 1" in judge.describe(False)
    assert judge.describe(True) == "big within 0.5 of the label, small not"


numbers_ = st.integers(-50, 50).map(lambda value: value / 8)  # Exact, as the law is.


@law
@given(numbers_, numbers_, numbers_, st.integers(0, 40).map(lambda value: value / 8))
def test_what_does_follow_without_labels(
    truth: float, small: float, big: float, tolerance: float
) -> None:
    """Where big is within t of the truth and small not within 2t, the two differ by more than t."""
    y, local, remote = (np.array([item]) for item in (truth, small, big))
    (differ,) = by_tolerance(tolerance).compare(None, local, remote).losses
    (close,) = by_tolerance(tolerance).compare(y, local, remote).right[1]  # type: ignore[index]
    (far,) = ~by_tolerance(2 * tolerance).compare(y, local, remote).right[0]  # type: ignore[index]
    assert differ or not (close and far)


def test_the_label_free_promise_over_draws() -> None:
    """Of 300 samples at most delta break the promise with 2t, and all break one with t."""
    random = np.random.default_rng(5)
    rows, tolerance, epsilon = 20_000, 0.5, 0.05
    truth, scores = random.normal(size=rows), random.random(rows)
    side = random.choice([-1, 1], rows)
    small = truth + np.where(scores < 0.2, 2.0, 0.6) * side
    big = truth + 0.4 * side
    promise, judge = Promise(epsilon=epsilon, delta=0.1), by_tolerance(tolerance)
    losses = judge.compare(None, small, big).losses
    near = np.abs(big - truth) <= tolerance
    broken = broken_at_once = 0
    for _ in range(300):
        sample = random.integers(rows, size=600)
        threshold = promise.threshold(scores[sample], losses[sample])
        kept = scores >= threshold
        broken += (kept & near & (np.abs(small - truth) > 2 * tolerance)).mean() > epsilon
        broken_at_once += (kept & near & (np.abs(small - truth) > tolerance)).mean() > epsilon
    assert broken <= 40
    assert broken_at_once == 300
