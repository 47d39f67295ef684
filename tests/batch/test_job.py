"""What `predict_files` writes, and what it refuses."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import pytest

from hybridmodel import HybridOnnxModel, save_model
from hybridmodel.batch import predict_files
from hybridmodel.batch.columns import Columns
from hybridmodel.batch.summary import Counts
from hybridmodel.exceptions import ConfigurationError, InputMismatch
from tests.support import models
from tests.support.batches import (
    COLUMNS,
    DyingDisk,
    Killed,
    QuickDisk,
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


def answers(frame: pd.DataFrame) -> pd.DataFrame:
    """Return what a job writes for rows: their numbers before what `predict` says."""
    return pd.concat([frame[["id"]], linear().predict(frame[COLUMNS])], axis=1)


@pytest.mark.parametrize("output", ["o.parquet", "o.arrow", "o.csv", "o.tsv.gz", "o.jsonl", "o"])
@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".csv", ".jsonl"])
def test_every_format_into_every_other(tmp_path: Path, suffix: str, output: str) -> None:
    """Rows keep their order and get what `predict` answers, whatever the formats."""
    source = folder_of_files(tmp_path / "in", 50, 7, 33, suffix=suffix)
    summary = run(source, tmp_path / output)
    assert (summary.rows, summary.local, summary.remote, summary.errors) == (90, 90, 0, 0)
    assert summary.parts == 5
    assert names(tmp_path) == {"in", output}
    expected = answers(pd.concat([table(50), table(7, 50), table(33, 57)], ignore_index=True))
    found = (
        pd.read_csv(tmp_path / output, sep="\t") if "tsv" in output else rows_of(tmp_path / output)
    )
    if suffix == ".csv":  # What is no feature is kept as it is written there.
        found["id"] = found["id"].astype(int)
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, rtol=1e-5, atol=1e-6)
    if output in ("o.parquet", "o") and suffix in (".parquet", ".arrow"):
        pd.testing.assert_frame_equal(found, expected)


def test_no_rows_at_all(tmp_path: Path) -> None:
    """Files without a row give an output with all columns and no row."""
    source = folder_of_files(tmp_path / "in", 0, 0)
    summary = run(source, tmp_path / "o.parquet")
    assert (summary.rows, summary.parts) == (0, 1)
    found = rows_of(tmp_path / "o.parquet")
    assert list(found) == ["id", "y_0", "y_1"]
    assert len(found) == 0


@pytest.mark.parametrize("batch_rows", [1, 5, 31, 32, 1000])
@pytest.mark.parametrize("workers", [0, 3])
def test_batches_and_workers_change_nothing(tmp_path: Path, batch_rows: int, workers: int) -> None:
    """Neither the size of batches nor the number of workers moves parts or changes answers."""
    source = folder_of_files(tmp_path / "in", 70, 30)
    summary = run(source, tmp_path / "o", batch_rows=batch_rows, workers=workers)
    assert summary.parts == 4
    assert [len(pd.read_parquet(path)) for path in sorted((tmp_path / "o").iterdir())] == [
        32,
        32,
        6,
        30,
    ]
    expected = answers(pd.concat([table(70), table(30, 70)], ignore_index=True))
    pd.testing.assert_frame_equal(rows_of(tmp_path / "o"), expected, rtol=1e-6)


def test_a_model_of_all_rows_at_once(tmp_path: Path) -> None:
    """A model that does not answer each row by itself gets all rows of a file together."""
    model = HybridOnnxModel(models.identity(shape=(40, 3)))
    frame = table(40)[["a", "b", "c"]]
    write(frame, tmp_path / "in.parquet")
    summary = predict_files(model, tmp_path / "in.parquet", tmp_path / "o.parquet")
    assert summary.parts == 1
    np.testing.assert_array_equal(rows_of(tmp_path / "o.parquet").to_numpy(), frame.to_numpy())


def test_models_by_path(tmp_path: Path) -> None:
    """A model may be named: a saved one, or an ONNX file."""
    (tmp_path / "m.onnx").write_bytes(models.linear())
    save_model(linear(), tmp_path / "saved")
    source = write(table(40), tmp_path / "in.parquet")
    first = predict_files(tmp_path / "saved", source, tmp_path / "a.parquet", keep=["id"])
    columns = Columns(ids=("id",))
    second = predict_files(str(tmp_path / "m.onnx"), source, tmp_path / "b.csv", columns=columns)
    assert first.rows == second.rows == 40
    pd.testing.assert_frame_equal(rows_of(tmp_path / "a.parquet"), answers(table(40)))


def test_progress_is_told(tmp_path: Path) -> None:
    """The counts grow up to all rows, whose number is known for Parquet."""
    source = folder_of_files(tmp_path / "in", 50, 20)
    told: list[tuple[int, int | None]] = []
    run(source, tmp_path / "o.csv", progress=lambda now, rows: told.append((now.rows, rows)))
    assert [rows for rows, _ in told] == sorted(rows for rows, _ in told)
    assert told[-1] == (70, 70)


def test_an_output_that_exists(tmp_path: Path) -> None:
    """An output that is there is left alone without overwrite, and replaced at the end with it."""
    source = write(table(40), tmp_path / "in.parquet")
    for output in ("o.csv", "o"):
        run(source, tmp_path / output)
        with pytest.raises(ConfigurationError, match="exists already; --overwrite"):
            run(source, tmp_path / output)
        with pytest.raises(ConfigurationError, match="exists already; --overwrite"):
            run(source, tmp_path / output, resume=True)
        before = rows_of(tmp_path / output)
        shorter = write(table(10), tmp_path / "short.parquet")
        with pytest.raises(Killed):
            run(shorter, tmp_path / output, overwrite=True, disk=DyingDisk(12))
        pd.testing.assert_frame_equal(rows_of(tmp_path / output), before)
        run(shorter, tmp_path / output, overwrite=True, resume=True)
        assert len(rows_of(tmp_path / output)) == 10


def test_an_input_where_bad_rows_would_be_written(tmp_path: Path) -> None:
    """A file of bad rows that is an input is not removed with the output that it belonged to."""
    source = write(table(40), tmp_path / "o.csv.bad_rows.jsonl")
    with pytest.raises(ConfigurationError, match="where its bad rows would be written"):
        run(source, tmp_path / "o.csv", overwrite=True)
    assert source.exists()


def test_a_part_that_is_gone(tmp_path: Path) -> None:
    """A folder of which any part was removed is not complete, whatever the log says."""
    source = write(table(100), tmp_path / "in.parquet")
    assert run(source, tmp_path / "o", resume=True).parts == 4
    (tmp_path / "o" / "part-00001.parquet").unlink()
    with pytest.raises(ConfigurationError, match="exists already; --overwrite"):
        run(source, tmp_path / "o", resume=True)
    assert run(source, tmp_path / "o", resume=True, overwrite=True).rows == 100
    assert len(rows_of(tmp_path / "o")) == 100


@pytest.mark.parametrize("output", ["o", "o.csv", "o.parquet"])
def test_an_output_that_is_gone(tmp_path: Path, output: str) -> None:
    """A job that was done is done again when its output was moved away."""
    source = write(table(100), tmp_path / "in.parquet")
    run(source, tmp_path / output, resume=True)
    (tmp_path / output).rename(tmp_path / "moved")
    assert run(source, tmp_path / output, resume=True).resumed == 0
    assert len(rows_of(tmp_path / output)) == 100


def test_a_folder_of_other_things_is_not_replaced(tmp_path: Path) -> None:
    """Overwrite takes a folder only if it has nothing but parts, and an empty one is free."""
    source = write(table(40), tmp_path / "in.parquet")
    (tmp_path / "o").mkdir()
    run(source, tmp_path / "o")
    run(source, tmp_path / "o", overwrite=True)
    (tmp_path / "o" / "thesis.tex").touch()
    with pytest.raises(
        ConfigurationError, match=r"more than the parts of an earlier job \('thesis"
    ):
        run(source, tmp_path / "o", overwrite=True)


@pytest.mark.parametrize(
    ("inputs", "output", "message"),
    [
        ("in", "in", "the input .* lies in it"),
        ("in/0.parquet", "in/0.parquet", "is the input .* and would overwrite it"),
        ("in/0.parquet", "link.parquet", "is the input .* and would overwrite it"),
        ("in/0.parquet", "hard.parquet", "is the input .* and would overwrite it"),
        ("in", "nowhere/o.csv", "there is no folder"),
        ("in", "o.txt", r"a name that ends with \.csv"),
        ("in", "file", "exists already and is not a folder"),
        ("in", "folder.csv", "exists already and is not a file"),
        ("gone.csv", "o.csv", "there is no such file"),
        ("empty", "o.csv", "no file of a known format"),
    ],
)
def test_paths_that_cannot_be(tmp_path: Path, inputs: str, output: str, message: str) -> None:
    """Inputs and outputs that are in each other's way, or not there, are refused at once."""
    folder_of_files(tmp_path / "in", 10)
    (tmp_path / "link.parquet").symlink_to(tmp_path / "in" / "0.parquet")
    os.link(tmp_path / "in" / "0.parquet", tmp_path / "hard.parquet")
    (tmp_path / "file").touch()
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "empty").mkdir()
    before = names(tmp_path)
    with pytest.raises(ConfigurationError, match=message):
        run(tmp_path / inputs, tmp_path / output, overwrite=True)
    assert names(tmp_path) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_bad_rows": "ignore"}, "on_bad_rows is 'fail' or 'write', not 'ignore'"),
        ({"max_errors": -1}, "max_errors is a number of rows, or a share of them such as '1%'"),
        ({"max_errors": "101%"}, "max_errors is a number of rows"),
        ({"max_errors": True}, "max_errors is a number of rows"),
        ({"keep": ["name"]}, "has no column 'name'"),
        ({"mode": "cascade"}, "cascade"),
        ({"use_azure": True}, "endpoint"),
    ],
)
def test_options_that_cannot_be(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    """Options that are not understood are refused before anything is written."""
    source = write(table(5), tmp_path / "in.parquet")
    with pytest.raises(ConfigurationError, match=message):
        run(source, tmp_path / "o.csv", **options)
    assert names(tmp_path) == {"in.parquet"}


def test_an_output_without_a_name(tmp_path: Path) -> None:
    """An empty name is no output, and is not taken for the folder in which one works."""
    source = write(table(5), tmp_path / "in.parquet")
    with pytest.raises(ConfigurationError, match="a file or a folder was expected, '' came"):
        predict_files(linear(), source, "")


class FullDisk(QuickDisk):
    """A disk that has room for so many files, and then is the system's own full device.

    A part of a file that grows counts as a file.
    """

    def __init__(self, room: int, buffering: int) -> None:
        self.room = room
        self.buffering = buffering
        self.growing: IO[bytes] | None = None

    def create(self, path: Path) -> IO[bytes]:
        """Open a file as long as there is room."""
        self.room -= 1
        if self.room >= 0:
            return super().create(path)
        return Path("/dev/full").open("wb", self.buffering)

    def grow(self, path: Path, size_bytes: int) -> IO[bytes]:
        """Remember which file grows."""
        self.growing = super().grow(path, size_bytes)
        return self.growing

    def sync(self, file: IO[bytes]) -> None:
        """Let a file that grows go on in the full device when there is no room left."""
        super().sync(file)
        if file is self.growing:
            self.room -= 1
        if file is self.growing and self.room <= 0:
            full = os.open("/dev/full", os.O_WRONLY)
            os.dup2(full, file.fileno())
            os.close(full)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no full device")
@pytest.mark.parametrize("buffering", [0, 1 << 20])
@pytest.mark.parametrize("output", ["o.parquet", "o.csv", "o.jsonl.gz", "o.arrow", "o"])
def test_a_full_disk(tmp_path: Path, output: str, buffering: int) -> None:
    """A full disk is named, what is done is kept, and the job goes on when there is room."""
    source = folder_of_files(tmp_path / "in", 70, 30)
    with pytest.raises(
        ConfigurationError, match=r"No space left on device; what is done is kept: --resume"
    ):
        run(source, tmp_path / output, disk=FullDisk(4, buffering))
    assert not (tmp_path / output).exists()
    assert run(source, tmp_path / output, resume=True).resumed >= 2
    assert len(rows_of(tmp_path / output)) == 100


def test_what_is_forbidden_is_told(tmp_path: Path) -> None:
    """An error of the system names the output, and the file that it is about."""

    class Forbidding(QuickDisk):
        def create(self, path: Path) -> IO[bytes]:
            raise PermissionError(13, "Permission denied", str(path))

    source = write(table(5), tmp_path / "in.parquet")
    with pytest.raises(ConfigurationError, match=r"o\.csv: Permission denied \(.*manifest"):
        run(source, tmp_path / "o.csv", disk=Forbidding())
    assert names(tmp_path) == {"in.parquet"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    """A folder in which nothing may be written is named."""
    source = write(table(5), tmp_path / "in.parquet")
    locked = tmp_path / "locked"
    locked.mkdir(0o500)
    with pytest.raises(ConfigurationError, match=r"o\.csv: Permission denied"):
        run(source, locked / "o.csv")


def test_an_interrupt_says_how_to_go_on(tmp_path: Path) -> None:
    """Ctrl-C stops cleanly, and the exception says how the job goes on."""

    def interrupt(counts: Counts, _rows: object) -> None:
        if counts.rows > 70:
            raise KeyboardInterrupt

    source = folder_of_files(tmp_path / "in", 70, 30)
    with pytest.raises(KeyboardInterrupt) as caught:
        run(source, tmp_path / "o.csv", progress=interrupt, workers=2)
    assert caught.value.__notes__ == [
        "what is done is kept: --resume (resume=True) goes on with it"
    ]
    assert run(source, tmp_path / "o.csv", resume=True).rows == 100


def test_inputs_that_change_while_they_are_read(tmp_path: Path) -> None:
    """A file that was written to during the job is noticed before there is an output."""
    source = folder_of_files(tmp_path / "in", 70, 30)

    def write_to_it(*_: object) -> None:
        os.utime(source / "0.parquet", ns=(1, 1))

    with pytest.raises(ConfigurationError, match="was changed while it was read"):
        run(source, tmp_path / "o.csv", progress=write_to_it)
    assert not (tmp_path / "o.csv").exists()


def test_refusals_leave_nothing_behind(tmp_path: Path) -> None:
    """A job that could not begin leaves no folder."""
    source = write(table(5).drop(columns="c"), tmp_path / "in.parquet")
    with pytest.raises(InputMismatch, match=r"in\.parquet"):
        run(source, tmp_path / "o.csv")
    assert names(tmp_path) == {"in.parquet"}
