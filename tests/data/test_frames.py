"""What callers hand in is bound by name, whatever container it comes in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from hybridmodel.data.tensors import TensorSpec
from hybridmodel.exceptions import InputMismatch
from tests.support.bindings import (
    FLAG,
    IMAGE,
    IMAGES,
    MATRIX,
    NUMBER,
    PAIR,
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

READ_ONLY = np.array(ROWS)
READ_ONLY.setflags(write=False)


@pytest.mark.parametrize(
    "data",
    [
        np.array(ROWS),
        np.array(ROWS, np.float32),
        np.array(ROWS, ">f4"),
        np.array(ROWS, np.int8),
        np.asfortranarray(ROWS),
        np.repeat(ROWS, 2, axis=1)[:, ::2],
        READ_ONLY,
        ROWS,
        [tuple(row) for row in ROWS],
        [np.array(row) for row in ROWS],
        np.array(ROWS).view(np.recarray),
        {"x": ROWS},
        {"x": np.array(ROWS)},
        pd.DataFrame(ROWS),
        pd.DataFrame(ROWS, columns=list("abc")),
        pd.DataFrame(ROWS, columns=["a", "a", "a"]),
        pd.DataFrame(ROWS, columns=pd.MultiIndex.from_tuples([(1, "a"), (1, "b"), (2, "a")])),
        pd.DataFrame(ROWS).astype("float32"),
        pd.DataFrame(ROWS).astype("Int64"),
        pd.DataFrame(ROWS).astype("double[pyarrow]"),
        pd.DataFrame(ROWS).astype({0: "int8", 1: "float16", 2: "UInt32"}),
        pd.DataFrame(ROWS).astype({0: "int64", 1: "uint64", 2: "float64"}),
    ],
)
def test_one_matrix(data: Any) -> None:
    """Every container of the same numbers feeds the same tensor."""
    made = bound(data, MATRIX)
    np.testing.assert_array_equal(made.feeds["x"], ROWS)
    assert made.rows == 2


def test_subclasses_become_plain_arrays() -> None:
    """A subclass of ndarray is read as what it holds."""

    class Tagged(np.ndarray[Any, Any]):
        pass

    made = bound(np.array(ROWS, np.float32).view(Tagged), MATRIX)
    assert type(made.feeds["x"]) is np.ndarray


def test_anything_with_an_array_form() -> None:
    """Tensors of other libraries come in through `__array__`."""

    class Foreign:
        def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
            return np.array(ROWS)

    made = binding(MATRIX).bind(Foreign())
    np.testing.assert_array_equal(made.feeds["x"], ROWS)


def test_a_numpy_scalar_for_a_scalar_input() -> None:
    """An input of no dimension takes a number, from any side."""
    for value in (1.5, np.float32(1.5), np.array(1.5)):
        made = bound(value, SCALAR)
        assert made.feeds["s"] == 1.5
        assert made.rows is None


@pytest.mark.parametrize(
    ("given_frame", "datatype", "expected"),
    [
        (frame([True, False], [1.5, 2.5]), "FP32", [[1.0, 1.5], [0.0, 2.5]]),
        (frame([True, False], [1, 2]), "INT8", [[1, 1], [0, 2]]),
        (frame([2**53 + 1, 1], [1.0, 2.0]), "INT64", [[2**53 + 1, 1], [1, 2]]),
        (frame([2**63, 1], [1, 2]).astype({"a": "uint64"}), "UINT64", [[2**63, 1], [1, 2]]),
        (frame([True, False], [False, True]), "BOOL", [[True, False], [False, True]]),
        (frame(["a", "b"], ["c", "d"]), "BYTES", [["a", "c"], ["b", "d"]]),
        (frame(["a", "b"], ["c", "d"]).astype(object), "BYTES", [["a", "c"], ["b", "d"]]),
        (frame([1, None], [1.0, 2.0]).convert_dtypes(), "FP64", [[1, 1], [np.nan, 2]]),
        (frame([1, None], [1, 2]), "FP16", [[1, 1], [np.nan, 2]]),
        (frame([np.inf, 1], [1, 2]), "FP32", [[np.inf, 1], [1, 2]]),
    ],
)
def test_mixed_columns(given_frame: pd.DataFrame, datatype: str, expected: Any) -> None:
    """Columns of different dtypes meet in the tensor's dtype without a detour that rounds."""
    spec = TensorSpec("x", datatype, (-1, 2), batched=True)
    made = bound(given_frame, spec)
    np.testing.assert_array_equal(made.feeds["x"], np.array(expected, spec.dtype))


