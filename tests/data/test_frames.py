"""What callers hand in is bound by name, and comes back in the container that it came in."""

from __future__ import annotations

import copy
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from hybridmodel.data.binding import Binding, Bound
from hybridmodel.data.tensors import BY_DATATYPE, ModelSpec, TensorSpec
from hybridmodel.exceptions import ConfigurationError, InputMismatch
from hybridmodel.local.session import LocalSession
from tests.support import models
from tests.support.strategies import Array, arrays, datatypes, law, names

MATRIX = TensorSpec("x", "FP32", (-1, 3), batched=True)
VECTOR = TensorSpec("v", "INT64", (-1,), batched=True)
IMAGES = TensorSpec("image", "FP32", (-1, 3, 2, 2), batched=True)
TEXTS = TensorSpec("text", "BYTES", (-1, 1), batched=True)
SCALAR = TensorSpec("s", "FP64", ())


def binding(*inputs: TensorSpec, names: list[str] | None = None) -> Binding:
    """Make a binding for inputs, each of which is given back as an output."""
    return Binding(ModelSpec(inputs, inputs), names)


def bound(data: Any, *inputs: TensorSpec, names: list[str] | None = None) -> Bound:
    """Bind, and check that the caller's data is as before."""
    before = copy.deepcopy(data)
    made = binding(*inputs, names=names).bind(data)
    assert_unchanged(data, before)
    for spec in inputs:
        assert made.feeds[spec.name].dtype == spec.dtype
        assert spec.fits(made.feeds[spec.name].shape)
    return made


def assert_unchanged(data: Any, before: Any) -> None:
    """Compare data with a copy of it made before."""
    if isinstance(data, pd.DataFrame):
        pd.testing.assert_frame_equal(data, before)
    elif isinstance(data, pd.Series):
        pd.testing.assert_series_equal(data, before)
    elif isinstance(data, dict):
        assert list(data) == list(before)
        for key, value in data.items():
            assert_unchanged(value, before[key])
    else:
        np.testing.assert_array_equal(np.asarray(data), np.asarray(before))


def frame(*columns: Any, **named: Any) -> pd.DataFrame:
    """Make a frame of two rows."""
    return pd.DataFrame({**dict(zip("abc", columns, strict=False)), **named})


ROWS = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
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


NUMBER = TensorSpec("n", "INT64", (-1, 1), batched=True)
WORD = TensorSpec("w", "BYTES", (-1,), batched=True)
FLAG = TensorSpec("f", "BOOL", (-1, 1), batched=True)
IMAGE = TensorSpec("i", "UINT8", (-1, 2, 2), batched=True)
PAIR = TensorSpec("p", "FP32", (-1, 2), batched=True)


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
        ([np.ones((2, 2)), np.ones((2, 3))], IMAGE, "its cells are no arrays of one shape"),
        ([[[1, 2], [3]], [[1, 2], [3, 4]]], IMAGE, "cannot be made an array"),
        ([np.ones((2, 2)), None], IMAGE, "got a builtins.NoneType"),
        ([np.ones((2, 2)), np.nan], IMAGE, "its cells are no arrays of one shape"),
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


