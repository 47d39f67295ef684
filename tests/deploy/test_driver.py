"""`--azure-mlflow`: the batch driver of an export, called as Azure calls it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from hybridmodel import HybridOnnxModel, save_model
from hybridmodel.batch import predict_files
from hybridmodel.deploy.azure import Wanted, batch_driver, write_hybrid
from hybridmodel.exceptions import ConfigurationError, InputMismatch
from tests.support import models
from tests.support.azure_exports import read
from tests.support.batches import (
    COLUMNS,
    PART_ROWS,
    folder_of_files,
    linear,
    names,
    rows_of,
    small_parts,
    table,
    write,
)
from tests.support.mlflow_tools import endpoint_server, environ

if TYPE_CHECKING:
    from hybridmodel.serving import EmbeddedServer

pytestmark = pytest.mark.usefixtures("small_parts")

__all__ = ["endpoint_server", "small_parts"]

# Azure imports the script by its path, calls init, and run with the paths of a share of the files.
_RUNNER = """
import importlib.util, os, signal, sys
from hybridmodel.batch import parts, store
script, part_rows, lines, *files = sys.argv[1:]
parts.PART_ROWS = int(part_rows)
append, left = store.RemoteStore.append, [int(lines)]

def dying(self, line):
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    append(self, line)

store.RemoteStore.append = dying
spec = importlib.util.spec_from_file_location("driver", script)
driver = importlib.util.module_from_spec(spec)
spec.loader.exec_module(driver)
driver.init()
print(*driver.run(files), sep="\\n")
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Export a model for a batch endpoint."""
    folder = tmp_path_factory.mktemp("batch")
    save_model(linear(), folder / "saved")
    write_hybrid(
        str(folder / "saved"), folder / "out", Wanted(endpoint="digits-ep"), scripted=False
    )
    return folder / "out"


@pytest.fixture
def output(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the folder of a job's output, and the environment of its processes."""
    folder = tmp_path / "score"
    folder.mkdir()
    monkeypatch.setenv("AZUREML_MODEL_DIR", str(exported / "model"))
    monkeypatch.setenv("AZUREML_BI_OUTPUT_PATH", str(folder))
    settings = read(exported / "batch-deployment.yml")["settings"]
    for name, value in settings["environment_variables"].items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HYBRIDMODEL_BATCH_KEEP", "id,*")
    return folder