@pytest.mark.parametrize(
    "given_frame",
    [
        frame([1, 2], [1.0, 2.0]).astype({"a": "category"}),
        frame([1, 2]).astype("category"),
        frame([1, 2], [1, 2]).astype("category"),
    ],
)
def test_categories_hide_nowhere(given_frame: pd.DataFrame) -> None:
    """A category of numbers is refused alone, among its like and beside floats."""
    spec = TensorSpec("x", "FP32", (-1, -1), batched=True)
    with pytest.raises(InputMismatch, match="column 'a': expected float32, got a category"):
        bound(given_frame, spec)


def test_a_known_order_is_known_only_for_its_own_columns() -> None:
    """After a frame in the model's order, one in another order is still put right."""
    bind = binding(MATRIX, names=["a", "b", "c"])
    good = pd.DataFrame(ROWS, columns=list("abc"))
    for data in (good, good.iloc[[0, 1]], good[list("cab")], good.copy()):
        np.testing.assert_array_equal(bind.bind(data).feeds["x"], ROWS)
    with pytest.raises(InputMismatch, match="missing 'c'; unexpected 'z'"):
        bind.bind(good.rename(columns={"c": "z"}))


def test_columns_are_put_in_the_order_of_the_model() -> None:
    """With feature names, the order of a frame's columns does not matter."""
    shuffled = pd.DataFrame({"c": [3.0], "a": [1.0], "b": [2.0]})
    made = bound(shuffled, MATRIX, names=["a", "b", "c"])
    assert made.feeds["x"].tolist() == [[1.0, 2.0, 3.0]]


def test_wide_frames_are_reordered() -> None:
    """Thousands of columns in another order are matched by name."""
    wide = [f"f{position}" for position in range(3000)]
    spec = TensorSpec("x", "FP32", (-1, 3000), batched=True)
    given_frame = pd.DataFrame([range(3000)], columns=wide)[wide[::-1]]
    made = bound(given_frame, spec, names=wide)
    assert made.feeds["x"].tolist() == [list(range(3000))]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["a", "b"], "column names: missing 'c'; the model takes 'a', 'b', 'c'"),
        (["a", "b", "c", "d"], "unexpected 'd'; the model takes"),
        (["a", "b", "B"], "missing 'c'; unexpected 'B'"),
        (["a", "b", "c", "a"], "repeated 'a'"),
        (["a", "a", "b"], "missing 'c'; repeated 'a'"),
        ([0, 1, 2], "missing 'a', 'b', 'c'; unexpected 0, 1, 2"),
        ([("a", 1), ("b", 1), ("c", 1)], r"unexpected \('a', 1\)"),
    ],
)
def test_wrong_columns(columns: list[Any], message: str) -> None:
    """Wrong names are told all at once: missing, unexpected and repeated ones."""
    data = pd.DataFrame(np.ones((2, len(columns))), columns=columns)
    with pytest.raises(InputMismatch, match=message):
        bound(data, MATRIX, names=["a", "b", "c"])


def test_long_lists_are_cut() -> None:
    """A message about thousands of columns stays readable."""
    spec = TensorSpec("x", "FP32", (-1, 3000), batched=True)
    expected = [f"f{position}" for position in range(3000)]
    with pytest.raises(InputMismatch, match="… 2969 more") as caught:
        bound(pd.DataFrame({"f0": [1.0]}), spec, names=expected)
    assert len(str(caught.value)) < 1000


def test_each_column_feeds_the_input_of_its_name() -> None:
    """With several inputs, columns feed [n], [n, 1] and tensors of higher rank by name."""
    pictures = [np.array([[1, 2], [3, 4]]), [[5, 6], [7, 8]]]
    data = pd.DataFrame(
        {
            "p": [[1.0, 2], (3, 4)],
            "i": pictures,
            "w": ["a", "b"],
            "n": pd.array([1, 2], "Int64"),
            "f": [True, False],
        }
    )
    made = binding(NUMBER, WORD, FLAG, IMAGE, PAIR).bind(data)
    assert made.feeds["n"].tolist() == [[1], [2]]
    assert made.feeds["w"].tolist() == ["a", "b"]
    assert made.feeds["f"].tolist() == [[True], [False]]
    assert made.feeds["i"].tolist() == np.array(pictures).tolist()
    assert made.feeds["p"].tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert made.rows == 2


