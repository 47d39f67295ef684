"""Data that does not fit is refused in words, and no rows are answered where that can be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from hybridmodel.data.tensors import TensorSpec
from hybridmodel.exceptions import ConfigurationError, InputMismatch
from tests.support.bindings import (
    FLAG,
    IMAGE,
    IMAGES,
    MATRIX,
    NUMBER,
    ROWS,
    SCALAR,
    TEXTS,
    VECTOR,
    WORD,
    binding,
    bound,
    frame,
)
from tests.support.strategies import Array


@pytest.mark.parametrize(
    ("data", "inputs", "message"),
    [
        (np.ones(3), (MATRIX,), r"'x': expected shape \[\?, 3\], got \[3\]; use reshape\(1, -1\)"),
        ([1.0, 2.0, 3.0], (MATRIX,), r"reshape\(1, -1\) for one row"),
        (np.ones((2, 4)), (MATRIX,), r"expected shape \[\?, 3\], got \[2, 4\]"),
        (np.ones((1, 2, 3)), (MATRIX,), r"got \[1, 2, 3\]"),
        (3.5, (MATRIX,), r"expected shape \[\?, 3\], got \[\]"),
        (np.ones((2, 3, 2, 3)), (IMAGES,), r"expected shape \[\?, 3, 2, 2\], got \[2, 3, 2, 3\]"),
        ([[1.0, 2.0], [3.0]], (MATRIX,), "input 'x': numpy cannot make an array of it"),
        ([[1.0, 2.0, None]], (MATRIX,), "got Python objects"),
        ([[1.0, "2", 3.0]], (MATRIX,), "expected float32, got strings"),
        ([[10**400, 1.5, 2.0]], (MATRIX,), "input 'x'"),
        ([-1, 2**63], (TensorSpec("v", "UINT64", (-1,)),), "input 'v'"),
        ([["a"], [1]], (TEXTS,), "expected strings, got a int at position 1"),
        ([["a"], ["b", "c"]], (TEXTS,), "input 'text'"),
        (np.ma.array(ROWS, mask=False), (MATRIX,), "got a masked array; fill"),
        (None, (MATRIX,), r"expected FP32\[\?, 3\] as an array or list .* got a builtins.NoneType"),
        (b"bytes", (MATRIX,), "got a builtins.bytes"),
        ({1.0, 2.0}, (MATRIX,), "got a builtins.set"),
        ((value for value in ROWS), (MATRIX,), "got a builtins.generator"),
        ({"y": ROWS}, (MATRIX,), "input names: missing 'x'; unexpected 'y'; the model takes 'x'"),
        ({}, (MATRIX,), "missing 'x'"),
        ({"x": ROWS, 5: ROWS}, (MATRIX,), "unexpected 5"),
        ({"x": pd.DataFrame(ROWS)}, (MATRIX,), "got a pandas.*DataFrame"),
        ({"v": pd.Series([1, None], dtype="Int64")}, (VECTOR,), "input 'v': 1 missing values"),
        ({"v": pd.Categorical([1, 2])}, (VECTOR,), "input 'v': .* got a category"),
        ({"v": pd.Series([1, 2]).astype("category")}, (VECTOR,), "got a category"),
        ({"v": pd.date_range("2020-01-01", periods=2)}, (VECTOR,), "got datetime64"),
        (pd.DataFrame(ROWS).iloc[:, :2], (MATRIX,), r"frame of 2 rows and 2 columns \(0, 1\)"),
        (pd.DataFrame(), (MATRIX,), "got a frame of 0 rows and 0 columns"),
        (pd.DataFrame(ROWS), (VECTOR,), r"v: INT64\[\?\] takes one column, got 3: 0, 1, 2"),
        (pd.DataFrame({"a": [1.5, 2.0]}), (VECTOR,), "column 'a': expected int64, got 1.5"),
        (pd.Series([1.0, 2.0]), (MATRIX,), "a Series is one column.*frame.iloc"),
        (pd.Series([1.0, 2.0]), (NUMBER, WORD), "a Series is one column"),
        (np.array(ROWS), (NUMBER, WORD), "has the inputs 'n', 'w': pass a dict of arrays or a Da"),
        (pd.DataFrame({"n": [1]}), (NUMBER, WORD), "column names: missing 'w'"),
        ({"n": [[1]]}, (NUMBER, WORD), "input names: missing 'w'"),
        ({"n": [1], "w": ["a"]}, (NUMBER, WORD), r"'n': expected shape .* use reshape\(1, -1\)"),
        (pd.DataFrame({"s": [1.0]}), (SCALAR, NUMBER), "column names: missing 'n'"),
        (
            pd.DataFrame({"s": [1.0], "n": [1]}),
            (SCALAR, NUMBER),
            r"column 's': expected shape \[\], got \[1\]",
        ),
        (frame([1, 2], ["a", "b"], [3, 4]), (MATRIX,), "column 'b': expected float32, got str"),
        (frame([1, 2], [3, 1e39], [3, 4]), (MATRIX,), "column 'b': a value is too large"),
        (frame([1, 2], [1j, 2], [3, 4]), (MATRIX,), "column 'b': expected float32, got complex"),
        (frame([1, 2], [3, 4], [None, 1]).astype(object), (MATRIX,), "column 'a': .*objects"),
        (frame([1, 2], [3, 4], ["x", "y"]).astype({"c": "category"}), (MATRIX,), "a category"),
        (
            pd.DataFrame(ROWS, columns=["a", "a", "b"]).astype({"b": str}),
            (MATRIX,),
            "column 'b': expected float32, got str",
        ),
    ],
)
def test_refused(data: Any, inputs: tuple[TensorSpec, ...], message: str) -> None:
    """What does not fit is refused with its place, what came, and what was expected."""
    with pytest.raises(InputMismatch, match=message):
        binding(*inputs).bind(data)


@pytest.mark.parametrize("inputs", [(MATRIX,), (NUMBER, WORD)])
def test_spark_frames_are_refused(inputs: tuple[TensorSpec, ...]) -> None:
    """A Spark frame is refused with the two ways that work."""
    kind = type("DataFrame", (), {"__module__": "pyspark.sql.dataframe", "columns": ["a"]})
    with pytest.raises(InputMismatch, match=r"got a Spark DataFrame; pass its toPandas\(\)"):
        binding(*inputs).bind(kind())
    with pytest.raises(InputMismatch, match=r"mlflow\.pyfunc\.spark_udf"):
        binding(MATRIX).bind({"x": kind()})


def test_a_foreign_frame_is_refused() -> None:
    """A frame of another library has names that nobody would check: it is refused."""
    kind = type("DataFrame", (), {"__array__": lambda self: np.array(ROWS), "columns": ["a"]})
    with pytest.raises(InputMismatch, match=r"got a .*DataFrame"):
        binding(MATRIX).bind(kind())


def test_an_array_form_that_fails() -> None:
    """A tensor that cannot become an array (on a GPU, perhaps) says why."""

    class OnGpu:
        def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
            raise TypeError("can't convert a cuda tensor")

    with pytest.raises(
        InputMismatch, match="'x': numpy cannot make an array of it: can't convert a cuda"
    ):
        binding(MATRIX).bind(OnGpu())


@pytest.mark.parametrize(
    ("inputs", "feature_names", "message"),
    [
        ((MATRIX,), ["a", "b"], r"x: FP32\[\?, 3\]: got 2 feature_names"),
        ((MATRIX,), ["a", "b", "b"], "distinct strings, not 'a', 'b', 'b'"),
        ((MATRIX,), ["a", "b", 3], "distinct strings, not 'a', 'b', 3"),
        ((VECTOR,), ["a"], "one input of shape"),
        ((MATRIX, VECTOR), ["a"], "several inputs have names of their own"),
    ],
)
def test_wrong_feature_names(inputs: Any, feature_names: Any, message: str) -> None:
    """Feature names that cannot work are refused when the model is made."""
    with pytest.raises(ConfigurationError, match=message):
        binding(*inputs, names=feature_names)


def test_feature_names_for_any_number_of_features() -> None:
    """Where the model leaves the number open, the names fix it."""
    spec = TensorSpec("x", "FP32", (-1, -1), batched=True)
    assert bound(pd.DataFrame({"b": [2], "a": [1]}), spec, names=["a", "b"]).feeds[
        "x"
    ].tolist() == [[1.0, 2.0]]
    with pytest.raises(InputMismatch, match="missing 'a'"):
        bound(pd.Series([1.0], name="b"), spec, names=["a"])


@pytest.mark.parametrize(
    ("data", "inputs"),
    [
        (pd.DataFrame(columns=list("abc")), (MATRIX,)),
        (pd.DataFrame(columns=list("abc"), dtype="category"), (MATRIX,)),
        (pd.DataFrame(columns=["n", "w", "f", "i"], dtype=object), (NUMBER, WORD, FLAG, IMAGE)),
        (pd.DataFrame(columns=["image"]), (IMAGES,)),
        (np.empty((0, 3), object), (MATRIX,)),
        (np.empty((0, 3)), (MATRIX,)),
        ([], (VECTOR,)),
        (pd.Series([], dtype=object), (VECTOR,)),
        ({"n": np.empty((0, 1)), "w": []}, (NUMBER, WORD)),
    ],
)
def test_zero_rows(data: Any, inputs: tuple[TensorSpec, ...]) -> None:
    """Zero rows fit, whatever dtype a container without values happens to have."""
    made = bound(data, *inputs)
    assert made.rows == 0
    answer = binding(*inputs).empty([inputs[0].name])
    assert len(answer[inputs[0].name]) == 0
    assert answer[inputs[0].name].dtype == inputs[0].dtype


def test_zero_rows_for_a_fixed_batch() -> None:
    """A model of a fixed number of rows cannot take none."""
    fixed = TensorSpec("x", "FP32", (2,))
    with pytest.raises(InputMismatch, match=r"expected shape \[2\], got \[0\]"):
        binding(fixed, TensorSpec("y", "FP32", (-1,), batched=True)).bind(
            pd.DataFrame({"x": [], "y": []})
        )


def test_zero_rows_without_an_answer() -> None:
    """An output that does not count rows has no empty form."""
    with pytest.raises(InputMismatch, match=r"got zero rows, and output s: FP64\[\]"):
        binding(MATRIX, SCALAR).empty(["x", "s"])


@pytest.mark.parametrize(("one", "other"), [([1, 2], [[1]]), ([], [[1]]), ([1], [])])
def test_rows_of_inputs_that_disagree(one: Any, other: Any) -> None:
    """Inputs of different lengths have no number of rows: whether they fit, the model says."""
    other = np.reshape(other, (-1, 1))
    assert binding(VECTOR, NUMBER).bind({"v": one, "n": other}).rows is None


def test_inputs_that_do_not_count_rows() -> None:
    """An input of a fixed first dimension goes beside any number of rows."""
    fixed = TensorSpec("k", "INT64", (1,))
    assert bound({"v": [1, 2], "k": [3]}, VECTOR, fixed).rows == 2
