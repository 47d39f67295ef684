"""Tables of polars and Arrow go in as frames do, and the answer comes in their kind."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridmodel import (
    HybridOnnxModel,
    InputMismatch,
    MissingDependency,
    load_model,
    save_model,
)
from hybridmodel.data.binding import Binding
from hybridmodel.data.tensors import ModelSpec, TensorSpec
from hybridmodel.routing import Cascade
from hybridmodel.serving import EmbeddedServer, serve
from tests.support import models
from tests.support.strategies import arrays, datatypes, law

ROWS = {"a": [1.0, 2.0, 3.0], "b": [4.0, 5.0, 6.0], "c": [7.0, 8.0, 9.0], "d": [0.0, 1.0, 2.0]}
FRAME = pd.DataFrame(ROWS)
TYPED = {
    "flag": [True, False, True],
    "name": ["x", "", "zürich"],
    "age": [1.5, None, -3.0],
    "count": [1, 2**40, -5],
}


class Foreign:
    """A table of a library that nobody here knows."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """Hand out the rows."""
        return self._table.__arrow_c_stream__(requested_schema)


KINDS: dict[str, Any] = {
    "polars": pl.DataFrame,
    "table": pa.table,
    "batch": pa.record_batch,
    "chunks": lambda rows: pa.concat_tables([pa.table(rows).slice(0, 1), pa.table(rows).slice(1)]),
    "foreign": lambda rows: Foreign(pa.table(rows)),
}


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    """Serve the models of the tests."""
    with serve({**models.served(), "graded": models.graded()}) as running:
        yield running


def hybrid(server: EmbeddedServer, name: str, **options: Any) -> HybridOnnxModel:
    """Make a model whose endpoint serves the very same file."""
    source = models.graded() if name == "graded" else models.served()[name]
    return HybridOnnxModel(source, endpoint=server.endpoint(name), **options)


def as_pandas(answer: Any) -> Any:
    """Return an answer as pandas, to be compared."""
    made = answer.to_pandas()
    return made.convert_dtypes(dtype_backend="pyarrow") if len(made) else made


def check(answer: Any, kind: str, expected: Any) -> None:
    """Compare an answer with that to a pandas frame."""
    lone = isinstance(expected, pd.Series)
    if kind == "polars":
        assert type(answer) is (pl.Series if lone else pl.DataFrame)
        answer = answer.to_frame() if lone else answer
    else:
        assert type(answer) is pa.Table
    expected = expected.to_frame() if lone else expected
    pd.testing.assert_frame_equal(
        as_pandas(answer),
        expected.reset_index(drop=True).convert_dtypes(dtype_backend="pyarrow"),
        check_dtype=False,
        rtol=1e-6,
    )


@pytest.mark.parametrize("use_azure", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("linear", ROWS),
        ("classifier", ROWS),
        ("zipmap", ROWS),
        ("two_outputs", {name: ROWS[name] for name in "abc"}),
        ("columns", TYPED),
        ("strings", {"any": ["a", "ü", ""]}),
        ("lookup", {"any": [0, 2, 1]}),
        ("identity_FP16", {name: ROWS[name] for name in "abc"}),
        ("identity_UINT64", {name: [1, 2, 3] for name in "abc"}),
    ],
)
def test_tables(server: EmbeddedServer, name: str, rows: Any, kind: str, use_azure: bool) -> None:
    """A table is answered as a frame of the same rows, in a table of its kind."""
    with hybrid(server, name) as model:
        expected = model.predict(pd.DataFrame(rows), use_azure=use_azure)
        check(model.predict(KINDS[kind](rows), use_azure=use_azure), kind, expected)


@pytest.mark.parametrize("kind", ["polars", "table"])
@pytest.mark.parametrize("name", ["linear", "strings", "classifier"])
def test_no_rows(server: EmbeddedServer, name: str, kind: str) -> None:
    """No rows are answered by columns of the right types without a row."""
    rows = {"any": ["a"]} if name == "strings" else ROWS
    with hybrid(server, name) as model:
        some = model.predict(KINDS[kind](rows))
        none = model.predict(KINDS[kind](rows)[:0])
    assert len(none) == 0
    dtype = "dtype" if isinstance(some, pl.Series) else "schema"
    assert getattr(none, dtype) == getattr(some, dtype)


def bound(data: Any, *inputs: TensorSpec, names: list[str] | None = None) -> Any:
    """Bind data to inputs."""
    return Binding(ModelSpec(inputs, inputs), names).bind(data).feeds


U = TensorSpec("u", "FP32", (-1,), batched=True)
V = TensorSpec("v", "INT64", (-1, 1), batched=True)


@pytest.mark.parametrize("library", [pl.DataFrame, pa.table])
def test_columns_are_lent(library: Any) -> None:
    """Columns of the declared dtype reach the model where they lie, without a copy."""
    table = library({"u": np.arange(3, dtype=np.float32), "v": np.arange(3)})
    feeds = bound(table, U, V)
    for name in "uv":
        assert np.shares_memory(feeds[name], table[name].to_numpy())


def test_a_dict_of_columns() -> None:
    """Columns of any library stand beside one another in a dict, with their missing values."""
    data = {"u": pl.Series([1.5, None, 2.5]), "v": pa.chunked_array([[1, 2], [3]])}
    feeds = bound(data, U, V)
    np.testing.assert_array_equal(feeds["u"], np.array([1.5, np.nan, 2.5], np.float32))
    assert feeds["v"].tolist() == [[1], [2], [3]]
    assert bound({"u": pa.array([1, 2]), "v": [[1], [2]]}, U, V)["u"].tolist() == [1, 2]
    with pytest.raises(InputMismatch, match="is a table, where one column is expected"):
        bound({"u": pl.DataFrame({"a": [1]}), "v": [1]}, U, V)


@pytest.mark.parametrize(
    "column", [pl.Series("any", ["a", "b"]), pa.array(["a", "b"]), pa.chunked_array([["a"], ["b"]])]
)
def test_one_column(column: Any) -> None:
    """A column is a whole call for a model that takes one, and is answered in its library."""
    answer = HybridOnnxModel(models.strings()).predict(column)
    assert type(answer) is (pl.Series if isinstance(column, pl.Series) else pa.Table)
    values = answer.to_list() if isinstance(answer, pl.Series) else answer["shout"].to_pylist()
    assert values == ["a!", "b!"]
    assert isinstance(answer, pa.Table) or answer.name == "shout"


@law
@given(datatypes, st.data())
def test_every_value_arrives(datatype: str, data: st.DataObject) -> None:
    """Whatever a frame's columns hold, the same columns of Arrow and polars feed to the bit."""
    array = data.draw(arrays(st.just(datatype), st.tuples(st.integers(0, 4), st.integers(1, 3))))
    spec = TensorSpec("x", datatype, (-1, array.shape[1]), batched=True)
    kind = pa.string() if datatype == "BYTES" else None
    columns = {str(k): pa.array(array[:, k].copy(), kind) for k in range(array.shape[1])}
    expected = bound(pd.DataFrame(array, columns=list(columns)), spec)["x"]
    table = pa.table(columns)
    halves = pa.concat_tables([table[:1], table[1:]])
    for given_table in (table, halves, pl.from_arrow(table)):
        made = bound(given_table, spec)["x"]
        assert made.dtype == expected.dtype
        assert made.tolist() == expected.tolist() or made.tobytes() == expected.tobytes()


