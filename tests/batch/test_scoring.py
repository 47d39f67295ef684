"""What a record batch is scored as: the same as `predict` says of a frame, whatever its types."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hybridmodel import HybridOnnxModel
from hybridmodel.batch import predict_batches
from hybridmodel.batch.columns import Columns
from hybridmodel.batch.formats import read
from hybridmodel.batch.inputs import find
from hybridmodel.batch.scoring import Scorer
from hybridmodel.data.tensors import BY_DATATYPE
from hybridmodel.exceptions import ConfigurationError, HybridModelError
from tests.support import models

MODELS = {
    datatype: HybridOnnxModel(models.identity(datatype, ("N", 2)), feature_names=["a", "b"])
    for datatype in BY_DATATYPE
}
APART = {
    datatype: HybridOnnxModel(models.passthrough(a=(datatype, ("N", 1)), b=(datatype, ("N",))))
    for datatype in BY_DATATYPE
}


def _integers(kind: str) -> st.SearchStrategy[int]:
    limits = np.iinfo(kind.lower())
    return st.one_of(st.integers(limits.min, limits.max), st.integers(0, 3))


NUMPY: dict[str, st.SearchStrategy[Any]] = {
    **{f"float{bits}": st.floats(width=bits) for bits in (16, 32, 64)},
    **{kind: _integers(kind) for kind in ("int8", "int16", "int32", "int64")},
    **{kind: _integers(kind) for kind in ("uint8", "uint16", "uint32", "uint64")},
    "bool": st.booleans(),
    "str": st.text(max_size=3),
    "category": st.sampled_from("ab"),
    "datetime64[us]": st.datetimes(pd.Timestamp(2000, 1, 1), pd.Timestamp(2100, 1, 1)),
    "timedelta64[us]": st.timedeltas(dt.timedelta(-9999), dt.timedelta(9999)),
    "object": st.lists(st.integers(0, 3), min_size=1, max_size=2),
}
NULLABLE: dict[str, st.SearchStrategy[Any]] = {
    "Int64": _integers("int64"),
    "UInt8": _integers("uint8"),
    "Float32": st.floats(width=32, allow_nan=False),
    "Float64": st.floats(allow_nan=False),
    "boolean": st.booleans(),
    "string": st.text(max_size=3),
}


@st.composite
def columns(draw: st.DrawFn, kind: str, rows: int) -> pd.Series[Any]:
    """Draw a column of a dtype of pandas."""
    cells = NUMPY[kind] if kind in NUMPY else st.one_of(st.none(), NULLABLE[kind])
    return pd.Series(draw(st.lists(cells, min_size=rows, max_size=rows)), dtype=kind)


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    """Draw a frame of two columns, of the same dtype or of two."""
    kinds = st.sampled_from([*NUMPY, *NULLABLE])
    rows, first = draw(st.integers(0, 4)), draw(kinds)
    second = draw(st.one_of(st.just(first), kinds))
    return pd.DataFrame({"b": draw(columns(first, rows)), "a": draw(columns(second, rows))})


def said(call: Any) -> Any:
    """Return what a call returns, or the kind of its error."""
    try:
        return call()
    except HybridModelError as error:
        return type(error)


def scored(model: HybridOnnxModel, path: Path, rows: int) -> list[Any]:
    """Score a file in batches, and return the columns."""
    (file,) = find(path)
    scorer = Scorer(model=model, policy=model.policies.for_call())
    batches = [scorer(batch)[0] for batch in read(file, spec=model.spec, rows=rows)]
    table = pa.Table.from_batches(batches)
    return [column.to_numpy(zero_copy_only=False) for column in table.columns]


def check_alike(model: HybridOnnxModel, frame: pd.DataFrame, path: Path, rows: int) -> None:
    """Compare the answers for a file with those for the frame that was written there."""
    frame.to_parquet(path, index=False)
    expected = said(lambda: model.predict(frame))
    got = said(lambda: scored(model, path, rows))
    if isinstance(expected, type) or isinstance(got, type):
        # In batches a value that does not fit is refused as well, whatever the others are.
        assert got is expected
        return
    for mine, name in zip(got, expected.columns, strict=True):
        theirs = expected[name].to_numpy()
        if theirs.dtype.kind == "f":
            assert theirs.dtype == mine.dtype
            assert np.array_equal(theirs, mine, equal_nan=True)
        else:
            assert theirs.tolist() == mine.tolist()


@pytest.mark.parametrize("known", [MODELS, APART], ids=["matrix", "apart"])
@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(frame=frames(), datatype=st.sampled_from(sorted(BY_DATATYPE)))
def test_a_file_is_answered_as_its_frame(
    tmp_path: Path, known: dict[str, HybridOnnxModel], frame: pd.DataFrame, datatype: str
) -> None:
    """For every pair of dtypes and every input, a file is answered, or refused, as its frame is."""
    check_alike(known[datatype], frame, tmp_path / "x.parquet", rows=1 << 20)


@pytest.mark.parametrize("rows", [1, 2, 100])
@pytest.mark.parametrize("kind", ["Int64", "Float32", "boolean", "int64", "float64", "bool", "str"])
def test_batches_do_not_change_answers(tmp_path: Path, kind: str, rows: int) -> None:
    """Batches may begin in the middle of a byte of flags, and the answers are the same."""
    cells = [str(at) if kind == "str" else at % 2 for at in range(37)]
    column = pd.Series(cells, dtype=kind)
    if kind in NULLABLE:
        column[::5] = None
    frame = pd.DataFrame({"a": column, "b": column})
    model = MODELS["BYTES" if kind == "str" else "FP64"]
    check_alike(model, frame, tmp_path / "x.parquet", rows)


def test_flags_that_are_missing(tmp_path: Path) -> None:
    """A file knows flags with missing ones, for which a frame of objects is refused."""
    pq.write_table(pa.table({"a": [True, None], "b": [False, True]}), tmp_path / "x.parquet")
    first, second = scored(MODELS["FP32"], tmp_path / "x.parquet", 10)
    assert np.array_equal(first, [1, np.nan], equal_nan=True)
    assert second.tolist() == [0, 1]


def table(rows: int = 5) -> pa.Table:
    """Make a table with the features of `models.linear`, an identifier, and another column."""
    values = np.random.default_rng(3).normal(size=(rows, 4)).astype(np.float32)
    features = {name: values[:, at] for at, name in enumerate("abcd")}
    return pa.table({"id": range(rows), **features, "customer": [f"c{at}" for at in range(rows)]})


LINEAR = HybridOnnxModel(models.linear(), feature_names=list("abcd"))

KEPT: list[tuple[dict[str, Any], list[str]]] = [
    ({"ids": ("id", "customer")}, ["id", "customer"]),
    ({"keep": ("customer", "id")}, ["id", "customer"]),
    ({"keep": ("b", "id"), "ids": ("customer",)}, ["id", "b", "customer"]),
    ({"ids": ("customer",), "keep_input": True, "keep": ("id",)}, ["customer", "id", *"abcd"]),
    ({"ignore_extra": True}, []),
    ({"ignore_extra": True, "keep_input": True}, [*"abcd"]),
    ({"ignore_extra": True, "keep": ("id",)}, ["id"]),
]


@pytest.mark.parametrize(("options", "kept"), KEPT, ids=range(len(KEPT)))
def test_kept_columns(options: dict[str, Any], kept: list[str]) -> None:
    """Kept columns stand first, in the file's order; those the model knows stay features."""
    data = table()
    scorer = Scorer(model=LINEAR, policy=LINEAR.policies.for_call(), columns=Columns(**options))
    batch, counts = scorer(data.to_batches()[0])
    assert batch.schema.names == [*kept, "y_0", "y_1"]
    assert (counts.rows, counts.local, counts.remote) == (5, 5, 0)
    expected = LINEAR.predict(data.select(list("abcd")))
    assert pa.Table.from_batches([batch]).select(["y_0", "y_1"]) == expected
    for name in kept:
        assert batch[name].to_pylist() == data[name].to_pylist()


