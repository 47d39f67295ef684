"""``hybridmodel predict`` over files of any size: what goes in and out, and how a job goes on."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from hybridmodel import HybridOnnxModel, TritonEndpoint, save_model
from hybridmodel.batch import parts
from hybridmodel.batch.summary import Counts
from hybridmodel.cli import progress
from hybridmodel.cli.program import program
from hybridmodel.serving import serve
from tests.support import models
from tests.support.paths import ROOT

COLUMNS = list("abcd")
Cli = Callable[..., Result]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Save a model beside its server."""
    folder = tmp_path_factory.mktemp("models")
    with serve({"linear": models.linear()}) as server:
        endpoint = TritonEndpoint(uri=server.uri, model_name="linear", auth_key_env=None)
        model = HybridOnnxModel(models.linear(), endpoint=endpoint, feature_names=COLUMNS)
        save_model(model, folder / "linear")
        yield folder


@pytest.fixture
def cli(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run the command on the model in a folder with two files of rows."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(parts, "PART_ROWS", 32)
    Path("in").mkdir()
    for number in range(2):
        rows(70 - 40 * number, number).to_parquet(f"in/{number}.parquet")

    def run(*args: object, status: int = 0) -> Result:
        words = ["predict", str(saved / "linear"), *map(str, args)]
        result = CliRunner().invoke(program, words)
        assert result.exit_code == status, result.output
        return result

    return run


def rows(count: int, seed: int = 0) -> pd.DataFrame:
    """Make rows with an identifier."""
    values = np.random.default_rng(seed).normal(size=(count, 4)).astype(np.float32)
    frame = pd.DataFrame(values, columns=COLUMNS)
    return frame.assign(id=[f"{seed}-{at:03}" for at in range(count)])


def both() -> pd.DataFrame:
    """Return the rows of both files."""
    return pd.concat([rows(70, 0), rows(30, 1)], ignore_index=True)


def expected(keep: list[str]) -> pd.DataFrame:
    """Predict with the library."""
    frame = both()
    answer = HybridOnnxModel(models.linear(), feature_names=COLUMNS).predict(frame[COLUMNS])
    return pd.concat([frame[keep], answer], axis=1)


def read(path: str) -> pd.DataFrame:
    """Read an output."""
    if Path(path).is_dir():
        return pq.read_table(path).to_pandas()
    if path.endswith(".arrow"):
        with pa.ipc.open_file(path) as file:
            return file.read_pandas()
    if path.endswith(".parquet"):
        return pd.read_parquet(path)
    return pd.read_json(path, lines=True) if ".jsonl" in path else pd.read_csv(path)


INPUTS: list[tuple[str, ...]] = [("in",), ("in/*.parquet",), ("in/0.parquet", "in/1.parquet")]


@pytest.mark.parametrize("target", ["o.parquet", "o.csv", "o.jsonl.gz", "o.arrow", "o"])
@pytest.mark.parametrize("inputs", INPUTS, ids=["folder", "glob", "files"])
def test_many_files_become_one_output(cli: Cli, inputs: tuple[str, ...], target: str) -> None:
    """Files, a folder and a glob are read in order, and written as one file or as a folder."""
    result = cli(*inputs, "-o", target, "--keep", "id")
    assert result.stdout == ""
    assert result.stderr == "100 rows answered by the local model\n"
    pd.testing.assert_frame_equal(read(target), expected(["id"]), check_dtype=False, rtol=1e-5)
    assert {path.name for path in Path().iterdir()} == {"in", target}


def test_many_files_to_stdout(cli: Cli) -> None:
    """Without an output the rows of all files are printed, one after the other."""
    lines = cli("in", "--keep", "id,a").stdout.splitlines()
    assert lines[0] == "a,id,y_0,y_1"
    assert [line.split(",")[1] for line in lines[1:]] == both()["id"].tolist()


def test_addresses_in_and_out(cli: Cli) -> None:
    """A file system of an address is read from and written to."""
    memory = fsspec.filesystem("memory")
    memory.pipe("/predict-command/in/0.parquet", Path("in/0.parquet").read_bytes())
    cli("memory://predict-command/in", "-o", "memory://predict-command/o.parquet", "--keep", "id")
    with memory.open("/predict-command/o.parquet") as file:
        got = pd.read_parquet(file)
    assert got["id"].tolist() == rows(70)["id"].tolist()


def test_a_summary_for_machines(cli: Cli) -> None:
    """With --json stdout has the summary, and nothing else."""
    told = json.loads(cli("in", "-o", "o.parquet", "--keep", "id", "--json").stdout)
    assert (told["rows"], told["local"], told["remote"], told["errors"]) == (100, 100, 0, 0)
    assert told["output"] == "o.parquet"
    assert told["parts"] == 4


def test_the_endpoint_answers(cli: Cli) -> None:
    """On the remote route the order is kept, and stderr says who has answered."""
    words = ("in", "--use-azure", "-o", "o.parquet", "--keep", "id", "--provenance")
    result = cli(*words, "--workers", 3, "--batch-rows", 9)
    assert result.stderr.startswith("100 rows answered by the endpoint http://")
    got = read("o.parquet")
    assert got["id"].tolist() == both()["id"].tolist()
    assert set(got["route"]) == {"azure"}


def test_bad_rows_are_kept_apart(cli: Cli) -> None:
    """Rows that the model cannot take go to a file with the reason, and are counted."""
    frame = rows(5)
    text = frame.to_csv(index=False).splitlines()
    text[3] = "x" + text[3]
    Path("in.csv").write_text("\n".join(text) + "\n")
    words = ("in.csv", "--id-column", "id", "-o", "o.csv")
    assert "line 4 (row 2, from 0), column 'a'" in cli(*words, status=2).stderr
    assert not Path("o.csv").exists()
    words = (*words, "--on-bad-rows", "write", "--max-errors", "20%")
    assert "1 rows not answered: " in cli(*words).stderr
    assert len(read("o.csv")) == 4
    (bad,) = map(json.loads, Path("o.csv.bad_rows.jsonl").read_text().splitlines())
    assert bad["row"] == 2


def test_a_job_that_ended_goes_on(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C says how to go on; the same command with --resume does, and nothing is left."""

    @contextmanager
    def interrupting() -> Iterator[Any]:
        yield interrupt

    def interrupt(counts: Counts, _rows: object) -> None:
        if counts.rows > 40:
            raise KeyboardInterrupt

    words = ("in", "-o", "o.parquet", "--keep", "id")
    with monkeypatch.context() as patched:
        patched.setattr("hybridmodel.cli.predict.job_progress", interrupting)
        stopped = cli(*words, "--batch-rows", 8, status=130)
    assert "--resume" in stopped.stderr
    assert not Path("o.parquet").exists()
    assert "--resume goes on with it" in cli(*words, status=2).stderr
    done = cli(*words, "--resume", "--json")
    told = json.loads(done.stdout)
    assert told["resumed"] > 0
    assert f"{told['resumed']} of 4 parts were done before" in done.stderr
    assert read("o.parquet")["id"].tolist() == both()["id"].tolist()
    assert cli(*words, "--resume", "--json").stdout.count('"rows": 100') == 1


class Screen(io.StringIO):
    """Stands for a terminal."""

    def isatty(self) -> bool:
        """Return True."""
        return True


def test_progress_shows_what_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal rows/s, the share of the endpoint and bad rows are shown; elsewhere nothing."""
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    with progress.job_progress() as show:
        assert show is not None
        show(Counts(rows=10, local=10), 100)
        time.sleep(0.11)  # The bar is drawn ten times a second at the most.
        show(Counts(rows=60, local=44, remote=15, errors=1), 100)
    drawn = screen.getvalue()
    assert "60/100" in drawn
    assert "rows/s" in drawn
    assert "remote=25.0%, errors=1" in drawn
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress.job_progress() as show:
        assert show is None


REFUSED: list[tuple[list[str], str]] = [
    (["in", "-"], "- for stdin stands alone"),
    (["in", "--resume"], "--resume needs files to read, and --output"),
    (["-", "-o", "o.csv", "--resume"], "--resume needs files"),
    (["in", "--on-bad-rows", "write"], "--on-bad-rows write needs files"),
    (["in", "--max-errors", "1"], "--max-errors needs files"),
    (["in", "--max-remote-rows", "1"], "a budget needs files to read, and --output"),
    (["in", "--json"], "--json needs --output"),
    (["in", "-o", "o.csv", "--workers", "0"], "--workers"),
    (["in", "-o", "o.csv", "--max-errors", "many"], "max_errors is a number of rows, or a share"),
    (["in", "-o", "o.csv"], "--id-column NAME keeps a column that is no feature"),
    (["in", "-o", "in", "--id-column", "id"], "in"),
    (["in/*.csv", "-o", "o.csv"], "no file has such a name"),
    (["in", "-o", "s4://x/o.csv", "--id-column", "id"], "s4"),
]


@pytest.mark.parametrize(("words", "message"), REFUSED, ids=range(len(REFUSED)))
def test_what_cannot_be(cli: Cli, words: list[str], message: str) -> None:
    """What does not go together is refused in one line, and nothing is left behind."""
    said = cli(*words, status=2).stderr
    assert message in said
    assert said.rstrip().count("\n") == 0
    assert {path.name for path in Path().iterdir()} == {"in"}


def test_imports_are_few(tmp_path: Path) -> None:
    """Scoring Parquet imports neither pandas nor MLflow: that would cost more than small files."""
    code = (
        "import os, sys\n"
        "from hybridmodel.batch import predict_files\n"
        "os.chdir(sys.argv[1])\n"
        "predict_files('linear.onnx', 'x.parquet', 'o.parquet', provenance=True)\n"
        "found = {name.partition('.')[0] for name in sys.modules}\n"
        "print(*found & {'pandas', 'mlflow', 'matplotlib', 'requests'})\n"
    )
    pq.write_table(
        pa.table(dict.fromkeys(COLUMNS, np.zeros(9, np.float32))), tmp_path / "x.parquet"
    )
    (tmp_path / "linear.onnx").write_bytes(models.linear())
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
