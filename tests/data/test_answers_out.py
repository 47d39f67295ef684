"""What comes back has the container and the index of what came in, and the same numbers."""

from __future__ import annotations

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
from tests.support.bindings import MATRIX, ROWS, binding, bound
from tests.support.strategies import Array, arrays, datatypes, law, names

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
    with pytest.raises(ConfigurationError, match="two outputs become a column 'y_1'; ask for one"):
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