BAD_COLUMNS: list[tuple[dict[str, Any], str]] = [
    ({"ids": ("idd",)}, "the input has no column 'idd'; available: .*did you mean 'id'"),
    ({"keep": ("x",)}, "has no column 'x'"),
    ({}, "column names: unexpected 'id', 'customer'"),
]


@pytest.mark.parametrize(("options", "message"), BAD_COLUMNS, ids=["id", "keep", "extra"])
def test_columns_that_do_not_fit(options: dict[str, Any], message: str) -> None:
    """A column that is not there, or too many, are refused with what is there."""
    scorer = Scorer(model=LINEAR, policy=LINEAR.policies.for_call(), columns=Columns(**options))
    with pytest.raises(HybridModelError, match=message):
        scorer(table().to_batches()[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep_input": True}, "keep_input: the input and the predictions both have a column 'y'"),
        ({"keep": ("y",)}, "keep: the input"),
        ({"ids": ("y",), "for_command": True}, "--id-column: the input"),
    ],
)
def test_kept_columns_with_the_name_of_a_prediction(options: dict[str, Any], message: str) -> None:
    """A column of the name of a prediction cannot be kept, and the message says by which option."""
    model = HybridOnnxModel(models.lookup())
    taken = {"ids": ("y",)} if options.get("keep_input") else {}
    scorer = Scorer(
        model=model, policy=model.policies.for_call(), columns=Columns(**{**options, **taken})
    )
    with pytest.raises(ConfigurationError, match=message):
        scorer(pa.record_batch({"x": [1], "y": [2]}))