IMAGE = TensorSpec("i", "FP32", (-1, 2, 3), batched=True)


@pytest.mark.parametrize(
    "column",
    [
        pl.Series("i", np.arange(12.0).reshape(2, 2, 3)),
        pl.Series("i", np.arange(12.0).reshape(2, 2, 3).tolist()),
        pa.array(np.arange(12.0).reshape(2, 2, 3).tolist()),
        pa.ExtensionArray.from_storage(
            pa.fixed_shape_tensor(pa.float64(), [6]),
            pa.array(np.arange(12.0).reshape(2, 6).tolist(), pa.list_(pa.float64(), 6)),
        ),
    ],
    ids=["array", "lists", "lists of Arrow", "tensors of Arrow"],
)
def test_cells_with_arrays(column: Any) -> None:
    """Cells with arrays or lists feed an input of a higher rank."""
    is_flat = isinstance(column, pa.ExtensionArray)
    spec = TensorSpec("i", "FP32", (-1, 6), batched=True) if is_flat else IMAGE
    table = (
        pl.DataFrame({"i": column}) if isinstance(column, pl.Series) else pa.table({"i": column})
    )
    feeds = bound({"i": column}, spec) if is_flat else bound(table, spec)
    np.testing.assert_array_equal(feeds["i"].ravel(), np.arange(12.0))


