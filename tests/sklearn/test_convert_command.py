"""``hybridmodel convert``: files of skops become models; what else is in a file is never run."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import zipfile
from functools import partial
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
from click.testing import CliRunner, Result

from hybridmodel import HybridOnnxModel, load_model
from hybridmodel.cli.program import program
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.sklearn.converting import skops_files
from tests.support.zoo import fitted

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write estimators to files of skops, and rows beside them, once."""
    folder = tmp_path_factory.mktemp("made")
    for name in ("logistic", "lda", "sgd_huber", "mixed columns", "lightgbm"):
        skops.io.dump(fitted(name)[0], folder / f"{name.partition(' ')[0]}.skops")
    rows = fitted("logistic")[1].assign(known="yes")
    rows.to_parquet(folder / "rows.parquet")
    rows.to_csv(folder / "rows.csv", index=False)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go to a folder with a copy of these files."""
    monkeypatch.chdir(shutil.copytree(made, tmp_path / "here"))
    return tmp_path / "here"


def run(*words: str, status: int = 0) -> Result:
    """Run the command, and check how it ended."""
    result = CliRunner().invoke(program, ["convert", *words])
    assert result.exit_code == status, result.output
    return result


@pytest.mark.parametrize("rows", ["rows.parquet", "rows.csv"])
def test_an_onnx_file_is_written(folder: Path, rows: str) -> None:
    """It answers as the estimator, and what was proven is told; other columns are left out."""
    estimator, _, fresh = fitted("logistic")
    printed = run("logistic.skops", rows, "-o", "small.onnx").output
    assert "small    LogisticRegression: 240 of 240 rows agree" in printed
    model = HybridOnnxModel("small.onnx", output="label")
    assert model.predict(fresh.to_numpy()).tolist() == estimator.predict(fresh).tolist()


def test_a_saved_model_knows_its_columns(folder: Path) -> None:
    """A folder gets all that `save_model` writes, with the names of features."""
    run("logistic.skops", "rows.parquet", "-o", "model")
    assert load_model("model").feature_names == list("abcd")


def test_texts_are_read_from_a_table(folder: Path) -> None:
    """A pipeline of mixed columns is converted from CSV as it is from a frame."""
    estimator, rows, fresh = fitted("mixed columns")
    rows.to_csv("mixed.csv", index=False)
    run("mixed.skops", "mixed.csv", "-o", "mixed.onnx", "--trust-type", "numpy.dtype")
    model = HybridOnnxModel("mixed.onnx", output="label")
    assert model.predict(fresh).tolist() == estimator.predict(fresh).tolist()


def test_both_sides_are_written(folder: Path) -> None:
    """The big one goes to a file of its own, and both are told as JSON."""
    words = ["--big", "lda.skops", "--big-output", "big.onnx", "--rows", "50", "--json"]
    found = json.loads(run("logistic.skops", "rows.parquet", "-o", "small.onnx", *words).output)
    assert found["same"]
    assert (found["small"]["rows"], found["big"]["rows"]) == (50, 50)
    assert HybridOnnxModel("big.onnx").spec == HybridOnnxModel("small.onnx").spec


def test_what_answers_otherwise_is_not_written(folder: Path) -> None:
    """The status is 1, the rows are told, and there is no file."""
    words = ["sgd_huber.skops", "rows.parquet", "-o", "small.onnx"]
    assert "rows 4, 12, 20" in run(*words, status=1).output
    found = json.loads(run(*words, "--json", status=1).output)
    assert found["agreement"]["positions"][:3] == [4, 12, 20]
    assert not (folder / "small.onnx").exists()


def test_types_that_skops_does_not_trust_are_named(folder: Path) -> None:
    """They are refused by name, and read once each of them is trusted."""
    words = ["lightgbm.skops", "rows.parquet", "-o", "small.onnx"]
    said = run(*words, status=2).stderr
    assert "has types that skops does not trust: " in said
    assert "'lightgbm.sklearn.LGBMClassifier'" in said
    names = skops.io.get_untrusted_types(file=folder / "lightgbm.skops")
    trusting = [word for name in names for word in ("--trust-type", name)]
    assert "LGBMClassifier: 240 of 240" in run(*words, *trusting).output


def test_a_function_in_a_file_is_not_run(folder: Path) -> None:
    """A file that would make a folder when it is read is refused, and makes none."""
    skops.io.dump(partial(print, "run"), "evil.skops")
    schema = json.loads(zipfile.ZipFile("evil.skops").read("schema.json"))
    text = json.dumps(schema).replace('"print"', '"mkdir"').replace('"builtins"', '"os"')
    with zipfile.ZipFile("evil.skops", "w") as archive:
        archive.writestr("schema.json", text.replace("run", "made"))
    said = run("evil.skops", "rows.parquet", "-o", "small.onnx", status=2).stderr
    assert "os.mkdir" in said
    assert not (folder / "made").exists()


def _pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps(fitted("logistic")[0]))


def _damaged(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("schema.json", '{"__class__": 1}')


OTHER_FILES: dict[str, Any] = {
    "a pickle": (_pickled, "is a pickle, which runs code when it is read"),
    "joblib": (lambda path: joblib.dump([1], path, compress=3), "is a pickle, which runs code"),
    "a text": (
        lambda path: path.write_text("hello"),
        "is no file of skops; where the estimator is",
    ),
    "nothing": (lambda path: path.touch(), "is no file of skops"),
    "cut": (lambda path: path.write_bytes(b"PK\x05\x06" + b"\xff" * 18), "skops cannot read it: "),
    "damaged": (_damaged, "skops cannot read it: "),
    "no estimator": (lambda path: skops.io.dump([1], path), "takes fitted estimators"),
}


@pytest.mark.parametrize("name", OTHER_FILES)
def test_other_files_are_refused(folder: Path, name: str) -> None:
    """Each is refused in one line, with what it is and what to do."""
    write, message = OTHER_FILES[name]
    write(folder / "other.skops")
    said = run("other.skops", "rows.parquet", "-o", "small.onnx", status=2).stderr
    assert message in said
    assert said.startswith("Error: ")
    assert said.count("\n") == 1


def test_a_file_that_unpacks_to_too_much_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an archive says of its size is read before the archive is."""
    monkeypatch.setattr(skops_files, "MOST_BYTES", 1000)
    said = run("logistic.skops", "rows.parquet", "-o", "small.onnx", status=2).stderr
    assert "and at most 1000 are read" in said


