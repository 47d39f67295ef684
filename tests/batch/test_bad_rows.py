"""Rows that `predict` refuses are kept apart, and nothing else is."""

from __future__ import annotations

import json
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
from hybridmodel.batch import predict_files
from hybridmodel.batch.bad_rows import Allowance, numbers_mended
from hybridmodel.exceptions import ConfigurationError, InputMismatch
from tests.support import models
from tests.support.batches import (
    COLUMNS,
    folder_of_files,
    linear,
    names,
    rows_of,
    run,
    small_parts,
    table,
    write,
)

pytestmark = pytest.mark.usefixtures("small_parts")

__all__ = ["small_parts"]

WRITE = {"on_bad_rows": "write", "max_errors": 1000}


def whole_numbers() -> HybridOnnxModel:
    """Make a model of INT64, which refuses fractions and missing values."""
    return HybridOnnxModel(models.identity("INT64", ("N", 1)), feature_names=["n"])


def numbers(path: Path, values: list[float | None]) -> Path:
    """Write a column of numbers, with the position of each."""
    frame = {"id": range(len(values)), "n": pa.array(values, pa.float64())}
    pq.write_table(pa.table(frame), path)
    return path


def side_file(output: Path) -> list[dict[str, Any]]:
    """Read the bad rows of an output."""
    path = output.with_name(output.name + ".bad_rows.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(st.sampled_from([1.0, 2.0, 0.5, None, float("nan"), 1e300]), min_size=1, max_size=80)
)
def test_totals_add_up(tmp_path: Path, values: list[float | None]) -> None:
    """Each row is answered or kept apart, just as `predict` says of it alone, in order."""
    model = whole_numbers()
    source, output = numbers(tmp_path / "in.parquet", values), tmp_path / "o.parquet"
    summary = run(source, output, model, overwrite=True, **WRITE)
    good = [at for at, value in enumerate(values) if value in (1.0, 2.0)]
    bad = [at for at in range(len(values)) if at not in good]
    assert summary.rows == len(values) == summary.local + summary.errors
    assert (summary.local, summary.errors) == (len(good), len(bad))
    found = rows_of(output)
    assert found["id"].tolist() == good
    assert found["y"].tolist() == [values[at] for at in good]
    kept = side_file(output)
    assert [row["row"] for row in kept] == bad
    assert (summary.bad_rows is None) == (not bad)
    for row in kept:
        assert row["file"] == str(source)
        assert row["values"]["id"] == row["row"]
        with pytest.raises(InputMismatch) as caught:
            model.predict(pa.table({"n": pa.array([values[row["row"]]], pa.float64())}))
        assert row["reason"] == str(caught.value)


