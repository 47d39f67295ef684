"""What a calibration says about each class: a promise about all rows may destroy a rare one."""

from __future__ import annotations

import warnings
from functools import partial

import numpy as np
import pytest

from hybridmodel.calibrating import calibrate
from hybridmodel.cascade import Calibration
from hybridmodel.cascade.classes import ClassShare, by_class, destroyed
from tests.support.calibration_pairs import Data, Make, classes, numbers
from tests.support.strategies import Array

PROMISE = {"score": "confidence:sure", "epsilon": 0.01}


def rare(rows: int = 2000) -> tuple[Data, Array]:
    """Make 1 of 200 rows a class that only the big model knows, in half of its rows, and is sure.

    As where a small model never answers a rare class: it is surest of the class that it says
    always, so these rows are the last that a threshold sends on.
    """
    data, y = classes(rows, harmful=0)
    y = y % 2
    places = np.arange(0, rows, 200)
    y[places] = 2
    big = y.copy()
    big[places[::2]] = 0
    sure = data["small_sure"].copy()
    sure[places] = 1
    return {**data, "small_label": np.where(y == 2, 0, y), "big_label": big, "small_sure": sure}, y


def test_a_rare_class_that_is_destroyed_is_warned_of(make: Make) -> None:
    """The promise is kept, and recall of the class falls from one half to nothing: it is said."""
    with pytest.warns(
        UserWarning,
        match=r"class 2 \(10 rows\): 50.0% kept at a loss; recall small 0.0%, big 50.0%, cascade "
        r"0.0%: the promise is about all rows together",
    ):
        found = calibrate(make("classes"), *rare(), **PROMISE, subsample=None)
    assert found.escalation == 0
    assert found.risk_bound <= 0.01
    assert found.classes[0] == ClassShare(
        label="2", rows=10, lost=0.5, small=0.0, big=0.5, cascade=0.0
    )
    assert {item.label: item.lost for item in found.classes} == {"0": 0, "1": 0, "2": 0.5}
    assert "classes that lose most:\n  2 (10 rows): 50.0% kept at a loss; recall" in str(found)
    assert found.metrics()["calibration_worst_class_lost"] == 0.5
    assert Calibration.from_json(found.to_json()) == found


@pytest.mark.parametrize("size", [0, 20])
def test_what_a_class_loses_is_known_with_few_answers(make: Make, size: int) -> None:
    """Losses are counted in all rows; recall in those that were drawn, if the class is there."""
    with pytest.warns(UserWarning, match=r"class 2 \(10 rows\): 50.0% kept at a loss"):
        found = calibrate(make("classes"), *rare(), **PROMISE, subsample=size)
    assert (found.classes[0].label, found.classes[0].rows, found.classes[0].lost) == ("2", 10, 0.5)
    assert found.asked_rows is not None
    assert found.asked_rows <= 10 + size
    if not size:
        assert {item.big for item in found.classes} == {None}


def test_without_labels_a_class_is_what_the_big_model_says(make: Make) -> None:
    """Nobody knows recall then, but how often the small model says otherwise on what is kept."""
    data, _ = rare()
    with pytest.warns(UserWarning, match=r"class 2 \(5 rows\): 100.0% kept at a loss: the promise"):
        found = calibrate(make("classes"), data, **PROMISE, subsample=None)
    assert found.classes[0] == ClassShare(label="2", rows=5, lost=1.0)


def test_a_class_that_keeps_its_recall_is_not_warned_of(make: Make) -> None:
    """One loss in a class, or a few of many rows, may be chance or is what was promised."""
    data, y = classes(3000, harmful=30)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = calibrate(make("classes"), data, y, **PROMISE)
    assert {item.rows for item in found.classes} == {1000}
    assert sum(item.lost * item.rows for item in found.classes) == pytest.approx(
        found.risk * found.rows
    )
    assert found.accuracy is not None


def test_numbers_have_no_classes(make: Make) -> None:
    """Neither have losses by a function."""
    data, y = numbers()
    find = partial(calibrate, make("numbers"), data, y, epsilon=0.01, score="uncertainty:std")
    assert find(tolerance=0.5).classes == ()
    assert find(loss=lambda y, small, big: np.zeros(len(small["std"]))).classes == ()


@pytest.mark.parametrize(
    ("rows", "lost", "is_told"),
    [(1, 1, False), (2, 2, True), (10, 2, False), (10, 3, True), (50, 5, False), (50, 10, True)],
)
def test_how_sure_it_has_to_be(rows: int, lost: int, is_told: bool) -> None:
    """A class is named once it loses more than 5 % with 95 % confidence."""
    share = ClassShare(label="a", rows=rows, lost=lost / rows)
    assert bool(list(destroyed((share,), 0.01))) == is_told
    assert not list(destroyed((share,), 0.9))


def test_many_classes() -> None:
    """A hundred are kept, those that lose most first, and three are named."""
    names = np.repeat(np.arange(150), 20)
    lost = names < 12
    found = by_class(names, lost, None)
    assert len(found) == 100
    assert [item.lost for item in found] == [1.0] * 12 + [0.0] * 88
    told = list(destroyed(found, 0.01))
    assert len(told) == 4
    assert told[-1] == "9 more classes lose as much"


def test_the_promise_says_nothing_about_a_class() -> None:
    """1 of 200: over draws the promise holds, and recall of the rare class falls to nothing."""
    from hybridmodel.cascade import find_threshold

    random = np.random.default_rng(1)
    rows = 50_000
    is_rare = random.random(rows) < 0.005
    scores = np.where(is_rare, 0.9, random.random(rows))
    losses = np.where(
        is_rare, random.random(rows) < 0.441, random.random(rows) < 0.1 * (1 - scores)
    )
    recall = []
    for _ in range(50):
        sample = random.integers(rows, size=2000)
        threshold = find_threshold(scores[sample], losses[sample], epsilon=0.02, delta=0.1)
        kept = scores >= threshold
        assert (losses & kept).mean() < 0.025
        recall.append((losses & ~kept)[is_rare].mean())
    assert losses[is_rare].mean() > 0.4
    assert np.median(recall) == 0
