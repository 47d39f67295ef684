"""Rows are recognised by what is in them; copies in a sample are found, and paid for once."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridmodel.calibrating import calibrate
from hybridmodel.calibrating.sample import row_keys
from hybridmodel.cascade import find_threshold
from hybridmodel.cascade.bounds import interval
from tests.support.calibration_pairs import Make, classes
from tests.support.strategies import law

cells = st.sampled_from(["", "a", "ab", "b", "ba", "\0", "☂"])
rows = st.lists(st.tuples(cells, cells, st.integers(-1, 1)), min_size=1, max_size=12)


@law
@given(rows)
def test_keys_tell_rows_apart(sample: list[tuple[str, str, int]]) -> None:
    """Rows have one key if and only if all their cells are the same, wherever a text ends."""
    texts = np.array([row[:2] for row in sample], object)
    numbers = np.array([row[2] for row in sample])
    feeds = {"texts": texts, "numbers": numbers}
    keys = row_keys(feeds, len(sample))
    for one, key in zip(sample, keys, strict=True):
        assert [other == one for other in sample] == [other == key for other in keys]
    backwards = row_keys({"numbers": numbers[::-1], "texts": texts[::-1]}, len(sample))
    assert backwards == keys[::-1], "neither the order of inputs nor that of rows matters"
    assert set(row_keys({"texts": texts, "other": numbers}, len(sample))).isdisjoint(keys)
    assert set(row_keys({**feeds, "numbers": numbers * 1.0}, len(sample))).isdisjoint(keys)


def test_rows_without_cells_are_alike() -> None:
    """An input of no columns says nothing."""
    assert len(set(row_keys({"x": np.zeros((3, 0))}, 3))) == 1


def test_copies_are_warned_of_and_paid_once(make: Make) -> None:
    """Ten copies of each row are ten times the rows and no more knowledge; each is asked once."""
    data, y = classes(200, harmful=2)
    data, y = {name: np.repeat(values, 10) for name, values in data.items()}, np.repeat(y, 10)
    with pytest.warns(UserWarning, match="1,800 of 2,000 rows are copies of the other 200"):
        found = calibrate(
            make("classes"), data, y, epsilon=0.01, score="confidence:sure", subsample=None
        )
    assert (found.rows, found.asked_rows) == (2000, 200)
    assert any("copies" in note for note in found.warnings)


@pytest.mark.parametrize(("copies", "is_told"), [(5, False), (9, False), (10, True), (500, True)])
def test_a_few_copies_are_no_matter(make: Make, copies: int, is_told: bool) -> None:
    """Chance makes a few, which change little: one in a hundred is too many."""
    data, y = classes()
    for values in (*data.values(), y):
        values[:copies] = values[copies]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        calibrate(make("classes"), data, y, epsilon=0.01, score="confidence:sure")
    told = [f"{item.message}" for item in caught if "copies" in str(item.message)]
    assert [text.split(" ")[0] for text in told] == [str(copies)] * is_told


def test_copies_break_the_promise() -> None:
    """Over draws with ten copies of each row, the promise is broken far more often than delta."""
    random = np.random.default_rng(1)
    scores = random.random(100_000)
    losses = random.random(100_000) < 0.3 * (1 - scores)
    broken = {1: 0, 10: 0}
    for _ in range(200):
        for copies in broken:
            sample = np.repeat(random.integers(100_000, size=2000 // copies), copies)
            found = find_threshold(scores[sample], losses[sample], epsilon=0.02, delta=0.1)
            broken[copies] += (losses & (scores >= found)).mean() > 0.02
    assert interval(broken[1], 200)[0] <= 0.1
    assert interval(broken[10], 200)[0] > 0.25