def test_a_description_of_millions_of_objects_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small archive may hold a long list, of which each item would take memory."""
    monkeypatch.setattr(skops_files, "MOST_DESCRIBED_BYTES", 1000)
    said = run("logistic.skops", "rows.parquet", "-o", "small.onnx", status=2).stderr
    assert "schema.json unpacks to " in said
    assert "and at most 1000 are read" in said


def _with_children(path: Path, child: int) -> None:
    """Let every inner node of the trees in a file lead to one node."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            array = np.load(io.BytesIO(data)) if name.endswith(".npy") else None
            for side in ("left", "right", "left_child", "right_child"):
                if array is not None and side in (array.dtype.names or ()):
                    leaf = array["is_leaf"] != 0 if side in ("left", "right") else array[side] < 0
                    array[side] = np.where(leaf, array[side], child)
            made = io.BytesIO()
            if array is not None:
                np.save(made, array)
            archive.writestr(name, data if array is None else made.getvalue())


@pytest.mark.parametrize("child", [0, 10**8], ids=["a circle", "out of memory"])
@pytest.mark.parametrize("name", ["forest", "boosting", "hist_boosting"])
def test_trees_that_go_nowhere_are_refused(name: str, child: int, tmp_path: Path) -> None:
    """Compiled code would follow them for ever, or out of the process; good ones are read."""
    path = tmp_path / "trees.skops"
    skops.io.dump(fitted(name)[0], path)
    trusted = skops.io.get_untrusted_types(file=path)
    assert hasattr(skops_files.read_skops(path, trusted), "predict")
    _with_children(path, child)
    with pytest.raises(ConfigurationError, match="a tree whose nodes lead back or to none"):
        skops_files.read_skops(path, trusted)


OTHER_WORDS = {
    "big alone": (["-o", "a.onnx", "--big", "lda.skops"], "--big and --big-output belong"),
    "one target": (
        ["-o", "a.onnx", "--big", "lda.skops", "--big-output", "a.onnx"],
        "would overwrite it",
    ),
    "the input": (["-o", "rows.parquet"], "would overwrite it"),
    "no ONNX file": (
        ["-o", "a.onnx", "--big", "lda.skops", "--big-output", "big"],
        "big: is no ONNX file; let its name end in .onnx",
    ),
}


@pytest.mark.parametrize("name", OTHER_WORDS)
def test_targets_are_checked(folder: Path, name: str) -> None:
    """Nothing is written where a target is missing, taken twice, the input, or of another kind."""
    words, message = OTHER_WORDS[name]
    assert message in run("logistic.skops", "rows.parquet", *words, status=2).stderr
    assert not list(folder.glob("*.onnx"))


def test_other_columns_are_refused(folder: Path) -> None:
    """A table without a column of the estimator's is refused, with its name."""
    pd.DataFrame({"a": [1.0], "b": [2.0]}).to_csv("few.csv", index=False)
    said = run("logistic.skops", "few.csv", "-o", "small.onnx", status=2).stderr
    assert "missing 'c', 'd'" in said
