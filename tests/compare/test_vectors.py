"""Vectors of both routes are compared by their direction."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hybridmodel import ConfigurationError, ModelSpec, TensorSpec
from hybridmodel.compare.comparison import Comparison
from hybridmodel.compare.vectors import cosine_distances

SPEC = ModelSpec(
    (TensorSpec("text", "BYTES", (-1,), True),),
    (TensorSpec("vector", "FP32", (-1, 2), True), TensorSpec("other", "FP32", (-1,), True)),
)


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [
        ([1, 0], [2, 0], 0.0),
        ([1, 0], [0, 3], 1.0),
        ([1, 0], [-1, 0], 2.0),
        ([1, 0], [1, 1], 1 - np.sqrt(0.5)),
        ([0, 0], [0, 0], 0.0),
        ([0, 0], [1, 0], 1.0),
        ([3e38, 3e38], [3e38, 3e38], 0.0),
        ([1e-45, 0], [1e-45, 0], 0.0),
        ([np.nan, 1], [1, 1], np.nan),
        ([np.inf, 1], [1, 1], np.nan),
    ],
)
def test_the_distance_is_that_of_directions(
    one: list[float], other: list[float], distance: float
) -> None:
    """Lengths do not matter, zeros are like zeros only, and what is not finite has no distance."""
    found = cosine_distances(np.array([one], np.float32), np.array([other], np.float32))
    np.testing.assert_allclose(found, [distance], atol=1e-12)


@given(
    arrays.arrays(
        np.float32,
        st.tuples(st.just(2), st.integers(1, 6), st.integers(1, 6)),
        elements=st.floats(-1e6, 1e6, width=32),
    ),
    st.floats(1e-3, 1e3),
)
def test_distances_are_symmetric_bounded_and_know_no_lengths(pair: np.ndarray, by: float) -> None:
    """Either route may be the first, the result is from 0 to 2, and a factor changes nothing."""
    one, other = pair.astype(np.float64)
    found = cosine_distances(one, other)
    assert ((found >= 0) & (found <= 2)).all()
    np.testing.assert_allclose(cosine_distances(other, one), found, atol=1e-9)
    np.testing.assert_allclose(cosine_distances(by * one, other), found, atol=1e-9)


def test_routes_agree_within_the_cosine_distance() -> None:
    """Rows are counted by direction, with the largest and the mean distance of all of them."""
    comparison = Comparison(SPEC, vectors=["vector"], cosine=0.1)
    local = np.array([[1, 0], [1, 0], [1, 0], [np.nan, 0]], np.float32)
    remote = np.array([[5, 0.1], [0, 1], [1, 0.2], [1, 0]], np.float32)
    differ = comparison.add({"vector": local}, {"vector": remote}, rows=4)
    assert differ.tolist() == [False, True, False, True]
    summary = comparison.summary()
    assert summary.agree_by == "'vector' within a cosine distance of 0.1"
    (found,) = summary.outputs
    assert (summary.agreed, found.rows, found.differing_rows) == (2, 4, 2)
    assert found.max_cosine_distance == pytest.approx(1.0)
    expected = cosine_distances(local[:3].astype(float), remote[:3].astype(float)).mean()
    assert found.mean_cosine_distance == pytest.approx(expected)
    assert [item.position for item in summary.first] == [1, 3]
    assert summary.to_dict()["outputs"][0]["max_cosine_distance"] == pytest.approx(1.0)


def test_other_outputs_are_compared_as_ever_and_other_widths_differ() -> None:
    """Only what is named is compared by direction, and vectors of two widths agree nowhere."""
    comparison = Comparison(SPEC, vectors=["vector"])
    two = {"vector": np.ones((2, 2), np.float32), "other": np.array([1, 2], np.float32)}
    assert not comparison.add(two, {**two, "vector": two["vector"] * 3}, rows=2).any()
    changed = {**two, "other": np.array([1, 3], np.float32)}
    assert comparison.add(two, changed, rows=2).tolist() == [False, True]
    wide = {**two, "vector": np.ones((2, 3), np.float32)}
    assert comparison.add(two, wide, rows=2).all()
    assert comparison.summary().outputs[1].max_cosine_distance is None


@pytest.mark.parametrize("cosine", [-0.1, float("nan"), "0.1"])
def test_a_distance_that_cannot_be_is_refused(cosine: object) -> None:
    """The largest distance that does not matter is a number from 0 up."""
    with pytest.raises(ConfigurationError, match="cosine is a number from 0 up"):
        Comparison(SPEC, vectors=["vector"], cosine=cosine)  # type: ignore[arg-type]
