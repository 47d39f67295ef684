"""The proof of a conversion: what counts as a difference, on which rows, and how it is told."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from hybridmodel.sklearn import Agreement, from_sklearn
from hybridmodel.sklearn.converting.agreement import expected, measured, with_made
from hybridmodel.sklearn.converting.layout import mixed

NAN, INF = float("nan"), float("inf")


def compared(one: dict[str, Any], other: dict[str, Any], difference: float = 0.1) -> Agreement:
    """Measure answers of an estimator against those of a model that gives `other`."""
    answers = {name: np.asarray(values) for name, values in one.items()}
    outputs = {name: np.asarray(values) for name, values in other.items()}
    model: Any = SimpleNamespace(infer=lambda *_, **__: SimpleNamespace(outputs=outputs))
    return measured(answers, model, np.zeros((len(next(iter(answers.values()))), 1)), difference)


LABELS = {
    "equal": (["a", "b"], ["a", "b"], ()),
    "other": (["a", "b"], ["a", "c"], (1,)),
    "a column": (["a", "b"], [["a"], ["b"]], ()),
    "a row": (["a", "b"], [["a", "b"]], (0, 1)),
    "truth values as numbers": ([True, False], [1, 0], ()),
    "whole floats as numbers": ([1.0, 2.0], [1, 2], ()),
    "numbers as texts": ([1, 2], ["1", "2"], (0, 1)),
    "truth values as texts": ([True, False], ["True", "False"], (0, 1)),
    "too few": (["a", "b"], ["a"], (0, 1)),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels_are_equal_as_values(name: str) -> None:
    """A label that has another type, or comes in another shape, is another label."""
    one, other, positions = LABELS[name]
    objects = np.array(other, dtype=object)
    found = compared({"label": np.array(one)}, {"label": objects})
    assert found.positions == positions
    assert found.equal_labels == 1 - len(positions) / 2


NUMBERS = {
    "equal": ([[0.2], [0.8]], [[0.2], [0.8]], 0.0),
    "near": ([[0.25], [0.5]], [[0.25], [0.5625]], 0.0625),
    "flat": ([[0.2], [0.8]], [0.2, 0.8], 0.0),
    "both missing": ([[NAN], [0.5]], [[NAN], [0.5]], 0.0),
    "both infinite": ([[INF], [0.5]], [[INF], [0.5]], 0.0),
    "one missing": ([[0.5], [0.5]], [[NAN], [0.5]], INF),
    "one infinite": ([[0.5], [0.5]], [[INF], [0.5]], INF),
    "other sign": ([[INF], [0.5]], [[-INF], [0.5]], INF),
    "another shape": ([[0.5, 0.5]] * 2, [[0.5]] * 2, INF),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_differ_by_their_distance(name: str) -> None:
    """Where only one side has a number, or shapes differ, the distance is infinite."""
    one, other, largest = NUMBERS[name]
    found = compared({"probabilities": one}, {"probabilities": other})
    assert found.largest == {"probabilities": largest}
    assert (found.differing > 0) == (largest > 0.1)


def test_numbers_are_measured_by_the_spread_of_their_column() -> None:
    """Years that are all alike are not better because they are large."""
    one = np.array([[2000.0, 1e-9], [2001.0, 2e-9]])
    found = compared({"variable": one}, {"variable": one + np.array([0.5, 0.0])})
    assert found.largest["variable"] == pytest.approx(0.5)
    found = compared({"variable": one}, {"variable": one + np.array([0.0, 5e-10])})
    assert found.largest["variable"] == pytest.approx(0.5)
    assert found.differing == 2


def test_a_column_without_a_spread_is_measured_by_its_size() -> None:
    """A constant answer counts as its own unit, and zero as one."""
    found = compared({"variable": [[50.0]] * 2}, {"variable": [[51.0]] * 2})
    assert found.largest["variable"] == pytest.approx(0.02)
    found = compared({"variable": [[0.0]] * 2}, {"variable": [[0.25]] * 2})
    assert found.largest["variable"] == pytest.approx(0.25)


def test_another_model_is_found_out() -> None:
    """A model of other coefficients is counted wrong on just the rows that it gets wrong."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(200, 3))
    one = LogisticRegression().fit(rows, rows[:, 0] > 0)
    other = LogisticRegression().fit(rows, rows[:, 0] + rows[:, 1] > 0)
    model = from_sklearn(other, rows, outputs=["label"])
    found = measured(expected(one, rows), model, rows, 1e-4)
    wrong = np.flatnonzero(one.predict(rows) != other.predict(rows))
    assert 20 < len(wrong) == found.differing
    assert found.positions == tuple(wrong[:20].tolist())