@pytest.mark.parametrize("library", [pl.DataFrame, pa.table])
def test_outputs_of_higher_rank(library: Any) -> None:
    """Images come out as a column of nested lists."""
    spec = TensorSpec("y", "FP32", (-1, 2, 3), batched=True)
    bind = Binding(ModelSpec((U,), (spec,)))
    made = bind.bind(library({"u": [1.0, 2.0]}))
    pictures = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    answer = bind.restore({"y": pictures}, made)
    values = answer.to_list() if library is pl.DataFrame else answer["y"].to_pylist()
    assert np.array(values).tolist() == pictures.tolist()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pl.DataFrame({"u": ["a"], "v": [1]}), "column 'u': expected float32, got"),
        (pl.DataFrame({"u": [1.0], "v": [None]}), "column 'v'"),
        (pl.DataFrame({"u": [1.0, 2.0], "v": [1, None]}), "'v': 1 missing values, first at pos"),
        (pl.DataFrame({"u": [1.0], "v": [1.5]}), "not whole"),
        (pl.DataFrame({"u": [1e300], "v": [1]}), "too large for float32"),
        (pl.DataFrame({"u": [1.0], "w": [1]}), "missing 'v'; unexpected 'w'"),
        (
            pl.DataFrame({"u": pl.Series(["1"], dtype=pl.Categorical), "v": [1]}),
            "'u': expected float32, got a category",
        ),
        (
            pl.DataFrame({"u": ["2026-01-01"], "v": [1]}).with_columns(pl.col("u").str.to_date()),
            "'u': expected float32, got date32",
        ),
        (pa.table([[1.0], [1.0]], ["u", "u"]), "missing 'v'; repeated 'u'"),
        (pl.LazyFrame({"u": [1.0], "v": [1]}), r"got a LazyFrame of polars.*collect\(\)"),
    ],
)
def test_wrong_tables(table: Any, message: str) -> None:
    """What does not fit is refused as in a frame, by the name of its column."""
    with pytest.raises(InputMismatch, match=message):
        bound(table, U, V)


@pytest.mark.parametrize("many", [False, True])
def test_a_frame_of_spark_is_not_fetched(many: bool) -> None:
    """Spark speaks Arrow as well, but its rows are not to be fetched in passing."""

    class DataFrame(Foreign):
        """Passes for one of Spark."""

    DataFrame.__module__ = "pyspark.sql.dataframe"
    table = DataFrame(pa.table({"u": [1.0], "v": [1]}))
    with pytest.raises(InputMismatch, match="spark_udf"):
        bound(table, U, V) if many else bound({"u": table}, U)


def test_a_lazy_frame_for_one_input() -> None:
    """A lazy frame is refused as well where the model has one input."""
    with pytest.raises(InputMismatch, match="LazyFrame"):
        HybridOnnxModel(models.linear()).predict(pl.LazyFrame(ROWS))


