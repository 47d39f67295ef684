"""``hybridmodel predict``: what it prints where, and what it writes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hybridmodel import load_model
from hybridmodel.cli import tables
from hybridmodel.cli.source import Source
from hybridmodel.data.tensors import TensorSpec
from tests.support.command_line import (
    COLUMNS,
    Cli,
    expected,
    files,
    frame,
    messages,
    read_csv,
)


@pytest.mark.parametrize("route", ["--local", "--use-azure"])
@pytest.mark.parametrize("name", ["linear", "classifier", "zipmap", "two_outputs"])
def test_predict_prints_csv(cli: Cli, saved: Path, name: str, route: str) -> None:
    """Stdout holds only the predictions, row by row; stderr says which route has answered."""
    rows = frame().iloc[:, :3] if name == "two_outputs" else frame()
    rows.to_csv("these.csv", index=False)
    result = cli("predict", f"@{name}", "these.csv", route)
    pd.testing.assert_frame_equal(
        read_csv(result.stdout),
        expected(saved, name, rows),
        check_dtype=False,
        rtol=1e-5,
    )
    who = "the local model" if route == "--local" else f"/v2/models/{name}/versions/1"
    said = messages(result.stderr)
    assert said.startswith("6 rows answered by ")
    assert said.endswith(f"{who}\n")


def test_predict_takes_the_route_of_the_environment(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a flag the environment chooses the route."""
    monkeypatch.setenv("HYBRIDMODEL_USE_AZURE", "1")
    assert "by the endpoint" in cli("predict", "@linear", "rows.csv").stderr
    assert "by the local model" in cli("predict", "@linear", "rows.csv", "--local").stderr


@pytest.mark.parametrize("batch_rows", [1, 4, 100])
@pytest.mark.parametrize("target", ["out.csv", "out.parquet"])
@pytest.mark.parametrize("source", ["in.csv", "in.parquet"])
def test_predict_from_file_to_file(
    cli: Cli, saved: Path, source: str, target: str, batch_rows: int
) -> None:
    """Both formats go in and come out, whatever the size of the batches."""
    rows = frame(9)
    rows.to_csv("in.csv", index=False)
    rows.to_parquet("in.parquet")
    result = cli("predict", "@classifier", source, "-o", target, "--batch-rows", batch_rows)
    assert result.stdout == ""
    answer = pd.read_csv(target) if target == "out.csv" else pd.read_parquet(target)
    pd.testing.assert_frame_equal(
        answer, expected(saved, "classifier", rows), check_dtype=False, rtol=1e-5
    )
    assert files(Path()) == {"in.csv", "in.parquet", "rows.csv", target}


@pytest.mark.parametrize("index", [[5, 7, 9], [5, 7, 8], ["x", "y", "z"]])
def test_predict_keeps_the_input(cli: Cli, index: list[Any]) -> None:
    """With --keep-input the input's named index and its columns come first."""
    rows = frame(3).set_index(pd.Index(index, name="id"))
    rows.to_parquet("in.parquet")
    result = cli("predict", "@linear", "in.parquet", "--keep-input", "--batch-rows", 2)
    answer = read_csv(result.stdout)
    assert list(answer) == ["id", *COLUMNS, "y_0", "y_1"]
    assert answer["id"].tolist() == index
    assert "id" not in read_csv(cli("predict", "@linear", "in.parquet").stdout)


def test_predict_gives_one_output(cli: Cli) -> None:
    """With --output-name only that output is printed."""
    result = cli("predict", "@classifier", "rows.csv", "--output-name", "label")
    assert list(read_csv(result.stdout)) == ["label"]


@pytest.mark.parametrize("source", ["in.csv", "in.parquet"])
@pytest.mark.parametrize("target", ["out.csv", "out.parquet"])
def test_no_rows_in_no_rows_out(cli: Cli, source: str, target: str) -> None:
    """A file without rows gives one with the right columns and no row."""
    frame(0).to_csv("in.csv", index=False)
    frame(0).to_parquet("in.parquet")
    cli("predict", "@linear", source, "-o", target)
    answer = pd.read_csv(target) if target == "out.csv" else pd.read_parquet(target)
    assert answer.shape == (0, 2)


