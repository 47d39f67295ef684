"""How sure a model is of each row: from probabilities, logits, named outputs and functions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from hybridmodel.cascade import Score, as_score, escalated
from hybridmodel.data.tensors import ModelSpec, TensorSpec
from hybridmodel.exceptions import ConfigurationError
from tests.support.strategies import Array, law

KINDS = ("max_probability", "margin", "entropy")
NAN, INF = math.nan, math.inf


def spec(*outputs: TensorSpec) -> ModelSpec:
    """Describe a model with these outputs."""
    return ModelSpec((TensorSpec("x", "FP32", (-1, 4)),), outputs)


LABEL = TensorSpec("label", "INT64", (-1,))
TABLE = TensorSpec("p", "FP32", (-1, 3))
OTHER = TensorSpec("z", "FP32", (-1, 3))
COLUMN = TensorSpec("std", "FP64", (-1, 1))
FLAT = TensorSpec("flat", "FP32", (-1,))
TEXT = TensorSpec("text", "BYTES", (-1,))
IMAGE = TensorSpec("image", "FP32", (-1, 3, 8, 8))
ALL = spec(LABEL, TABLE, COLUMN, FLAT, TEXT, IMAGE)


@st.composite
def tables(draw: st.DrawFn, dtype: Any = np.float64) -> Array:
    """Draw probabilities of 2 to 40 classes, in few rows or in so many that columns are used."""
    rows, classes = draw(st.sampled_from([1, 2, 63, 64, 70])), draw(st.integers(2, 40))
    raw = draw(npst.arrays(np.float64, (rows, classes), elements=st.floats(0, 1), fill=st.just(0)))
    raw[:, 0] += 1e-3
    return (raw / raw.sum(axis=1, keepdims=True)).astype(dtype)


def of(kind: str, values: Any, **more: Any) -> Array:
    """Score one output."""
    return Score(kind, "p", **more).of({"p": np.asarray(values)})


@law
@given(tables())
def test_scores_are_what_their_names_say(table: Array) -> None:
    """Sorting each row by hand gives the same numbers."""
    ordered = np.sort(table, axis=1)[:, ::-1]
    np.testing.assert_array_equal(of("max_probability", table), ordered[:, 0])
    np.testing.assert_array_equal(of("margin", table), ordered[:, 0] - ordered[:, 1])
    with np.errstate(divide="ignore", invalid="ignore"):
        nats = -np.nansum(np.where(table > 0, table * np.log(table), 0), axis=1)
    expected = 1 - nats / math.log(table.shape[1])
    np.testing.assert_allclose(of("entropy", table), expected, atol=1e-12)


@law
@given(tables(), st.randoms(use_true_random=False), st.sampled_from(KINDS))
def test_order_of_classes_does_not_matter(table: Array, random: Any, kind: str) -> None:
    """Permuted columns give the same scores, permuted rows the same scores in that order."""
    columns, rows = list(range(table.shape[1])), list(range(len(table)))
    random.shuffle(columns)
    random.shuffle(rows)
    scores = of(kind, table)
    np.testing.assert_allclose(of(kind, table[:, columns]), scores, atol=1e-12)
    np.testing.assert_allclose(of(kind, table[rows]), scores[rows], atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("classes", [1, 2, 3, 8, 10, 32, 33, 300])
@pytest.mark.parametrize("logits", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_row_scores_the_same_in_any_company(
    kind: str, logits: bool, classes: int, dtype: Any
) -> None:
    """Alone, among few or among many, in any memory order: the same score to the last bit."""
    table = np.random.default_rng(0).normal(size=(200, classes)) * 3
    if not logits:
        table = np.exp(table) / (np.exp(table).sum(axis=1, keepdims=True) + (classes == 1))
    table = table.astype(dtype)
    scores = of(kind, table, logits=logits)
    for rows in (1, 7, 63, 64):
        parts = [table[start : start + rows] for start in range(0, len(table), rows)]
        found = np.concatenate([of(kind, part, logits=logits) for part in parts])
        np.testing.assert_array_equal(found, scores)
    np.testing.assert_array_equal(of(kind, np.asfortranarray(table), logits=logits), scores)


@law
@given(tables(np.float32), st.sampled_from(KINDS))
def test_scores_lie_in_their_range(table: Array, kind: str) -> None:
    """Every score is a float64 within the range of its kind, a sure row at 1."""
    scores = of(kind, table)
    low, high = Score(kind).range
    assert scores.dtype == np.float64
    assert scores.shape == (len(table),)
    assert (scores >= low).all()
    assert (scores <= high + 1e-6).all()
    sure = np.eye(table.shape[1], dtype=np.float32)
    np.testing.assert_allclose(of(kind, sure), 1, atol=1e-6)


@law
@given(
    npst.arrays(
        np.float64,
        st.tuples(st.sampled_from([1, 5, 64]), st.integers(2, 6)),
        elements=st.floats(-30, 30),
    ),
    st.floats(-100, 100),
    st.sampled_from(KINDS),
)
def test_logits_become_probabilities_by_softmax(logits: Array, shift: float, kind: str) -> None:
    """Logits score as their softmax does, and adding a number to a whole row changes nothing."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected = of(kind, powers / powers.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(of(kind, logits, logits=True), expected, atol=1e-12)
    np.testing.assert_allclose(of(kind, logits + shift, logits=True), expected, atol=1e-9)