TOLD = {
    (): "4 of 4 rows agree, all labels are equal, probabilities differ by up to 0.05",
    (0, 3): "2 of 4 rows agree, .*; rows 0 of X differ",
    (2, 3): "2 of 4 rows agree, .*; only rows that were made of X by shuffling and stretching",
}


@pytest.mark.parametrize("positions", TOLD, ids=str)
def test_it_is_told_in_words(positions: tuple[int, ...]) -> None:
    """Rows of X are named; those that were made of them have no number that a caller knows."""
    found = Agreement(
        rows=2,
        differing=len(positions),
        positions=positions,
        equal_labels=1.0,
        largest={"probabilities": 0.05},
        difference=0.1,
    )
    assert pd.Series([str(found)]).str.match(TOLD[positions]).all()
    assert found.share == len(positions) / 4
    assert found.to_dict()["largest"] == {"probabilities": 0.05}


def test_what_is_infinite_is_a_text_in_json() -> None:
    """JSON has no infinity."""
    found = compared({"probabilities": [[0.5]] * 2}, {"probabilities": [[NAN]] * 2})
    assert found.to_dict()["largest"] == {"probabilities": "infinite"}


@given(st.integers(2, 30), st.integers(0, 5))
def test_shuffling_keeps_the_values_of_each_column(rows: int, seed: int) -> None:
    """Without stretching, each column has the values that it had, in frames and arrays."""
    random = np.random.default_rng(seed)
    table = pd.DataFrame({"n": random.normal(size=rows), "t": random.choice(list("ab"), rows)})
    made = mixed(table, seed=seed)
    assert {name: sorted(made[name]) for name in made} == {
        name: sorted(table[name]) for name in table
    }
    values = random.normal(size=(rows, 3))
    np.testing.assert_array_equal(
        np.sort(mixed(values, seed=seed), axis=0), np.sort(values, axis=0)
    )


def test_every_second_float_is_moved_away() -> None:
    """Floats go ten times as far from their mean; whole numbers and texts stay what they were."""
    table = pd.DataFrame({"f": [1.0, 2.0, 3.0, 6.0], "n": [1, 2, 3, 4], "t": list("abcd")})
    made = mixed(table, 10.0)
    unmoved = mixed(table)
    np.testing.assert_allclose(made["f"][::2], unmoved["f"][::2])
    np.testing.assert_allclose(made["f"][1::2], 3 + 10 * (unmoved["f"][1::2] - 3))
    assert sorted(made["n"]) == [1, 2, 3, 4]
    assert sorted(made["t"]) == list("abcd")


def test_what_is_no_number_stays() -> None:
    """Gaps and infinities do not move the others, and a column of gaps stays one."""
    table = pd.DataFrame({"gaps": [NAN] * 4, "some": [1.0, NAN, INF, 3.0]})
    made = mixed(table, 10.0)
    assert made["gaps"].isna().all()
    assert set(made["some"].dropna()) <= {1.0, 3.0, -8.0, 12.0, INF}


def test_rows_that_the_estimator_does_not_take_are_not_made() -> None:
    """An encoder that refuses values it does not know gets shuffled rows, and no stretched ones."""
    table = pd.DataFrame({"a": [0.5, 1.5, 2.5] * 5, "b": [1.5, 0.5, 2.5] * 5})
    strict = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(table, table["a"] > 1)
    both = with_made(strict, table)
    assert len(both) == 2 * len(table)
    assert set(both["a"]) == {0.5, 1.5, 2.5}