def test_text_is_read_as_text(cli: Cli) -> None:
    """What looks like a number or a missing value stays text for a model that takes text."""
    Path("in.csv").write_text('text\n007\nNA\n""\nGrüße\n', encoding="utf-8")
    result = cli("predict", "@strings", "in.csv")
    assert result.stdout == "shout\n007!\nNA!\n!\nGrüße!\n"


def test_text_and_numbers_in_one_file(cli: Cli, saved: Path) -> None:
    """Only the text inputs of a model are read as text."""
    spec = load_model(saved / "strings").spec
    mixed = type(spec)((*spec.inputs, TensorSpec("n", "FP32", (-1,), True)), spec.outputs)
    Path("in.csv").write_text("text,n\n01,NA\n,2\n", encoding="utf-8")
    (read,) = tables.read_raw(Source(Path("in.csv")), mixed, 10)
    assert read["text"].tolist() == ["01", ""]
    assert read["n"].isna().tolist() == [True, False]


@pytest.mark.parametrize("batch_rows", [1, 10])
def test_arrays_in_cells_are_lists_in_files(cli: Cli, batch_rows: int) -> None:
    """Nested lists in parquet are arrays for the model, and its arrays are nested lists again."""
    cubes = np.arange(12).reshape(3, 2, 2).tolist()
    pd.DataFrame({"x": cubes}).to_parquet("in.parquet")
    args = ("predict", "@cube", "in.parquet", "--batch-rows", batch_rows)
    assert [json.loads(cell) for cell in read_csv(cli(*args).stdout)["y"]] == cubes
    cli(*args, "-o", "out.parquet")
    answer = pd.read_parquet("out.parquet")["y"]
    assert [[row.tolist() for row in cell] for cell in answer] == cubes


def test_a_failure_leaves_the_old_file(cli: Cli) -> None:
    """When a later batch fails, what was there stays as it was, and nothing lies beside it."""
    Path("in.csv").write_text("x\n0\n1\n2.5\n")
    Path("out.csv").write_text("old")
    words = ("predict", "@lookup", "in.csv", "-o", "out.csv", "--batch-rows", 2)
    assert "--overwrite replaces it" in cli(*words, status=2).stderr
    result = cli(*words, "--overwrite", status=2)
    assert "in.csv, line 4 (row 2, from 0), column 'x': does not fit: " in result.stderr
    assert Path("out.csv").read_text() == "old"
    assert files(Path()) == {"in.csv", "out.csv", "rows.csv"}


def test_reading_is_lazy(cli: Cli, saved: Path) -> None:
    """A file is read batch by batch, unless the model needs all rows at once."""
    spec = load_model(saved / "linear").spec
    frame(10).to_parquet("in.parquet")
    for source in (Path("rows.csv"), Path("in.parquet")):
        sizes = [len(batch) for batch in tables.read_raw(Source(source), spec, 4)]
        assert sizes in ([4, 2], [4, 4, 2])
        whole = type(spec)(spec.inputs, (TensorSpec("mean", "FP32", ()),))
        assert len(list(tables.read_raw(Source(source), whole, 4))) == 1


def test_columns_may_not_be_there_twice(cli: Cli, saved: Path) -> None:
    """An input column of the name of a prediction is refused where both would be written."""
    pd.DataFrame({"y": [0, 1]}).to_csv("in.csv", index=False)
    result = cli("predict", "@lookup", "in.csv", "--keep-input", status=2)
    assert "--keep-input: the input and the predictions both have a column 'y'" in result.stderr


def test_types_that_change_cannot_be_parquet(cli: Cli) -> None:
    """Kept columns that turn out to be of another type later on are refused, with the way out."""
    whole = "1,1,1,1\n" * (1 << 15)
    Path("in.csv").write_text(f"a,b,c,d\n{whole}2,1.5,1,1\n")
    args = ("predict", "@linear", "in.csv", "--keep-input")
    refusal = cli(*args, "-o", "out.parquet", status=2).stderr
    assert "column 'b': double came behind rows with int64" in refusal
    assert "write .csv or .jsonl" in refusal
    cli(*args, "-o", "out.csv")


def test_without_pyarrow(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parquet without pyarrow names the extra."""
    frame().to_parquet("in.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert "pip install hybridmodel" in cli("predict", "@linear", "in.parquet", status=2).stderr