SATURATED = np.geomspace(1e-15, 1e-9, 100)
"""How far rows are from a probability of 1, each less than one step of float32."""


@pytest.mark.parametrize(
    ("values", "logits"),
    [
        (np.stack([0 * SATURATED, 1 - SATURATED, SATURATED], axis=1), False),
        (SATURATED, False),
        (np.stack([0 * SATURATED, -np.log(SATURATED)], axis=1), True),
        (np.stack([0 * SATURATED, -np.log(SATURATED), 0 * SATURATED], axis=1), True),
        (-np.log(SATURATED), True),
    ],
    ids=["probabilities", "one column", "two logits", "three logits", "one logit"],
)
@pytest.mark.parametrize("rows", [100, 1])
@pytest.mark.parametrize("kind", ["margin", "entropy"])
def test_saturated_rows_do_not_tie(kind: str, rows: int, values: Array, logits: bool) -> None:
    """Near 1 the score of a float32 model is as fine as float64: the smaller rest, the surer."""
    table = values.astype(np.float32)
    parts = [table[start : start + rows] for start in range(0, len(table), rows)]
    scores = np.concatenate([of(kind, part, logits=logits) for part in parts])
    assert (np.diff(scores) <= 0).all()
    assert len(np.unique(scores)) > 90


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("column", [lambda p: p, lambda p: p[:, np.newaxis]])
def test_one_column_is_the_second_of_two_classes(kind: str, column: Any) -> None:
    """A binary model with one probability, or one logit, scores as if it gave both."""
    p = np.array([0.0, 0.1, 0.5, 0.75, 1.0])
    both = of(kind, np.stack([1 - p, p], axis=1))
    np.testing.assert_allclose(of(kind, column(p)), both, atol=1e-15)
    inner = p[1:-1]
    logits = np.append(np.log(inner / (1 - inner)), [800.0, -800.0])
    expected = np.append(both[1:-1], [1.0, 1.0])
    np.testing.assert_allclose(of(kind, column(logits), logits=True), expected, atol=1e-12)


@pytest.mark.parametrize("rows", [3, 100])
@pytest.mark.parametrize("logits", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_rows_with_nan_have_no_score(kind: str, logits: bool, rows: int) -> None:
    """NaN in a row makes its score NaN, whatever its place, and leaves the others alone."""
    table = np.tile(np.array([0.7, 0.2, 0.1], np.float32), (rows, 1))
    table[0, 0] = table[1, 2] = table[2] = NAN
    scores = of(kind, table, logits=logits)
    assert np.isnan(scores[:3]).all()
    assert np.isfinite(scores[3:]).all()


def test_infinite_logits() -> None:
    """A class that is ruled out is fine; one that is infinitely likely leaves no score."""
    table = np.array([[1.0, 0.0, -INF], [INF, 0.0, 0.0], [-INF, -INF, -INF]])
    scores = of("margin", table, logits=True)
    assert scores[0] == pytest.approx((math.e - 1) / (math.e + 1))
    assert np.isnan(scores[1:]).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(0,), (0, 1), (0, 2), (0, 5), (0, 0)])