@pytest.mark.parametrize(
    ("data", "inputs", "message"),
    [
        (np.ones(3), (MATRIX,), r"'x': expected shape \[\?, 3\], got \[3\]; use reshape\(1, -1\)"),
        ([1.0, 2.0, 3.0], (MATRIX,), r"reshape\(1, -1\) for one row"),
        (np.ones((2, 4)), (MATRIX,), r"expected shape \[\?, 3\], got \[2, 4\]"),
        (np.ones((1, 2, 3)), (MATRIX,), r"got \[1, 2, 3\]"),
        (3.5, (MATRIX,), r"expected shape \[\?, 3\], got \[\]"),
        (np.ones((2, 3, 2, 3)), (IMAGES,), r"expected shape \[\?, 3, 2, 2\], got \[2, 3, 2, 3\]"),
        ([[1.0, 2.0], [3.0]], (MATRIX,), "input 'x': cannot be made an array"),
        ([[1.0, 2.0, None]], (MATRIX,), "got Python objects"),
        ([[1.0, "2", 3.0]], (MATRIX,), "expected float32, got strings"),
        ([[10**400, 1.5, 2.0]], (MATRIX,), "input 'x'"),
        ([-1, 2**63], (TensorSpec("v", "UINT64", (-1,)),), "input 'v'"),
        ([["a"], [1]], (TEXTS,), "expected strings, got a int at position 1"),
        ([["a"], ["b", "c"]], (TEXTS,), "input 'text'"),
        (np.ma.array(ROWS, mask=False), (MATRIX,), "a masked array came; fill"),
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
        (pd.DataFrame(ROWS).iloc[:, :2], (MATRIX,), r"2 rows and 2 columns came \(0, 1\)"),
        (pd.DataFrame(), (MATRIX,), "0 rows and 0 columns came"),
        (pd.DataFrame(ROWS), (VECTOR,), r"v: INT64\[\?\] takes one column, 3 came: 0, 1, 2"),
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
    with pytest.raises(InputMismatch, match=r"a Spark DataFrame came; use its toPandas\(\)"):
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

    with pytest.raises(InputMismatch, match="'x': cannot be made an array: can't convert a cuda"):
        binding(MATRIX).bind(OnGpu())


@pytest.mark.parametrize(
    ("inputs", "feature_names", "message"),
    [
        ((MATRIX,), ["a", "b"], r"x: FP32\[\?, 3\]: 2 feature_names were given"),
        ((MATRIX,), ["a", "b", "b"], "distinct strings, not 'a', 'b', 'b'"),
        ((MATRIX,), ["a", "b", 3], "distinct strings, not 'a', 'b', 3"),
        ((VECTOR,), ["a"], "one input of shape"),
        ((MATRIX, VECTOR), ["a"], "several inputs are fed by their own names"),
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
    with pytest.raises(InputMismatch, match=r"zero rows came in, and output s: FP64\[\]"):
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


INDEXES = [
    pd.RangeIndex(5, 7),
    pd.Index(["a", "a"], name="key"),
    pd.MultiIndex.from_tuples([(1, "x"), (1, "y")], names=["one", "two"]),
    pd.date_range("2024-01-01", periods=2, tz="Europe/Berlin"),
    pd.Index([np.nan, 1.5]),
    pd.CategoricalIndex(["u", "v"]),
]


@pytest.mark.parametrize("index", INDEXES, ids=lambda index: type(index).__name__)
def test_the_index_comes_back(index: pd.Index[Any]) -> None:
    """The answer has the caller's index, whatever that is, and naming it names nothing else."""
    data = pd.DataFrame(np.array(ROWS, np.float32), index=index)
    bind = binding(MATRIX)
    made = bind.bind(data)
    answer = bind.restore(made.feeds, made)
    pd.testing.assert_index_equal(answer.index, index)
    pd.testing.assert_index_equal(answer.index, data.index)
    answer.index.names = ["other"] * index.nlevels
    assert data.index.names != answer.index.names


def restored(outputs: dict[str, Array], labels: tuple[Any, ...] = (), rows: int = 2) -> Any:
    """Give outputs back to a caller who came with a frame."""
    specs = tuple(
        TensorSpec(name, "FP32", (-1,) * array.ndim, labels=labels if name == "p" else ())
        for name, array in outputs.items()
    )
    made = Bound({}, rows, pd.RangeIndex(rows))
    return Binding(ModelSpec((MATRIX,), specs)).restore(outputs, made)


ONE = np.array([1.0, 2.0], np.float32)
TWO = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)


@pytest.mark.parametrize(
    ("outputs", "labels", "expected"),
    [
        ({"y": ONE}, (), pd.Series(ONE, name="y")),
        ({"y": ONE[:, None]}, (), pd.Series(ONE, name="y")),
        ({"y": np.array(5, np.float32)}, (), pd.Series(np.array([5, 5], np.float32), name="y")),
        ({"y": TWO}, (), pd.DataFrame(TWO, columns=["y_0", "y_1"])),
        ({"p": TWO}, ("no", "yes"), pd.DataFrame(TWO, columns=["p_no", "p_yes"])),
        ({"p": TWO}, (7, -1), pd.DataFrame(TWO, columns=["p_7", "p_-1"])),
        ({"p": ONE[:, None]}, ("only",), pd.DataFrame(ONE, columns=["p_only"])),
        ({"y": TWO[:, :0]}, (), pd.DataFrame(index=range(2))),
        (
            {"y": ONE, "p": TWO},
            ("no", "yes"),
            pd.DataFrame({"y": ONE, "p_no": TWO[:, 0], "p_yes": TWO[:, 1]}),
        ),
        ({"z": ONE, "y": ONE[:, None]}, (), pd.DataFrame({"z": ONE, "y": ONE})),
    ],
)
def test_pandas_out(outputs: dict[str, Array], labels: tuple[Any, ...], expected: Any) -> None:
    """One column is a Series; (n, k) becomes name_0 … or name_<class>; order is that asked."""
    answer = restored(outputs, labels)
    if isinstance(expected, pd.Series):
        pd.testing.assert_series_equal(answer, expected)
    else:
        pd.testing.assert_frame_equal(answer, expected, check_column_type=False)


def test_answers_do_not_share_their_columns() -> None:
    """Naming the columns of one answer leaves the next as it is."""
    restored({"y": TWO}).columns.name = "mine"
    assert restored({"y": TWO}).columns.name is None


def test_pandas_out_of_higher_rank() -> None:
    """Images come out as one column of arrays."""
    pictures = np.arange(16.0).reshape(2, 2, 4)
    answer = restored({"y": pictures})
    assert answer.name == "y"
    np.testing.assert_array_equal(np.stack(list(answer)), pictures)


def test_two_outputs_that_make_one_column() -> None:
    """Two outputs whose columns have one name cannot share a frame; the message says what can."""
    with pytest.raises(ConfigurationError, match="two outputs make a column 'y_1'; ask for one"):
        restored({"y": TWO, "y_1": ONE})


def test_an_output_of_another_length() -> None:
    """An output without a row for each row does not fit into a frame."""
    with pytest.raises(InputMismatch, match="output 'y' has 2 entries for 3 rows"):
        restored({"y": ONE}, rows=3)


def test_arrays_out() -> None:
    """Arrays in, arrays out: one output bare, several in a dict."""
    bind = binding(MATRIX)
    made = Bound({}, 2)
    assert bind.restore({"y": ONE}, made) is ONE
    several = bind.restore({"y": ONE, "z": TWO}, made)
    assert list(several) == ["y", "z"]


@lru_cache
def session(datatype: str, rank: int = 2) -> LocalSession:
    """Open the identity model of a datatype, of any size."""
    return LocalSession(models.identity(datatype, ["N", *["K"] * (rank - 1)]))


def through(datatype: str, data: Any, feature_names: list[str] | None = None) -> Any:
    """Bind, run the identity and restore."""
    local = session(datatype)
    bind = Binding(local.spec, feature_names)
    made = bind.bind(data)
    return bind.restore(local.run(made.feeds, ["y"]), made)


@law
@given(datatypes, st.data())
def test_a_frame_survives_the_identity(datatype: str, data: st.DataObject) -> None:
    """A frame of any datatype comes back from an identity model with equal values and index."""
    size = st.tuples(st.integers(1, 4), st.integers(2, 4))
    array = data.draw(arrays(st.just(datatype), size))
    columns = data.draw(
        st.lists(names, unique=True, min_size=len(array[0]), max_size=len(array[0]))
    )
    index = data.draw(st.sampled_from([None, [7] * len(array), list("abcd")[: len(array)]]))
    before = pd.DataFrame(array.copy(), columns=columns, index=index)
    shuffled = before[data.draw(st.permutations(columns))]
    after = through(datatype, shuffled, columns)
    assert list(after.columns) == [f"y_{position}" for position in range(len(columns))]
    pd.testing.assert_frame_equal(after.set_axis(columns, axis=1), before)


@law
@given(datatypes, st.data())
def test_arrays_survive_the_identity(datatype: str, data: st.DataObject) -> None:
    """An array of any datatype and layout comes back equal, writable and not shared."""
    array = data.draw(arrays(st.just(datatype), npst.array_shapes(min_dims=2, max_dims=2)))
    layout: Any = data.draw(
        st.sampled_from([np.asarray, np.asfortranarray, lambda a: a[::-1][::-1]])
    )
    laid = layout(array)
    after = through(datatype, laid)
    np.testing.assert_array_equal(after, array)
    assert after.dtype.char == BY_DATATYPE[datatype].dtype.char
    assert after.flags.writeable
    assert not np.shares_memory(after, laid)


@pytest.mark.parametrize("dtype", ["Float64", "Float32", "double[pyarrow]", "float[pyarrow]"])
@pytest.mark.parametrize("target", ["FP32", "FP64"])
@pytest.mark.parametrize("rows", [2, 300])
def test_nullable_floats(dtype: str, target: str, rows: int) -> None:
    """Missing floats become NaN, in small frames and in large ones, in frames and in series."""
    pytest.importorskip("pyarrow")
    values = np.arange(rows * 2, dtype=np.float64).reshape(rows, 2)
    frame = pd.DataFrame(values).astype(dtype)
    frame.iloc[1, 1] = None
    expected = values.astype(TensorSpec("x", target, ()).dtype)
    expected[1, 1] = np.nan
    spec = TensorSpec("x", target, (-1, 2), batched=True)
    got = bound(frame, spec).feeds["x"]
    np.testing.assert_array_equal(got, expected)
    assert got.dtype == expected.dtype
    column = TensorSpec("x", target, (-1,), batched=True)
    np.testing.assert_array_equal(bound(frame[1], column).feeds["x"], expected[:, 1])
