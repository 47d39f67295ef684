"""Save and load without a server: three flavors, nothing that runs, nothing that leaves."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
import onnx
import pandas as pd
import pytest
import yaml
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature
from pandas.testing import assert_frame_equal

import hybridmodel
from hybridmodel import (
    ConfigurationError,
    HybridOnnxModel,
    InputMismatch,
    MissingDependency,
    TritonEndpoint,
    load_model,
    log_model,
    save_model,
)
from tests.support import models
from tests.support.mlflow_tools import COLUMNS, REPOSITORY, python

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hybridmodel.serving import EmbeddedServer

pytestmark = pytest.mark.usefixtures("empty_folder")

NOWHERE = TritonEndpoint(
    uri="http://127.0.0.1:1", model_name="linear", auth_key_env=None, breaker_failures=None
)


def files_in(folder: Path) -> set[str]:
    """List all files below a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_three_flavors_in_one_folder(saved: Path) -> None:
    """The folder holds data only: three flavors, one ONNX file, no pickle and no code."""
    flavors = yaml.safe_load((saved / "MLmodel").read_text())["flavors"]
    assert set(flavors) == {"hybrid_onnx", "onnx", "python_function"}
    assert flavors["python_function"]["loader_module"] == "hybridmodel.flavor"
    assert flavors["hybrid_onnx"]["schema_version"] == 1
    assert files_in(saved) == {
        "MLmodel",
        "conda.yaml",
        "data/hybrid_onnx/hybrid.json",
        "data/hybrid_onnx/model.onnx",
        "input_example.json",
        "python_env.yaml",
        "requirements.txt",
        "serving_input_example.json",
    }


def test_every_loader_gives_the_same_model(saved: Path, frame: pd.DataFrame) -> None:
    """pyfunc, native and onnx loaders find the model that was saved, with its endpoint."""
    loaded, native = mlflow.pyfunc.load_model(str(saved)), load_model(saved)
    expected = HybridOnnxModel(models.linear()).predict(frame)
    assert_frame_equal(loaded.predict(frame), expected)
    assert_frame_equal(native.predict(frame), expected)
    raw = loaded.get_raw_model()
    assert isinstance(raw, HybridOnnxModel)
    assert raw.endpoint == native.endpoint
    assert raw.feature_names == COLUMNS
    assert mlflow.onnx.load_model(str(saved)).SerializeToString() == models.linear()


def test_both_routes_through_pyfunc(
    saved: Path, frame: pd.DataFrame, hybrid: HybridOnnxModel
) -> None:
    """Params choose the route, and the endpoint's numbers come in the local answer's form."""
    loaded = mlflow.pyfunc.load_model(str(saved))
    here = loaded.predict(frame)
    there = loaded.predict(frame, params={"use_azure": True, "timeout": 20})
    assert_frame_equal(there, hybrid.predict(frame, use_azure=True))
    assert not np.allclose(here, there)
    assert (list(there.columns), list(there.index)) == (["y_0", "y_1"], [10, 20, 30])
    assert list(there.dtypes) == list(here.dtypes)


def test_the_file_keeps_its_hash(saved: Path) -> None:
    """The stored ONNX file has the sha256 of the file that was given, twice for the same proto."""
    expected = hashlib.sha256(models.linear()).hexdigest()
    proto = onnx.load_from_string(models.linear())
    for name in ("one", "two"):
        save_model(HybridOnnxModel(proto), name)
        stored = Path(name, "data/hybrid_onnx/model.onnx").read_bytes()
        assert hashlib.sha256(stored).hexdigest() == expected
        assert mlflow.onnx.load_model(name).SerializeToString() == models.linear()
    assert hashlib.sha256((saved / "data/hybrid_onnx/model.onnx").read_bytes()).hexdigest() == (
        expected
    )