@pytest.fixture
def driver(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the driver load its model, as a process of Azure begins."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    batch_driver.init()


def visible(folder: Path) -> set[str]:
    """List a folder, without what a job keeps for the next one."""
    return {name for name in names(folder) if not name.startswith(".")}


def scored(frame: pd.DataFrame) -> pd.DataFrame:
    """Compute what a file of answers has to hold."""
    return frame.join(linear().predict(frame[COLUMNS]))


def test_the_script_is_written_as_it_is(exported: Path) -> None:
    """The driver of an export is the one that these tests import."""
    written = (exported / "batch_code" / "batch_driver.py").read_text()
    assert written == Path(batch_driver.__file__).read_text()


@pytest.mark.usefixtures("driver")
@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl", ".arrow"])
def test_each_format(tmp_path: Path, output: Path, suffix: str) -> None:
    """A share of several files gives a line and a table with column names for each."""
    source = folder_of_files(tmp_path / "in", 50, 7, suffix=suffix)
    files = sorted(map(str, source.iterdir()))
    before = Path.cwd()
    said = batch_driver.run(files)
    assert Path.cwd() == before
    assert [line.partition(" rows")[0] for line in said] == [f"0{suffix}: 50", f"1{suffix}: 7"]
    assert visible(output) == {f"0{suffix}.parquet", f"1{suffix}.parquet"}
    answers = pd.read_parquet(output / f"1{suffix}.parquet").astype({"id": int})
    pd.testing.assert_frame_equal(answers, scored(table(7, 50)), check_dtype=False, rtol=1e-5)


@pytest.mark.usefixtures("driver")
@pytest.mark.parametrize(
    ("keep", "columns"),
    [("", []), ("id", ["id"]), (" c , id ", ["id", "c"]), ("id,*", ["id", *COLUMNS])],
)
@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl"])
def test_what_stands_beside_the_answers(
    tmp_path: Path,
    output: Path,
    monkeypatch: pytest.MonkeyPatch,
    keep: str,
    columns: list[str],
    form: str,
) -> None:
    """Variables of the deployment choose the kept columns and the format of the answers."""
    monkeypatch.setenv("HYBRIDMODEL_BATCH_KEEP", keep)
    monkeypatch.setenv("HYBRIDMODEL_BATCH_FORMAT", form)
    path = write(table(5) if "id" in keep else table(5)[COLUMNS], tmp_path / "x.csv")
    batch_driver.run([str(path)])
    assert list(rows_of(output / f"x.csv.{form}")) == [*columns, "y_0", "y_1"]


@pytest.mark.usefixtures("driver")
def test_a_second_job_passes_over_what_is_done(tmp_path: Path, output: Path) -> None:
    """A finished file is not answered again, wherever the input is mounted by then."""
    first = folder_of_files(tmp_path / "mount1", 70, 3)
    batch_driver.run([str(first / "0.parquet")])
    written = (output / "0.parquet.parquet").stat()
    second = shutil.copytree(first, tmp_path / "mount2" / "in")
    said = batch_driver.run(sorted(map(str, second.iterdir())))
    assert "3 of 3 parts were done before" in said[0]
    assert "0 of 1 parts were done before" in said[1]
    assert (output / "0.parquet.parquet").stat() == written


@pytest.mark.parametrize(("lines", "finished"), [(1, 0), (3, 2)])
def test_killed_and_run_again(
    exported: Path, tmp_path: Path, output: Path, lines: int, finished: int
) -> None:
    """After a kill the next job, on another mount, goes on behind the last whole part."""
    source = folder_of_files(tmp_path / "in", 150)
    script = exported / "batch_code" / "batch_driver.py"

    def job(folder: Path, lines: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", _RUNNER, str(script), str(PART_ROWS), str(lines)]
        return subprocess.run(
            [*command, str(folder / "0.parquet")],
            capture_output=True,
            text=True,
            env=environ(),
            check=False,
            cwd=tmp_path,
        )

    assert job(source, lines).returncode == -signal.SIGKILL
    assert visible(output) == set()
    again = job(shutil.copytree(source, tmp_path / "elsewhere"), 1000)
    assert again.returncode == 0, again.stderr
    assert f"{finished} of 5 parts were done before" in again.stdout
    answers = pd.read_parquet(output / "0.parquet.parquet")
    undisturbed = tmp_path / "undisturbed.parquet"
    predict_files(linear(), source, undisturbed, keep=["id"], keep_input=True)
    pd.testing.assert_frame_equal(answers, pd.read_parquet(undisturbed))


@pytest.mark.usefixtures("driver")
def test_files_of_the_same_name(
    tmp_path: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such files are refused instead of mixed up, and told apart by the folders above them."""
    files = [tmp_path / "in" / f"month={number}" / "data.csv" for number in (1, 2)]
    for number, file in enumerate(files):
        file.parent.mkdir(parents=True)
        write(table(4 + number), file)
    with pytest.raises(ConfigurationError, match=r"data\.csv' had|data\.csv had"):
        batch_driver.run([str(file) for file in files])
    monkeypatch.setenv("HYBRIDMODEL_BATCH_FOLDERS", "1")
    batch_driver.run([str(file) for file in files])
    for number in (0, 1):
        written = pd.read_parquet(output / f"month={number + 1}" / "data.csv.parquet")
        assert len(written) == 4 + number


def test_the_endpoint_answers(
    endpoint_server: EmbeddedServer, tmp_path: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable of the deployment sends all rows to the model's endpoint."""
    endpoint = endpoint_server.endpoint("linear")
    asking = HybridOnnxModel(models.linear(), endpoint=endpoint, feature_names=COLUMNS)
    save_model(asking, tmp_path / "asking")
    monkeypatch.setenv("AZUREML_MODEL_DIR", str(tmp_path))
    monkeypatch.setenv("HYBRIDMODEL_USE_AZURE", "true")
    batch_driver.init()
    (said,) = batch_driver.run([str(write(table(40), tmp_path / "x.csv"))])
    assert "40 rows, 40 of them by the endpoint" in said
    big = HybridOnnxModel(models.linear(seed=7))
    there = big.predict(table(40)[COLUMNS].to_numpy(), use_azure=False)
    answers = pd.read_parquet(output / "x.csv.parquet")[["y_0", "y_1"]]
    np.testing.assert_allclose(answers.to_numpy(), there, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("driver")
def test_a_bad_row_ends_the_job(tmp_path: Path, output: Path) -> None:
    """A file that cannot be answered raises, which `error_threshold: 0` makes the job's failure."""
    (tmp_path / "bad.csv").write_text("id,a,b,c,d\n1,1,2,3,4\n2,1,2,oops,4\n")
    with pytest.raises(InputMismatch, match=r"line 3.*'c'.*oops"):
        batch_driver.run([str(tmp_path / "bad.csv")])
    assert visible(output) == set()