def test_cells_of_csv_that_are_no_numbers(tmp_path: Path) -> None:
    """One bad cell makes texts of all that is read with it; only its row is bad."""
    frame = table(90)
    lines = frame.to_csv(index=False).splitlines()
    for row, cell in ((3, "abc"), (40, "1,5"), (41, "")):
        fields = lines[row + 1].split(",")
        fields[2] = f'"{cell}"' if cell else ""
        lines[row + 1] = ",".join(fields)
    (tmp_path / "in.csv").write_text("\n".join(lines))
    summary = run(tmp_path / "in.csv", tmp_path / "o.csv", **WRITE)
    assert (summary.rows, summary.local, summary.errors) == (90, 88, 2)
    assert [row["reason"] for row in side_file(tmp_path / "o.csv")] == [
        "column 'b': 'abc' is not a number",
        "column 'b': '1,5' is not a number",
    ]
    left = frame.drop(index=[3, 40])
    expected = linear().predict(left.assign(b=left["b"].where(left["id"] != 41))[COLUMNS])
    found = rows_of(tmp_path / "o.csv")
    assert found["id"].tolist() == left["id"].tolist()
    np.testing.assert_allclose(found[["y_0", "y_1"]], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("output", ["o.csv", "o"])
def test_parts_of_nothing_but_bad_rows(tmp_path: Path, output: str) -> None:
    """Rows that are all bad, as many as are read at a time, leave a part without rows."""
    frame = table(90).astype({"b": object})
    frame.loc[32:63, "b"] = "abc"
    write(frame, tmp_path / "in.csv")
    for resumed in (0, 3):
        summary = run(tmp_path / "in.csv", tmp_path / output, resume=True, **WRITE)
        assert (summary.rows, summary.local, summary.errors) == (90, 58, 32)
        assert summary.resumed == resumed
    left = rows_of(tmp_path / output)["id"].astype(int)
    assert left.tolist() == [*range(32), *range(64, 90)]


def test_cells_of_json_lines_that_are_no_numbers(tmp_path: Path) -> None:
    """One text among numbers makes texts of all that is read with it; only its row is bad."""
    records = [json.loads(line) for line in table(90).to_json(orient="records", lines=True).split()]
    records[3]["b"], records[40]["b"], records[41]["b"] = "abc", True, None
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    summary = run(tmp_path / "in.jsonl", tmp_path / "o.csv", **WRITE)
    assert (summary.rows, summary.local, summary.errors) == (90, 88, 2)
    assert [row["reason"] for row in side_file(tmp_path / "o.csv")] == [
        "column 'b': 'abc' is not a number",
        "column 'b': 'True' is not a number",
    ]
    left = [record for at, record in enumerate(records) if at not in (3, 40)]
    expected = linear().predict(pd.DataFrame(left)[COLUMNS].astype(np.float32))
    found = rows_of(tmp_path / "o.csv")
    assert found["id"].tolist() == [record["id"] for record in left]
    np.testing.assert_allclose(found[["y_0", "y_1"]], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("suffix", "change", "message"),
    [
        (".parquet", lambda frame: frame.drop(columns="c"), "missing.*'c'|'c'"),
        (".csv", lambda frame: frame.drop(columns="c"), "'c'"),
        (
            ".parquet",
            lambda frame: frame.assign(c="text"),
            "column 'c' is (large_)?string, where numbers",
        ),
        (
            ".parquet",
            lambda frame: frame.assign(c=pd.Timestamp("2026-01-01")),
            "column 'c' is timestamp",
        ),
    ],
)
def test_a_bad_column_is_no_bad_row(tmp_path: Path, suffix: str, change: Any, message: str) -> None:
    """Where the columns are to blame, no row is: the job ends, however many errors may be."""
    folder = folder_of_files(tmp_path / "in", 10, suffix=suffix)
    write(change(table(10)), folder / f"1{suffix}")
    with pytest.raises((InputMismatch, ConfigurationError), match=message):
        run(folder, tmp_path / "o.csv", **WRITE)
    assert not (tmp_path / "o.csv").exists()


@pytest.mark.parametrize(
    ("max_errors", "bad", "is_good"),
    [
        (0, 0, True),
        (0, 1, False),
        ("3", 3, True),
        (3, 4, False),
        ("5%", 5, True),
        ("5%", 6, False),
        ("0%", 1, False),
        ("100%", 100, True),
    ],
)
def test_so_many_errors_may_be(tmp_path: Path, max_errors: Any, bad: int, is_good: bool) -> None:
    """A job ends when there are more bad rows than may be; none may be by default."""
    values = [1.0] * (100 - bad) + [0.5] * bad
    source, output = numbers(tmp_path / "in.parquet", values), tmp_path / "o.parquet"
    options = {"on_bad_rows": "write", "max_errors": max_errors}
    if is_good:
        assert run(source, output, whole_numbers(), **options).errors == bad
        return
    with pytest.raises(InputMismatch, match=r"in\.parquet, row"):
        run(source, output, whole_numbers(), **options)
    summary = run(source, output, whole_numbers(), resume=True, **WRITE)
    assert summary.errors == bad
    assert len(side_file(output)) == bad


def test_the_share_of_texts_is_known_at_the_end(tmp_path: Path) -> None:
    """A share of rows whose number is not known is compared when all are read."""
    frame = pd.DataFrame({"id": range(100), "n": [0.5, 1.5] + [1.0] * 98})
    source = write(frame, tmp_path / "in.csv")
    options = {"on_bad_rows": "write", "max_errors": "1%"}
    with pytest.raises(InputMismatch, match="2 bad rows so far, where max_errors allows 1%"):
        run(source, tmp_path / "o.csv", whole_numbers(), **options)
    options["max_errors"] = "2%"
    assert run(source, tmp_path / "o.csv", whole_numbers(), resume=True, **options).errors == 2


def test_without_bad_rows_the_first_ends_the_job(tmp_path: Path) -> None:
    """By default a bad row ends the job, and its place is told."""
    source = numbers(tmp_path / "in.parquet", [1.0] * 50 + [0.5, 1.0])
    with pytest.raises(InputMismatch, match=r"in\.parquet, row 50, counted from 0, column 'n'"):
        run(source, tmp_path / "o.parquet", whole_numbers())
    summary = run(source, tmp_path / "o.parquet", whole_numbers(), resume=True, **WRITE)
    assert (summary.resumed, summary.errors) == (1, 1)


def test_a_job_with_bad_rows_does_not_turn_strict(tmp_path: Path) -> None:
    """Rows that were kept apart already are not forgotten by a run that allows none."""
    source = numbers(tmp_path / "in.parquet", [0.5] + [1.0] * 40 + [0.5])
    options = {"on_bad_rows": "write", "max_errors": 1}
    with pytest.raises(InputMismatch):
        run(source, tmp_path / "o", whole_numbers(), **options)
    with pytest.raises(InputMismatch, match="1 bad rows were kept apart; pass on_bad_rows='write'"):
        run(source, tmp_path / "o", whole_numbers(), resume=True)


def test_all_rows_may_be_bad(tmp_path: Path) -> None:
    """An output without any row has its columns nevertheless."""
    source = numbers(tmp_path / "in.parquet", [0.5] * 40)
    summary = run(source, tmp_path / "o.parquet", whole_numbers(), **WRITE)
    assert (summary.rows, summary.errors, summary.parts) == (40, 40, 2)
    assert list(rows_of(tmp_path / "o.parquet")) == ["id", "y"]


def test_rows_that_onnxruntime_refuses(tmp_path: Path) -> None:
    """A row that only fails when it is run is bad as well."""
    model = HybridOnnxModel(models.lookup())
    pq.write_table(pa.table({"x": [0, 1, 7, 2, -9]}), tmp_path / "in.parquet")
    summary = predict_files(model, tmp_path / "in.parquet", tmp_path / "o.parquet", **WRITE)
    assert (summary.local, summary.errors) == (3, 2)
    assert rows_of(tmp_path / "o.parquet")["y"].tolist() == [10, 20, 30]


def test_the_file_of_bad_rows_is_as_new_as_the_output(tmp_path: Path) -> None:
    """An output that is replaced takes the file of its bad rows with it."""
    output = tmp_path / "o.parquet"
    run(numbers(tmp_path / "a.parquet", [0.5, 1.0]), output, whole_numbers(), **WRITE)
    assert names(tmp_path) == {"a.parquet", "o.parquet", "o.parquet.bad_rows.jsonl"}
    good = numbers(tmp_path / "b.parquet", [1.0])
    output.unlink()
    with pytest.raises(ConfigurationError, match=r"bad_rows\.jsonl: exists already"):
        run(good, output, whole_numbers())
    run(good, output, whole_numbers(), overwrite=True)
    assert names(tmp_path) == {"a.parquet", "b.parquet", "o.parquet"}


@pytest.mark.parametrize(
    ("given", "shown"), [(3, "3"), ("3", "3"), ("2.5%", "2.5%"), ("1 %", "1%")]
)
def test_allowances_are_shown_as_they_were_given(given: Any, shown: str) -> None:
    """A message says the number or the share that was allowed."""
    assert str(Allowance.of(given)) == shown


def test_texts_become_the_numbers_that_they_are() -> None:
    """Texts are read as CSV reads them: whole numbers stay whole, decimals as they are written."""
    batch = pa.record_batch({"whole": ["1", "2"], "part": ["1,5", None], "id": ["a", "b"]})
    found, reasons = numbers_mended(batch, ["whole", "part"], ",")
    assert reasons == {}
    assert found.to_pydict() == {"whole": [1, 2], "part": [1.5, None], "id": ["a", "b"]}
    assert found.schema.field("whole").type == pa.int64()