def test_external_data_goes_along(tmp_path: Path) -> None:
    """A model with weights in another file is saved with them, for every loader."""
    onnx.save_model(
        onnx.load_from_string(models.linear(64, 64)),
        "big.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    model = HybridOnnxModel("big.onnx")
    X = np.ones((2, 64), np.float32)
    expected = model.predict(X)
    save_model(model, tmp_path / "saved")
    Path("weights.bin").unlink()
    np.testing.assert_array_equal(load_model(tmp_path / "saved").predict(X), expected)
    np.testing.assert_array_equal(
        mlflow.pyfunc.load_model(str(tmp_path / "saved")).predict(X), expected
    )
    assert mlflow.onnx.load_model(str(tmp_path / "saved")).graph.node[0].op_type == "Gemm"
    (tmp_path / "saved/data/hybrid_onnx/weights.bin").unlink()
    with pytest.raises(MlflowException, match=r"weights\.bin' is missing") as caught:
        mlflow.pyfunc.load_model(str(tmp_path / "saved"))
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"


@pytest.mark.parametrize("uri", [str, Path, Path.as_uri])
def test_native_load_takes_paths_and_uris(saved: Path, uri: Any, frame: pd.DataFrame) -> None:
    """A folder can be given as text, as a path, or as a file URI."""
    assert load_model(uri(saved)).predict(frame).shape == (3, 2)


def test_native_load_to_a_folder(saved: Path, tmp_path: Path) -> None:
    """With dst_path the files are there, and the model is read from there."""
    (tmp_path / "here").mkdir()
    model = load_model(str(saved), dst_path=str(tmp_path / "here"))
    assert model.onnx.path is not None
    assert tmp_path / "here" in model.onnx.path.parents


def test_loading_something_else(tmp_path: Path) -> None:
    """A folder that is no hybrid model is an error that says so."""
    with pytest.raises(ConfigurationError, match="not a hybrid model"):
        load_model(tmp_path)


def test_without_mlflow(saved: Path, frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder is loaded; whatever needs MLflow says so, and what to install."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "mlflow"]:
        monkeypatch.setitem(sys.modules, name, None)
    model = load_model(saved)
    assert model.predict(frame).shape == (3, 2)
    needs = "needs mlflow, which is not installed: pip install hybridmodel"
    with pytest.raises(MissingDependency, match=f"saving a model {needs}"):
        save_model(model, "again")
    with pytest.raises(MissingDependency, match=f"logging a model {needs}"):
        log_model(model)
    with pytest.raises(MissingDependency, match=f"a model that is not a folder {needs}"):
        load_model("models:/digits/1")


# What saving does, and does not do.


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Record and refuse every connection and every process that is started from Python."""
    seen: list[str] = []

    def refuse(what: str) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            seen.append(f"{what}{args[1:2]}")
            raise ConnectionRefusedError(seen[-1])

        return call

    monkeypatch.setattr(socket.socket, "connect", refuse("connect"))
    monkeypatch.setattr(socket.socket, "connect_ex", refuse("connect_ex"))
    monkeypatch.setattr(subprocess.Popen, "__init__", refuse("Popen"))
    return seen


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"signature": "params"},
        {"pip_requirements": ["numpy"]},
        {"extra_pip_requirements": ["scipy"]},
        {"params": {"use_azure": False, "output": "y"}},
    ],
)
def test_saving_stays_here(
    watched: list[str], frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, options: Any
) -> None:
    """Saving with an example opens no connection and starts no process, whatever the defaults say.

    The model was made for the endpoint, and the environment says the endpoint too.
    """
    monkeypatch.setenv("HYBRIDMODEL_USE_AZURE", "1")
    model = HybridOnnxModel(models.linear(), endpoint=NOWHERE, use_azure=True)
    params = options.pop("params", None)
    save_model(model, "saved", input_example=(frame, params) if params else frame, **options)
    assert watched == []
    with pytest.raises(hybridmodel.EndpointUnavailable):
        load_model("saved").predict(frame)
    assert watched != []


def test_what_cannot_be_predicted_is_not_saved(frame: pd.DataFrame) -> None:
    """An example that does not fit, or asks for the endpoint, fails before anything is written."""
    model = HybridOnnxModel(models.linear(), endpoint=NOWHERE)
    with pytest.raises(InputMismatch, match="3 rows and 3 columns"):
        save_model(model, "saved", input_example=frame[["a", "b", "c"]])
    with pytest.raises(ConfigurationError, match="asks for the endpoint"):
        save_model(model, "saved", input_example=(frame, {"use_azure": True}))
    with pytest.raises(ConfigurationError, match="no output 'z'"):
        save_model(model, "saved", input_example=(frame, {"output": "z"}))
    assert not Path("saved").exists()


@pytest.mark.filterwarnings("ignore:.*ScandirIterator")  # MLflow's own.
def test_a_folder_with_something_in_it_is_refused() -> None:
    """Nothing is overwritten."""
    Path("saved").mkdir()
    Path("saved/other").touch()
    with pytest.raises(MlflowException, match="already exists and is not empty"):
        save_model(HybridOnnxModel(models.linear()), "saved")


def test_an_example_must_fit_the_given_signature(frame: pd.DataFrame) -> None:
    """MLflow compares the example with the signature that the user gives."""
    signature = infer_signature(frame.rename(columns={"a": "z"}))
    with pytest.raises(MlflowException, match="does not match the model signature"):
        save_model(
            HybridOnnxModel(models.linear()), "saved", signature=signature, input_example=frame
        )


@pytest.mark.parametrize(
    "example", [[[1.0, 2.0, 3.0, 4.0]], np.ones((1, 4)), {"x": np.ones((1, 4), np.float32)}]
)
def test_other_kinds_of_examples(example: Any) -> None:
    """A list, an array and a dict of arrays are saved, and what they show can be asked."""
    save_model(HybridOnnxModel(models.linear()), "saved", input_example=example)
    loaded = mlflow.pyfunc.load_model("saved")
    assert loaded.predict(loaded.input_example).shape == (1, 2)


def test_metadata_goes_through() -> None:
    """MLflow's own options reach the MLmodel file."""
    save_model(HybridOnnxModel(models.linear()), "saved", metadata={"team": "digits"})
    assert mlflow.pyfunc.load_model("saved").metadata.metadata == {"team": "digits"}


@pytest.fixture
def uv_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder that is a uv project."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "uv.lock").write_text('version = 1\n[[package]]\nname = "private-thing"\n')
    (folder / "pyproject.toml").write_text('[project]\nname = "private-project"\nversion = "1"\n')
    (folder / ".python-version").write_text("3.11\n")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.usefixtures("uv_project")
def test_the_current_project_is_not_copied(tmp_path: Path) -> None:
    """A uv project in the current folder leaves no trace in the model, unlike MLflow's default."""
    save_model(HybridOnnxModel(models.linear()), tmp_path / "saved")
    assert not {"uv.lock", "pyproject.toml", ".python-version"} & files_in(tmp_path / "saved")
    texts = [path.read_bytes() for path in (tmp_path / "saved").rglob("*") if path.is_file()]
    assert not any(b"private" in text for text in texts)


@pytest.mark.usefixtures("uv_project")
def test_two_threads_can_save_at_once(tmp_path: Path) -> None:
    """Saving changes nothing that the process shares, such as the environment."""
    before, together = dict(os.environ), threading.Barrier(4)

    def save(number: int) -> set[str]:
        together.wait()
        save_model(HybridOnnxModel(models.linear()), tmp_path / str(number))
        return files_in(tmp_path / str(number))

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(save, range(4)))
    assert dict(os.environ) == before
    assert all("uv.lock" not in files for files in found)


# Loading.


def test_native_load_runs_no_code_of_the_model(saved: Path, tmp_path: Path) -> None:
    """It imports no mlflow.pyfunc, adds nothing to sys.path, and works with code switched off."""
    shutil.copytree(REPOSITORY / "hybridmodel", tmp_path / "src/hybridmodel")
    save_model(
        HybridOnnxModel(models.linear()),
        "with_code",
        code_paths=[str(tmp_path / "src/hybridmodel")],
    )
    code = """
import sys
before = list(sys.path)
import hybridmodel
for path in sys.argv[1:]:
    model = hybridmodel.load_model(path)
    model.predict([[1, 2, 3, 4]])
print(sys.path == before, [m for m in sys.modules if m.split(".")[0] in ("mlflow", "pandas")])
"""
    folders = [str(saved), str(tmp_path / "with_code")]
    switches = {
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_ALLOW_MODEL_CODE_EXECUTION": "false",
    }
    assert python(code, tmp_path, *folders, **switches) == "True []"
    code = code.replace("path in sys.argv[1:]", "path in map('file://{}'.format, sys.argv[1:])")
    code = code.replace('.split(".")[0] in ("mlflow", "pandas")', ' == "mlflow.pyfunc"')
    assert python(code, tmp_path, *folders, **switches) == "True []"


def test_pyfunc_load_without_pickle(
    saved: Path, frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow's switch against pickles does not concern this model, which has none."""
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    assert mlflow.pyfunc.load_model(str(saved)).predict(frame).shape == (3, 2)


def test_model_config_at_load(saved: Path, frame: pd.DataFrame, hybrid: HybridOnnxModel) -> None:
    """Both loaders take model_config, which decides where the call does not say."""
    there = hybrid.predict(frame, use_azure=True)
    config = {"use_azure": True, "timeout_s": 20.0}
    assert_frame_equal(load_model(saved, model_config=config).predict(frame), there)
    loaded = mlflow.pyfunc.load_model(str(saved), model_config=config)
    assert_frame_equal(loaded.predict(frame), there)
    here = loaded.predict(frame, params={"use_azure": False})
    assert_frame_equal(here, hybrid.predict(frame, use_azure=False))


def test_mlflow_s_variable_for_model_config(
    saved: Path, frame: pd.DataFrame, hybrid: HybridOnnxModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLFLOW_PYFUNC_INFERENCE_CONFIG says the same for pyfunc, as JSON."""
    monkeypatch.setenv("MLFLOW_PYFUNC_INFERENCE_CONFIG", '{"use_azure": true}')
    there = hybrid.predict(frame, use_azure=True)
    assert_frame_equal(mlflow.pyfunc.load_model(str(saved)).predict(frame), there)


def test_undeclared_model_config(saved: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A key that is none is an error natively; MLflow drops it with a warning before we see it."""
    with pytest.raises(ConfigurationError, match="no key 'use_azur'"):
        load_model(saved, model_config={"use_azur": True})
    logging.getLogger("mlflow").addHandler(caplog.handler)
    try:
        loaded = mlflow.pyfunc.load_model(str(saved), model_config={"use_azur": True})
    finally:
        logging.getLogger("mlflow").removeHandler(caplog.handler)
    assert loaded.get_raw_model().policies.configured is None
    assert "use_azur" in caplog.text


SAYS = ("params", "config", "environment", "saved")


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("first", range(5))
@pytest.mark.parametrize("value", [True, False])
def test_precedence(
    endpoint_server: EmbeddedServer,
    frame: pd.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
    native: bool,
    first: int,
    value: bool,
) -> None:
    """The first that speaks decides, against all that come after it; if none does, it is local."""
    said: dict[str, Any] = dict.fromkeys(SAYS)
    said.update(dict.fromkeys(SAYS[first + 1 :], not value))
    if first < len(SAYS):
        said[SAYS[first]] = value
    endpoint = endpoint_server.endpoint("linear")
    save_model(
        HybridOnnxModel(models.linear(), endpoint=endpoint, use_azure=said["saved"]), "saved"
    )
    if said["environment"] is not None:
        monkeypatch.setenv("HYBRIDMODEL_USE_AZURE", str(said["environment"]).lower())
    config = None if said["config"] is None else {"use_azure": said["config"]}
    if native:
        model = load_model("saved", model_config=config)
        result = model.predict(frame, use_azure=said["params"])
    else:
        params = None if said["params"] is None else {"use_azure": said["params"]}
        loaded = mlflow.pyfunc.load_model("saved", model_config=config)
        result = loaded.predict(frame, params=params)
    remote = value if first < len(SAYS) else False
    expected = HybridOnnxModel(models.linear(seed=7 if remote else 0))
    assert_frame_equal(result, expected.predict(frame, use_azure=False))


def test_damage_reaches_pyfunc_as_mlflow_exception(saved: Path) -> None:
    """A changed file or a later schema is an MlflowException with our message."""
    description = saved / "data/hybrid_onnx/hybrid.json"
    text = description.read_text()
    description.write_text(text.replace('"schema_version": 1', '"schema_version": 9'))
    with pytest.raises(MlflowException, match="install hybridmodel>="):
        mlflow.pyfunc.load_model(str(saved))
    description.write_text(text)
    (saved / "data/hybrid_onnx/model.onnx").write_bytes(models.linear(seed=1))
    with pytest.raises(MlflowException, match="is not the file that was saved"):
        mlflow.pyfunc.load_model(str(saved))
