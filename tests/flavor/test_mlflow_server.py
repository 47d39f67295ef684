"""Log, register and load through real tracking servers over HTTP: MLflow 3, and MLflow 2.

Slow: each server takes seconds to start; the one of MLflow 2 a minute more, when its environment
is made for the first time.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import pytest
import yaml
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from pandas.testing import assert_frame_equal

import hybridmodel.flavor
from hybridmodel import ConfigurationError, HybridOnnxModel, load_model, log_model
from tests.support import models
from tests.support.mlflow_tools import COLUMNS, Process

if TYPE_CHECKING:
    import pandas as pd

    from hybridmodel.serving import EmbeddedServer


@pytest.fixture
def hybrid(endpoint_server: EmbeddedServer) -> HybridOnnxModel:
    """Make a model whose endpoint serves another model of the same inputs and outputs."""
    return HybridOnnxModel(models.linear(), endpoint=endpoint_server.endpoint("linear"))


def unique(request: pytest.FixtureRequest) -> str:
    """Name a registered model after the test that makes it."""
    return request.node.name.replace("[", "_").replace("]", "")


def assert_loads(uri: str, frame: pd.DataFrame, seed: int = 0) -> None:
    """Check that all three loaders find the model, and both routes answer."""
    here, there = HybridOnnxModel(models.linear(seed=seed)), HybridOnnxModel(models.linear(seed=7))
    loaded, native = mlflow.pyfunc.load_model(uri), load_model(uri)
    assert_frame_equal(loaded.predict(frame), here.predict(frame))
    assert_frame_equal(native.predict(frame), here.predict(frame))
    params = {"use_azure": True}
    assert_frame_equal(loaded.predict(frame, params=params), there.predict(frame))
    assert_frame_equal(native.predict(frame, use_azure=True), there.predict(frame))
    assert mlflow.onnx.load_model(uri).SerializeToString() == models.linear(seed=seed)


def test_a_registered_model(
    tracking: Process, hybrid: HybridOnnxModel, frame: pd.DataFrame, request: Any
) -> None:
    """One call logs and registers; the model loads by its own URI, by version, alias and run."""
    name = unique(request)
    with mlflow.start_run() as run:
        info = log_model(hybrid, "digits", registered_model_name=name, input_example=frame.head(2))
    assert int(info.registered_model_version) == 1
    assert info.model_uri == f"models:/{info.model_id}"
    assert info.signature is not None
    assert set(info.flavors) == {"hybrid_onnx", "onnx", "python_function"}
    mlflow.MlflowClient().set_registered_model_alias(name, "champion", 1)
    for uri in (info.model_uri, f"models:/{name}/1", f"models:/{name}@champion"):
        assert_loads(uri, frame)
    assert_loads(f"runs:/{run.info.run_id}/digits", frame)


def test_the_stored_file_is_the_given_file(tracking: Process, tmp_path: Path) -> None:
    """What the server stores has the sha256 of the original."""
    Path("original.onnx").write_bytes(models.linear())
    info = log_model(HybridOnnxModel("original.onnx"), "digits")
    folder = mlflow.artifacts.download_artifacts(info.model_uri, dst_path=str(tmp_path))
    stored = Path(folder, "data/hybrid_onnx/model.onnx").read_bytes()
    assert hashlib.sha256(stored).digest() == hashlib.sha256(models.linear()).digest()


def test_versions(
    tracking: Process,
    hybrid: HybridOnnxModel,
    frame: pd.DataFrame,
    request: Any,
) -> None:
    """A second model under the same name is version 2, and an alias moves to it."""
    name = unique(request)
    for version, seed in ((1, 0), (2, 5)):
        model = HybridOnnxModel(models.linear(seed=seed), endpoint=hybrid.endpoint)
        info = log_model(model, "digits", registered_model_name=name)
        assert int(info.registered_model_version) == version
        mlflow.MlflowClient().set_registered_model_alias(name, "champion", version)
        assert_loads(f"models:/{name}@champion", frame, seed)
    assert_loads(f"models:/{name}/1", frame)


def test_options_reach_the_logged_model(tracking: Process, request: Any) -> None:
    """Params, tags, type, step and run belong to the logged model, as for every flavor."""
    with mlflow.start_run() as run:
        pass
    info = log_model(
        HybridOnnxModel(models.linear()),
        name="digits",
        registered_model_name=unique(request),
        await_registration_for=0,
        params={"seed": 0},
        tags={"team": "vision"},
        model_type="classifier",
        step=3,
        run_id=run.info.run_id,
        metadata={"answer": 42},
    )
    logged = mlflow.get_logged_model(info.model_id)
    assert (logged.params["seed"], logged.model_type) == ("0", "classifier")
    assert logged.tags["team"] == "vision"
    assert logged.source_run_id == run.info.run_id
    assert mlflow.get_run(run.info.run_id).outputs.model_outputs[0].step == 3
    assert info.metadata == {"answer": 42}


def test_no_run_is_needed(tracking: Process) -> None:
    """Without an active run none is made, as MLflow 3 does it, and a name is not needed."""
    info = log_model(HybridOnnxModel(models.linear()))
    assert info.run_id is None
    assert mlflow.active_run() is None
    assert load_model(info.model_uri).spec == HybridOnnxModel(models.linear()).spec


def test_logging_calls_no_endpoint(
    tracking: Process, frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """MLflow tries the example on the model that it logs; that stays on the local route.

    Model and environment ask for an endpoint that cannot be reached, so that a call would fail.
    """
    from hybridmodel import EndpointUnavailable, TritonEndpoint

    monkeypatch.setenv("HYBRIDMODEL_USE_AZURE", "1")
    nowhere = TritonEndpoint(uri="http://127.0.0.1:1", model_name="x", auth_key_env=None)
    model = HybridOnnxModel(models.linear(), endpoint=nowhere, use_azure=True)
    info = log_model(model, "digits", input_example=(frame, {"timeout": 3.0}))
    assert "Failed to validate serving input example" not in caplog.text
    with pytest.raises(EndpointUnavailable):
        load_model(info.model_uri).predict(frame)


def test_logging_leaves_the_project_and_the_environment_alone(tracking: Process) -> None:
    """A uv project in the current folder is not logged, and no variable is changed."""
    Path("uv.lock").write_text("version = 1\n")
    Path("pyproject.toml").write_text("[project]\n")
    before = dict(os.environ)
    info = log_model(HybridOnnxModel(models.linear()), "digits")
    assert dict(os.environ) == before
    files = mlflow.artifacts.list_artifacts(artifact_uri=info.model_uri)
    assert not {"uv.lock", "pyproject.toml"} & {Path(file.path).name for file in files}


def test_a_signature_that_registries_demand(
    tracking: Process, frame: pd.DataFrame, request: Any
) -> None:
    """With an example, the registered version has inputs and outputs, as Unity Catalog demands."""
    name = unique(request)
    log_model(
        HybridOnnxModel(models.linear()), registered_model_name=name, input_example=frame.head(1)
    )
    signature = mlflow.models.get_model_info(f"models:/{name}/1").signature
    assert signature.inputs.input_names() == COLUMNS
    assert signature.outputs is not None


def test_mistakes_are_not_taken_for_an_old_server(tracking: Process, frame: pd.DataFrame) -> None:
    """An error of the server or of ours is passed on, and nothing else is tried."""
    model = HybridOnnxModel(models.linear())
    with pytest.raises(MlflowException) as caught:
        log_model(model, "digits", run_id="0" * 32)
    assert caught.value.error_code == "RESOURCE_DOES_NOT_EXIST"
    with pytest.raises(ConfigurationError, match="asks for the endpoint"):
        log_model(model, "digits", input_example=(frame, {"use_azure": 1}))
    with pytest.raises(TypeError, match="exampel"):
        log_model(model, "digits", exampel=frame)


def test_any_mlflow_tool_can_log_the_flavor(tracking: Process, frame: pd.DataFrame) -> None:
    """The module keeps to the conventions of a flavor, so that Model.log takes it as one."""
    info = Model.log(
        artifact_path=None,
        name="digits",
        flavor=hybridmodel.flavor,
        model=HybridOnnxModel(models.linear()),
        input_example=frame,
    )
    assert mlflow.pyfunc.load_model(info.model_uri).predict(frame).shape == (3, 2)


def test_a_server_without_logged_models(
    old_tracking: Process, hybrid: HybridOnnxModel, frame: pd.DataFrame, request: Any
) -> None:
    """There the model becomes artifacts of the active run and a registered version, and loads."""
    name = unique(request)
    with mlflow.start_run() as run:
        info = log_model(
            hybrid,
            "digits",
            registered_model_name=name,
            input_example=frame.head(2),
            tags={"team": "vision"},
            await_registration_for=5,
            params={"seed": 0},
            metadata={"answer": 42},
        )
        assert mlflow.active_run().info.run_id == run.info.run_id
    assert info.model_uri == f"runs:/{run.info.run_id}/digits"
    assert (info.run_id, info.artifact_path) == (run.info.run_id, "digits")
    assert (int(info.registered_model_version), info.metadata) == (1, {"answer": 42})
    client = mlflow.MlflowClient()
    assert client.get_model_version(name, "1").tags["team"] == "vision"
    client.set_registered_model_alias(name, "champion", "1")
    for uri in (info.model_uri, f"models:/{name}/1", f"models:/{name}@champion"):
        assert_loads(uri, frame)


def test_a_server_without_logged_models_and_no_run(old_tracking: Process) -> None:
    """Without an active run one is made and ended, and the name has a default."""
    info = log_model(HybridOnnxModel(models.linear()))
    assert mlflow.active_run() is None
    assert mlflow.get_run(info.run_id).info.status == "FINISHED"
    assert info.model_uri == f"runs:/{info.run_id}/model"
    folder = mlflow.artifacts.download_artifacts(info.model_uri)
    assert yaml.safe_load(Path(folder, "MLmodel").read_text())["run_id"] == info.run_id


def test_a_server_without_logged_models_and_another_run(old_tracking: Process) -> None:
    """The run that is named gets the model, and options that nobody knows are still errors."""
    with mlflow.start_run() as run:
        pass
    model = HybridOnnxModel(models.linear())
    info = log_model(model, "digits", run_id=run.info.run_id)
    assert (info.run_id, mlflow.active_run()) == (run.info.run_id, None)
    assert load_model(info.model_uri).spec == model.spec
    with pytest.raises(TypeError, match="exampel"):
        log_model(model, "digits", run_id=run.info.run_id, exampel=1)