def test_the_index_of_pandas_is_no_feature(tmp_path: Path) -> None:
    """An index is kept under its own name where it is named, and never taken for a feature."""
    frame = table().to_pandas().set_index("id")[list("abcd")]
    plain = LINEAR.predict(frame)
    for index, kept in ((frame.index, True), (frame.index.rename(None), False)):
        stored = frame.set_axis(index)
        stored.index = stored.index.astype("str")
        stored.to_parquet(tmp_path / "x.parquet")
        (file,) = find(tmp_path / "x.parquet")
        columns = Columns(keep_input=True)
        scorer = Scorer(model=LINEAR, policy=LINEAR.policies.for_call(), columns=columns)
        (batch,) = (scorer(one)[0] for one in read(file, spec=LINEAR.spec, rows=99))
        assert batch.schema.names == [*["id"] * kept, *"abcd", "y_0", "y_1"]
        assert batch["y_1"].to_pylist() == plain["y_1"].tolist()


def test_batches_are_answered_as_they_are_taken() -> None:
    """Record batches come back scored, in order, and no more are read than there is room for."""
    taken: list[int] = []

    def reader() -> Any:
        for start in range(0, 500, 5):
            taken.append(start)
            yield table(500).slice(start, 5).combine_chunks().to_batches()[0]

    answers = predict_batches(LINEAR, reader(), keep=["id"], keep_input=False, mode="local")
    with pytest.raises(HybridModelError, match="unexpected 'customer'"):
        next(answers)
    taken.clear()
    answers = predict_batches(LINEAR, reader(), keep=["id", "customer"], provenance=True)
    first = next(answers)
    assert len(taken) < 20
    assert first.schema.names == ["id", "customer", "y_0", "y_1", "route", "score", "reason"]
    assert first["route"].to_pylist() == ["local"] * 5
    rest = pa.Table.from_batches([first, *answers])
    assert rest["id"].to_pylist() == list(range(500))
    expected = LINEAR.predict(table(500).select(list("abcd")))
    assert rest["y_0"].to_pylist() == expected["y_0"].to_pylist()
