"""The saved model in an export: whole, and able to run in an environment made from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import hybridmodel
from hybridmodel import HybridOnnxModel, load_model, save_model
from hybridmodel.deploy.azure import Wanted, bundle, write_hybrid
from hybridmodel.exceptions import ConfigurationError
from tests.support import models
from tests.support.azure_exports import COLUMNS, read, save
from tests.support.mlflow_tools import python

PACKAGE = Path(hybridmodel.__file__).parent
ROWS = np.arange(8, dtype=np.float32).reshape(2, 4)

_SERVED = """
import sys
import mlflow.pyfunc
model = mlflow.pyfunc.load_model(sys.argv[1])
import hybridmodel
print(hybridmodel.__file__)
print(model.predict({"x": [[1.0, 2.0, 3.0, 4.0]]}, params={"output": "y"}).shape)
"""


def written(model: str, folder: Path, *, scripted: bool = False) -> Path:
    """Export a hybrid model."""
    write_hybrid(model, folder, Wanted(endpoint="digits-ep"), scripted=scripted)
    return folder


def pip_of(conda: Path) -> list[str]:
    """Return the requirements in an environment of conda."""
    (found,) = [item for item in read(conda)["dependencies"] if isinstance(item, dict)]
    listed: list[str] = found["pip"]
    return listed


def as_release(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pip find hybridmodel by its version."""
    monkeypatch.setattr(bundle, "is_release", lambda: True)
    monkeypatch.setattr(bundle, "package_version", lambda: "7.1")


def test_azures_own_program_finds_the_package(tmp_path: Path) -> None:
    """MLflow alone loads the exported model, with the hybridmodel that the model brings."""
    out = written(str(save(tmp_path / "saved")), tmp_path / "out")
    where, shape = python(_SERVED, tmp_path, str(out / "model"), PYTHONPATH="").splitlines()
    assert where == str(out / "model" / "code" / "hybridmodel" / "__init__.py")
    assert shape == "(1, 2)"


def test_a_copy_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hybridmodel that is no release travels along, with its requirements and without caches."""
    monkeypatch.setattr(bundle, "needs_of_package", lambda: ["MLflow<4", "pyarrow>=15", "tqdm"])
    out = written(str(save(tmp_path / "saved")), tmp_path / "out")
    for copy in (out / "model" / "code" / "hybridmodel", out / "batch_code" / "hybridmodel"):
        ours = {path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py")}
        assert {path.relative_to(copy) for path in copy.rglob("*.py")} == ours
        assert not list(copy.rglob("__pycache__"))
    for conda in (out / "conda.yaml", out / "model" / "conda.yaml"):
        listed = [bundle.distribution(line) for line in pip_of(conda)]
        assert {"mlflow", "onnxruntime", "pyarrow", "tqdm"} <= set(listed)
        assert len(listed) == len(set(listed))
        assert "hybridmodel" not in listed


@pytest.mark.parametrize(
    ("scripted", "needed"), [(True, "azureml-inference-server-http"), (False, "azureml-core")]
)
def test_what_the_programs_need(tmp_path: Path, scripted: bool, needed: str) -> None:
    """The environment beside the model has the package of Azure's that the program imports."""
    out = written(str(save(tmp_path / "saved")), tmp_path / "out", scripted=scripted)
    assert needed in pip_of(out / "conda.yaml")


def test_requirements_of_the_package() -> None:
    """What hybridmodel itself needs is known, without what only its extras need."""
    listed = [bundle.distribution(line) for line in bundle.needs_of_package()]
    assert {"mlflow", "onnxruntime", "numpy"} <= set(listed)
    assert "ruff" not in listed


def test_a_release_is_a_requirement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A released hybridmodel is named with its version, and not copied."""
    saved = save(tmp_path / "saved")
    as_release(monkeypatch)
    out = written(str(saved), tmp_path / "out")
    assert not (out / "model" / "code").exists()
    assert not (out / "batch_code" / "hybridmodel").exists()
    assert "hybridmodel==7.1" in pip_of(out / "conda.yaml")
    assert "hybridmodel==7.1" in pip_of(out / "model" / "conda.yaml")
    assert "hybridmodel==7.1" in (out / "model" / "requirements.txt").read_text().splitlines()


def test_what_a_model_brings_stays(tmp_path: Path) -> None:
    """A model that says itself where hybridmodel comes from is copied as it is."""
    saved = tmp_path / "saved"
    where = "hybridmodel @ https://example.com/hybridmodel-1.0-py3-none-any.whl"
    save_model(HybridOnnxModel(models.linear()), saved, pip_requirements=["mlflow", where])
    out = written(str(saved), tmp_path / "out")
    for path in saved.rglob("*"):
        if path.is_file():
            assert (out / "model" / path.relative_to(saved)).read_bytes() == path.read_bytes()
    assert not (out / "model" / "code").exists()


@pytest.mark.parametrize("form", ["folder", "onnx", "address"])
def test_where_the_model_comes_from(
    tmp_path: Path, form: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A folder, an ONNX file and what MLflow has to fetch become the same model."""
    if form == "onnx":
        (tmp_path / "linear.onnx").write_bytes(models.linear())
        uri = str(tmp_path / "linear.onnx")
    else:
        saved = save(tmp_path / "saved")
        uri = str(saved) if form == "folder" else saved.as_uri()
    caplog.clear()
    out = written(uri, tmp_path / "out")
    # Such a model gets the package from the export.
    assert "not a released version" not in caplog.text
    expected = HybridOnnxModel(models.linear(), feature_names=COLUMNS).predict(ROWS)
    np.testing.assert_array_equal(load_model(out / "model").predict(ROWS), expected)
    assert {path.name for path in out.iterdir() if path.name.startswith(".")} == set()


@pytest.mark.parametrize(
    "text",
    [
        "a: [",
        "- a\n",
        "dependencies: mlflow\n",
        "[" * 2_000,
        "dependencies: [{pip: [[a]]}]\n",
        "# " + "a" * (1 << 20),
        None,
    ],
    ids=["no end", "a list", "no list", "deep", "nested", "large", "missing"],
)
def test_an_environment_that_cannot_be_read(tmp_path: Path, text: str | None) -> None:
    """A model without a readable conda.yaml is refused by name, and nothing is written."""
    conda = save(tmp_path / "saved") / "conda.yaml"
    conda.unlink()
    if text is not None:
        conda.write_text(text)
    with pytest.raises(ConfigurationError, match=r"conda\.yaml"):
        written(str(tmp_path / "saved"), tmp_path / "out", scripted=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["", "a: [", "flavors: {}\n", "flavors: [1]\n"])
def test_an_mlmodel_that_cannot_be_read(tmp_path: Path, text: str) -> None:
    """A model that MLflow could not serve is refused by the file's name."""
    (save(tmp_path / "saved") / "MLmodel").write_text(text)
    with pytest.raises(ConfigurationError, match="MLmodel: does not describe"):
        written(str(tmp_path / "saved"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