@pytest.mark.parametrize(
    ("cells", "spec", "message"),
    [
        ([np.ones((2, 2)), np.ones((2, 3))], IMAGE, "its cells are not arrays of one shape"),
        ([[[1, 2], [3]], [[1, 2], [3, 4]]], IMAGE, "numpy cannot make an array of it"),
        ([np.ones((2, 2)), None], IMAGE, "got a builtins.NoneType"),
        ([np.ones((2, 2)), np.nan], IMAGE, "its cells are not arrays of one shape"),
        ([np.ones((2, 3))] * 2, IMAGE, r"expected shape \[\?, 2, 2\], got \[2, 2, 3\]"),
        ([1, 2], IMAGE, r"expected shape \[\?, 2, 2\], got \[2\]"),
        ([[["a"] * 2] * 2] * 2, IMAGE, "expected uint8, got strings"),
        ([[[300] * 2] * 2] * 2, IMAGE, "uint8 holds 0 to 255"),
        ([[2**53 + 1, 1.0], [1, 2]], TensorSpec("i", "INT64", (-1, 2)), "Python objects"),
        ([[1.5, 1.0], [1, 2]], TensorSpec("i", "INT64", (-1, 2)), "not whole"),
        ([["a", 1], ["b", "c"]], TensorSpec("i", "BYTES", (-1, 2)), "got a int at position 1"),
        ([None, [1, 2]], TensorSpec("i", "FP32", (-1, 2)), "got Python objects"),
        ([np.ma.array([1, 2], mask=[False, True])] * 2, TensorSpec("i", "FP32", (-1, 2)), "masked"),
    ],
)
def test_wrong_cells(cells: list[Any], spec: TensorSpec, message: str) -> None:
    """Cells that are no arrays of the declared shape and dtype are refused with their column."""
    data = pd.DataFrame({"i": pd.Series(cells, dtype=object), "n": [1, 2]})
    with pytest.raises(InputMismatch, match=f"^column 'i': .*{message}"):
        binding(spec, NUMBER).bind(data)


def test_cells_of_integers_beside_cells_of_floats() -> None:
    """An integer beyond a double's digits survives beside a cell of floats."""
    data = pd.DataFrame({"x": [np.array([2**53 + 1, 1]), np.array([1.0, 2.0])]})
    made = binding(TensorSpec("x", "INT64", (-1, 2)), NUMBER).bind(data.assign(n=[1, 2]))
    assert made.feeds["x"].tolist() == [[2**53 + 1, 1], [1, 2]]


@pytest.mark.parametrize(
    ("data", "spec", "expected"),
    [
        (pd.Series([1.0, 2.0], name="any"), TensorSpec("x", "FP32", (-1, 1)), [[1.0], [2.0]]),
        (pd.Series([1.0, 2.0]), TensorSpec("x", "FP32", (-1, -1)), [[1.0], [2.0]]),
        (pd.Series([1, 2]), VECTOR, [1, 2]),
        (pd.DataFrame({"any": [1, 2]}), VECTOR, [1, 2]),
        (pd.Series(["a", "b"]), TEXTS, [["a"], ["b"]]),
        ({"v": pd.Series([1, 2], dtype="Int64")}, VECTOR, [1, 2]),
        ({"v": pd.Index([1, 2])}, VECTOR, [1, 2]),
        ({"v": pd.array([1, 2], "UInt8")}, VECTOR, [1, 2]),
        ({"text": pd.Series(["a", "b"])}, TEXTS, [["a"], ["b"]]),
        (pd.Index([1, 2]), VECTOR, [1, 2]),
        ([["a"], ["b"]], TEXTS, [["a"], ["b"]]),
        (np.array([["a"], ["b"]]), TEXTS, [["a"], ["b"]]),
        ([[np.str_("a")], ["b"]], TEXTS, [["a"], ["b"]]),
        ([0, 2**53 + 1], VECTOR, [0, 2**53 + 1]),
        ({"v": [1.0, 2]}, VECTOR, [1, 2]),
    ],
)
def test_one_column(data: Any, spec: TensorSpec, expected: Any) -> None:
    """A Series, a frame of one column and a list feed an input that is a column."""
    made = binding(spec).bind(data)
    np.testing.assert_array_equal(made.feeds[spec.name], np.array(expected, spec.dtype))


def test_images_in_a_frame() -> None:
    """A frame of one column whose cells are arrays feeds one input of higher rank."""
    pictures = np.arange(24.0).reshape(2, 3, 2, 2)
    made = binding(IMAGES).bind(pd.DataFrame({"any": list(pictures)}))
    np.testing.assert_array_equal(made.feeds["image"], pictures)
    made = binding(IMAGES).bind(pd.Series(list(pictures)))
    np.testing.assert_array_equal(made.feeds["image"], pictures)