@pytest.mark.parametrize("logits", [False, True])
def test_zero_rows_have_zero_scores(kind: str, shape: tuple[int, ...], logits: bool) -> None:
    """No rows are no reason to fail."""
    assert of(kind, np.empty(shape), logits=logits).shape == (0,)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([[0.5, 0.2, 0.2]], r"row 0 has \[0.5, 0.2, 0.2\] with the sum 0.9;"),
        ([[0.5, 0.5], [2.0, 1.0]], r"row 1 has \[2, 1\] with the sum 3;"),
        ([[0.6, 0.6, -0.2]], r"row 0 has \[0.6, 0.6, -0.2\]"),
        ([[NAN, 0.5], [0.9, 0.9]], r"row 1 has \[0.9, 0.9\]"),
        ([[NAN, 0.5, 0.5], [0.6, 0.6, -0.2]], r"row 1 has \[0.6, 0.6, -0.2\]"),
        ([[0.1] * 9], r"\[0.1, 0.1, 0.1, 0.1, …\] with the sum 0.9"),
        ([0.5, 1.5], r"row 1 has \[-0.5, 1.5\]"),
        ([[INF, 0.0]], "row 0 has"),
        (np.full((100, 3), 0.4), r"sum 1.2"),
    ],
)
def test_what_is_no_probability_is_refused(values: Any, found: str) -> None:
    """The message shows the row and its sum, and says how to declare logits."""
    with pytest.raises(ConfigurationError, match=found) as caught:
        of("margin", values)
    assert "logits=True" in str(caught.value)
    assert "margin:p" in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        np.array([[0.3335, 0.3335, 0.3335]], np.float16),
        np.array([[0.996, 0.0, 0.0]], np.float32),
        np.array([[1.001, -0.001]]),
    ],
)
def test_rounded_probabilities_are_accepted(values: Array) -> None:
    """Half precision and int8 models do not sum to exactly one."""
    assert np.isfinite(of("margin", values)).all()
    assert np.isfinite(of("entropy", values)).all()


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((2, 3), np.int64),
        np.zeros((2, 3, 4)),
        np.array(0.5),
        np.array([["a", "b"]], object),
    ],
)
def test_arrays_that_hold_no_classes_are_refused(values: Array) -> None:
    """Only floats of one row for each row are probabilities."""
    if values.ndim == 0:
        values = values.reshape(1, 1, 1)
    with pytest.raises(ConfigurationError, match=r"has to hold floats of shape \[\?, classes\]"):
        of("margin", values)


def test_named_outputs_are_taken_as_they_are() -> None:
    """Confidence is the output, uncertainty minus it; infinities are no score."""
    values = np.array([0.5, 3.0, INF, -INF, NAN], np.float32)
    for column in (values, values[:, np.newaxis]):
        sure = Score("confidence", "s").of({"s": column})
        unsure = Score("uncertainty", "s").of({"s": column})
        np.testing.assert_array_equal(sure, [0.5, 3.0, NAN, NAN, NAN])
        np.testing.assert_array_equal(unsure, -sure)
        assert sure.dtype == np.float64
    assert values[2] == INF, "the model's output is left as it was"
    with pytest.raises(ConfigurationError, match="has to hold one number for each row"):
        Score("confidence", "s").of({"s": np.zeros((2, 2))})


def least(outputs: Mapping[str, Array]) -> Array:
    """Score by the smallest number of a row."""
    return outputs["p"].min(axis=1)


def test_a_function_sees_all_outputs() -> None:
    """A function of the outputs is a score; it has a name, and its infinities are no score."""
    score = as_score(least)
    assert str(score) == "function:tests.cascade.test_scores:least"
    assert score.check(ALL) is score
    assert score.needs(ALL) == ALL.output_names
    np.testing.assert_array_equal(score.of({"p": np.array([[1, 2], [-INF, 0]])}), [1, NAN])


@pytest.mark.parametrize("returned", [np.zeros((2, 1)), 0.5, ["a", "b"], np.array([1j, 2j])])
def test_functions_that_return_no_scores_are_refused(returned: Any) -> None:
    """A function returns one number for each row."""
    with pytest.raises(
        ConfigurationError, match="has to return one number for each row; it returned"
    ):
        as_score(lambda outputs: returned).of({"p": np.zeros((2, 2))})


def test_number_of_scores_is_checked() -> None:
    """Fewer scores than rows are an error."""
    with pytest.raises(ConfigurationError, match="1 scores for 2 rows"):
        as_score(lambda outputs: [0.5]).of({}, rows=2)


@pytest.mark.parametrize(
    ("score", "output"),
    [
        ("margin", "p"),
        ("entropy:p", "p"),
        ("max_probability:flat", "flat"),
        ("margin:std", "std"),
        ("uncertainty:std", "std"),
        ("confidence:label", "label"),
    ],
)
def test_scores_that_the_model_can_give(score: str, output: str) -> None:
    """The only table of floats is found, any other output that fits is named."""
    checked = as_score(score).check(spec(LABEL, TABLE, FLAT, TEXT) if ":" not in score else ALL)
    assert checked.output == output
    assert checked.needs(ALL) == (output,)