@pytest.mark.parametrize("library", [pl.DataFrame, pa.table])
def test_columns_are_bound_by_name(library: Any) -> None:
    """Known names put the columns of any table in order."""
    model = HybridOnnxModel(models.linear(), feature_names=list("abcd"))
    expected = model.predict(FRAME)
    answer = model.predict(library({name: ROWS[name] for name in "dcba"}))
    np.testing.assert_array_equal(np.asarray(answer.to_pandas()), expected)


@pytest.mark.parametrize("kind", ["polars", "table"])
@pytest.mark.parametrize("output", [None, "label"])
def test_provenance(server: EmbeddedServer, kind: str, output: str | None) -> None:
    """Who answered each row stands in columns behind the answer."""
    with hybrid(server, "graded", routing=Cascade(0.5, "margin")) as model:
        rows = {"x": [0.1, 3.0], "y": [0.2, 0.0], "z": [0.3, 0.1]}
        expected = model.predict(pd.DataFrame(rows), provenance=True, output=output)
        answer = model.predict(KINDS[kind](rows), provenance=True, output=output)
    check(answer, kind, expected)
    assert set(expected["route"]) == {"local", "azure"}


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame, pa.table])
@pytest.mark.parametrize("use_azure", [False, True])
def test_a_model_that_does_not_count_rows(
    server: EmbeddedServer, kind: Any, use_azure: bool
) -> None:
    """A model of a fixed number of rows answers each of them, and tells by whom."""
    rows = {name: ROWS[name][:2] for name in "abc"}
    with hybrid(server, "fixed") as model:
        answer = model.predict(kind(rows), provenance=True, use_azure=use_azure)
    assert answer.shape == (2, 6)
    assert list(map(str, answer["route"])) == ["azure" if use_azure else "local"] * 2


def test_infer(server: EmbeddedServer) -> None:
    """`infer` gives named arrays for a table, as for everything."""
    with hybrid(server, "linear") as model:
        answer = model.infer(pl.DataFrame(ROWS), use_azure=True)
    assert answer.outputs["y"].shape == (3, 2)
    assert len(answer.routes) == 3


@pytest.mark.parametrize("library", [pl.DataFrame, pa.table])
def test_an_example(library: Any, tmp_path: Path) -> None:
    """A table is an example as a frame is: its columns name the features of the saved model."""
    save_model(HybridOnnxModel(models.linear()), tmp_path / "saved", input_example=library(ROWS))
    native, loaded = load_model(tmp_path / "saved"), mlflow.pyfunc.load_model(tmp_path / "saved")
    assert native.feature_names == list("abcd")
    assert loaded.predict(FRAME).equals(native.predict(FRAME))
    with pytest.raises(InputMismatch, match="missing 'd'"):
        native.predict(library({name: ROWS[name] for name in "abc"}))


def test_without_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where pyarrow is missing, the error says what to install."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingDependency, match=r"needs pyarrow, .*: pip install hybridmodel"):
        HybridOnnxModel(models.linear()).predict(pl.DataFrame(ROWS))


def test_what_only_says_that_it_speaks_arrow() -> None:
    """A library that does not keep its word is named."""

    class Liar:
        def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
            raise ValueError("not today")

    with pytest.raises(InputMismatch, match=r"Liar cannot be read as Arrow data: not today"):
        HybridOnnxModel(models.linear()).predict(Liar())


def test_nothing_is_imported_early() -> None:
    """Neither import nor an array's prediction loads pyarrow or polars."""
    code = (
        "import sys, hybridmodel; from hybridmodel.data import binding, tensors as t\n"
        "s = t.TensorSpec('x', 'FP32', (-1, 3), True)\n"
        "b = binding.Binding(t.ModelSpec((s,), (s,)))\n"
        "b.bind([[1, 2, 3]])\n"
        "print({'pyarrow', 'polars', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "set()"