@pytest.mark.parametrize(
    ("score", "model", "message"),
    [
        ("margin", spec(LABEL, TEXT), "of which there are 0: name one"),
        ("margin", spec(TABLE, OTHER), "of which there are 2: name one"),
        ("margin:q", ALL, "no output 'q'"),
        ("margin:label", ALL, "not from label: INT64"),
        ("margin:image", ALL, "not from image: FP32"),
        ("uncertainty", ALL, "needs the name of an output, as in 'uncertainty:NAME'"),
        ("confidence:p", ALL, r"numbers of shape \[\?\] or \[\?, 1\], not from p"),
        ("confidence:text", ALL, "not from text: BYTES"),
    ],
)
def test_scores_that_the_model_cannot_give(score: str, model: ModelSpec, message: str) -> None:
    """The error says why, and which outputs the model has."""
    with pytest.raises(ConfigurationError, match=message) as caught:
        as_score(score).check(model)
    assert all(item.name in str(caught.value) for item in model.outputs)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("certainty", "is not one of max_probability, margin, entropy, confidence, uncertainty"),
        ("function:least", "pass a score function itself"),
        (0.5, "has to be a name, a Score or a function, not a float"),
        (None, "not a NoneType"),
    ],
)
def test_what_is_no_score_is_refused(value: Any, message: str) -> None:
    """The error lists what there is."""
    with pytest.raises(ConfigurationError, match=message):
        as_score(value)


def test_parts_that_do_not_go_together_are_refused() -> None:
    """A named output holds no logits; a score without its output cannot be made."""
    with pytest.raises(ConfigurationError, match="is not made from logits"):
        Score("uncertainty", "std", logits=True)
    with pytest.raises(ConfigurationError, match="available: 'label', 'p'"):
        Score("margin", "q").of({"label": np.zeros(1), "p": np.zeros((1, 2))})
    with pytest.raises(ConfigurationError, match="available: 'p'"):
        Score("margin").of({"p": np.zeros((1, 2))})


@pytest.mark.parametrize(
    ("threshold", "fits"),
    [
        *((value, True) for value in (0, 0.5, 1, INF, -INF, np.float32(0.25))),
        *((value, False) for value in (1.01, -0.1, NAN, "0.5", None, True)),
    ],
)
def test_thresholds_lie_in_the_range_of_the_score(threshold: Any, fits: bool) -> None:
    """Outside of it only infinity means something."""
    score = Score("margin", "p")
    if fits:
        assert score.check_threshold(threshold) == threshold
        return
    with pytest.raises(ConfigurationError, match="'margin:p' has to be a number from 0 to 1"):
        score.check_threshold(threshold)


def test_any_number_is_a_threshold_for_a_named_output() -> None:
    """Uncertainties have no range."""
    assert Score("uncertainty", "std").check_threshold(-123.0) == -123


@law
@given(
    npst.arrays(np.float64, st.integers(0, 20), elements=st.floats(allow_infinity=False)),
    st.floats(allow_nan=False),
    st.floats(allow_nan=False),
)
def test_rows_are_escalated_under_the_threshold(scores: Array, one: float, other: float) -> None:
    """Under the threshold or without a score; equal stays; a lower threshold escalates no more."""
    gone = escalated(scores, one)
    assert gone.tolist() == [bool(np.isnan(score) or score < one) for score in scores]
    assert not (escalated(scores, min(one, other)) & ~gone).any()
    assert escalated(scores, INF).all()


@pytest.mark.parametrize(
    "score",
    [Score("margin", "p"), Score("entropy", "z", logits=True), Score("uncertainty", "std")],
)
def test_scores_are_stored(score: Score) -> None:
    """What is read back is equal, and scores the same."""
    assert Score.from_dict(score.to_dict()) == score


def test_a_function_is_stored_by_name_only() -> None:
    """Read back it is equal, and says that the function is missing when it is called."""
    score = as_score(least)
    read = Score.from_dict(score.to_dict())
    assert read == score
    with pytest.raises(ConfigurationError, match=r"test_scores:least, which is not stored"):
        read.of({"p": np.zeros((1, 2))})


@pytest.mark.parametrize(
    "stored",
    [
        {},
        [],
        None,
        {"kind": "margin", "output": 3, "logits": False},
        {"kind": ["margin"], "output": None, "logits": False},
        {"kind": "margin", "output": None, "logits": "no"},
        {"kind": "margin", "output": None, "logits": False, "name": 1},
    ],
)
def test_what_describes_no_score_is_refused(stored: Any) -> None:
    """An error says which value is missing, or of another kind."""
    with pytest.raises(ConfigurationError, match=r"is missing|expected"):
        Score.from_dict(stored)


@law
@given(tables(np.float32))
def test_scores_do_not_depend_on_memory(table: Array) -> None:
    """Slices, columns first and read-only arrays score the same, and stay as they are."""
    before = table.copy()
    table.flags.writeable = False
    for kind in KINDS:
        scores = of(kind, table)
        np.testing.assert_allclose(of(kind, np.asfortranarray(table)), scores, atol=1e-6)
        np.testing.assert_allclose(of(kind, np.repeat(table, 2, axis=0)[::2]), scores, atol=1e-6)
        logits = of(kind, table, logits=True)
        assume(np.isfinite(logits).all())
    np.testing.assert_array_equal(table, before)
