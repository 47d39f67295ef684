"""Where MLflow sets traps for a flavor: params, tables of any kind, copies, evaluation, tools."""

from __future__ import annotations

import copy
import json
import logging
import multiprocessing
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.environment_variables import MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT
from mlflow.exceptions import MlflowException
from mlflow.models import Model, infer_signature
from pandas.testing import assert_frame_equal

import hybridmodel.flavor
from hybridmodel import (
    AuthenticationFailed,
    ConfigurationError,
    HybridOnnxModel,
    TritonEndpoint,
    load_model,
    log_model,
    save_model,
)
from hybridmodel.flavor.signatures import PARAMS
from tests.support import models
from tests.support.child_process import predict_remotely
from tests.support.mlflow_tools import COLUMNS, Process

if TYPE_CHECKING:
    from hybridmodel.serving import EmbeddedServer

X = pd.DataFrame(np.arange(12, dtype=float).reshape(3, 4) / 8, columns=COLUMNS)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def saved(server: EmbeddedServer, name: str, signature: Any = "params", **options: Any) -> Any:
    """Save a model whose endpoint serves the same model, and load it with MLflow."""
    endpoint = server.endpoint("same" if name == "linear" else name)
    model = HybridOnnxModel(models.served()[name], endpoint=endpoint)
    save_model(model, name, signature=signature, **options)
    return mlflow.pyfunc.load_model(name)


@pytest.fixture(scope="module")
def same_server() -> Any:
    """Serve the very models that are saved, so that both routes must agree to the last bit."""
    from hybridmodel.serving import serve

    with serve({**models.served(), "same": models.linear()}) as server:
        yield server


# Params.


@pytest.mark.parametrize(
    ("params", "remote"),
    [
        (None, False),
        ({}, False),
        ({"use_azure": None}, False),
        ({"use_azure": False}, False),
        ({"use_azure": True}, True),
        ({"use_azure": np.True_}, True),
        ({"use_azure": True, "timeout": 30}, True),
        ({"use_azure": True, "timeout": None, "output": "y"}, True),
    ],
)
def test_params(endpoint_server: EmbeddedServer, params: Any, remote: bool) -> None:
    """These params choose this route; None is the same as saying nothing."""
    model = HybridOnnxModel(models.linear(), endpoint=endpoint_server.endpoint("linear"))
    save_model(model, "saved")
    answer = mlflow.pyfunc.load_model("saved").predict(X, params=params)
    expected = HybridOnnxModel(models.linear(seed=7 if remote else 0)).predict(X)
    assert_frame_equal(answer, expected)


@pytest.mark.parametrize("params", [{"use_azur": True}, {"auth_key": "value"}])
def test_a_misspelt_param_is_a_warning(
    same_server: EmbeddedServer, params: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """MLflow drops it before we see it, and says so in its log; the value is not shown."""
    loaded = saved(same_server, "linear")
    logger = logging.getLogger("mlflow")
    logger.addHandler(caplog.handler)
    try:
        assert_frame_equal(loaded.predict(X, params=params), loaded.predict(X))
    finally:
        logger.removeHandler(caplog.handler)
    assert f"Unrecognized params {list(params)}" in caplog.text
    assert "value" not in caplog.text


@pytest.mark.parametrize("value", [1, 0, "true", "1", "yes", 1.0])
def test_mlflow_wants_a_boolean(same_server: EmbeddedServer, value: Any) -> None:
    """MLflow refuses what is no bool for ``use_azure``; the native call takes 1 and "true"."""
    loaded = saved(same_server, "linear")
    with pytest.raises(MlflowException, match="Invalid parameters found") as caught:
        loaded.predict(X, params={"use_azure": value})
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"


def test_params_need_a_schema() -> None:
    """Without one MLflow would drop all params: every signature that we save has one."""
    for number, signature in enumerate((None, "params", infer_signature(X))):
        save_model(HybridOnnxModel(models.linear()), str(number), signature=signature)
        schema = Model.load(str(number)).signature.params
        assert {spec.name for spec in schema.params} == {name for name, _ in PARAMS}


def test_an_example_of_params_is_kept(same_server: EmbeddedServer) -> None:
    """The harmless params of an example are saved with it, for tools that show them."""
    loaded = saved(same_server, "linear", input_example=(X, {"use_azure": False, "timeout": 3.0}))
    assert loaded.predict(X).shape == (3, 2)
    stored = json.loads(Path("linear/serving_input_example.json").read_text())
    assert stored["params"] == {"use_azure": False, "timeout": 3.0}


# Tables of any kind.

INTEGERS = pd.DataFrame(np.arange(12).reshape(3, 4), columns=COLUMNS)
FRAMES: dict[str, Any] = {
    "float64": X,
    "float32": X.astype("float32"),
    "float16": X.astype("float16"),
    "int64": INTEGERS,
    "zeros and ones": INTEGERS % 2,
    "nullable": INTEGERS.astype("Int64"),
    "nullable float with NA": X.astype("Float64").mask(X > 1),
    "bool": INTEGERS > 3,
    "mixed": X.assign(a=INTEGERS["a"], b=True),
    "arrow": X.astype("float64[pyarrow]"),
    "reordered": X[COLUMNS[::-1]],
    "another index": X.set_axis(["p", "q", "r"]),
    "twice the same index": X.set_axis([5, 5, 5]),
    "no rows": X.head(0),
    "one row": X.tail(1),
    "not contiguous": pd.concat([X, X], axis=1).iloc[::2, :4],
}
BAD_FRAMES: dict[str, Any] = {
    "missing column": (X[["a", "b"]], "missing 'c', 'd'"),
    "extra column": (X.assign(e=1.0), "unexpected 'e'"),
    "strings": (X.astype({"a": object}).assign(a="x"), "column 'a'"),
    "categories": (X.assign(a=pd.Categorical(["x", "y", "z"])), "column 'a'.*category"),
    "objects": (X.assign(a=[object(), 1, 2]), "column 'a'"),
    "dates": (X.assign(a=pd.Timestamp("2026-01-01")), "column 'a'"),
    "complex": (X.assign(a=1j), "column 'a'"),
}


@pytest.mark.parametrize("kind", FRAMES)
def test_frames_on_both_routes(same_server: EmbeddedServer, kind: str) -> None:
    """Whatever holds numbers is understood, on both routes alike to the last bit and label."""
    given = FRAMES[kind]
    before = given.copy(deep=True)
    loaded = saved(same_server, "linear", input_example=X)
    here = loaded.predict(given)
    there = loaded.predict(given, params={"use_azure": True})
    assert_frame_equal(here, there)
    assert list(here.index) == list(given.index)
    expected = HybridOnnxModel(models.linear()).predict(
        given[COLUMNS].astype("float64").to_numpy(na_value=np.nan)
    )
    np.testing.assert_array_equal(here.to_numpy(), expected)
    assert_frame_equal(given, before)


@pytest.mark.parametrize("kind", BAD_FRAMES)
@pytest.mark.parametrize("remote", [False, True])
def test_bad_frames_on_both_routes(same_server: EmbeddedServer, kind: str, remote: bool) -> None:
    """What is no number, or not these columns, is the same error on both routes, and names it."""
    loaded = saved(same_server, "linear", input_example=X)
    given, message = BAD_FRAMES[kind]
    with pytest.raises(MlflowException, match=message) as caught:
        loaded.predict(given, params={"use_azure": remote})
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"


def test_columns_are_reordered_for_every_signature(same_server: EmbeddedServer) -> None:
    """A signature with columns and one without treat a reordered frame the same."""
    expected = HybridOnnxModel(models.linear()).predict(X)
    for signature in (None, "params"):
        model = HybridOnnxModel(models.linear())
        save_model(model, str(signature), signature=signature, input_example=X)
        loaded = mlflow.pyfunc.load_model(str(signature))
        assert_frame_equal(loaded.predict(X[COLUMNS[::-1]]), expected)


# Models of any kind.

AB = {"a": np.ones((3, 2), np.float32), "b": np.arange(3).reshape(3, 1)}
MODELS: dict[str, tuple[str, Any, Any]] = {
    "columns": ("linear", X, ["y_0", "y_1"]),
    "rows of an array": ("linear", X.to_numpy(), (3, 2)),
    "label and probabilities": (
        "classifier",
        X,
        ["label", "probabilities_0", "probabilities_1", "probabilities_2"],
    ),
    "zipmap": (
        "zipmap",
        X,
        [
            "output_label",
            "output_probability_no",
            "output_probability_perhaps",
            "output_probability_yes",
        ],
    ),
    "several inputs": ("two_inputs", AB, (3, 2)),
    "strings": ("strings", np.array(["ä", "b", ""], dtype=object), (3,)),
    "strings in a frame": ("strings", pd.DataFrame({"text": ["ä", "b", ""]}), "shout"),
}


@pytest.mark.parametrize("case", MODELS)
@pytest.mark.parametrize("signature", [None, "params"])
def test_models_on_both_routes(same_server: EmbeddedServer, case: str, signature: Any) -> None:
    """Every kind of model answers with the right shape, and both routes alike."""
    name, data, shape = MODELS[case]
    before = copy.deepcopy(data)
    loaded = saved(same_server, name, signature)
    here = loaded.predict(data)
    there = loaded.predict(data, params={"use_azure": True})
    if isinstance(here, pd.DataFrame):
        assert list(here.columns) == shape
        assert_frame_equal(here, there)
    elif isinstance(here, pd.Series):
        assert here.name == shape
        pd.testing.assert_series_equal(here, there)
    else:
        assert here.shape == shape
        np.testing.assert_array_equal(here, there)
    pd.testing.assert_frame_equal(pd.DataFrame([str(before)]), pd.DataFrame([str(data)]))


def test_one_output_by_param(same_server: EmbeddedServer) -> None:
    """The ``output`` param, or model_config, picks one of several outputs."""
    loaded = saved(same_server, "two_outputs")
    data = np.ones((2, 3), np.float32)
    assert set(loaded.predict(data)) == {"total", "double"}
    np.testing.assert_array_equal(loaded.predict(data, params={"output": "total"}), [[3], [3]])
    configured = mlflow.pyfunc.load_model("two_outputs", model_config={"output": "total"})
    np.testing.assert_array_equal(configured.predict(data), [[3], [3]])


# Copies and processes.


@pytest.mark.parametrize(
    "copied",
    [
        lambda model: pickle.loads(pickle.dumps(model)),
        lambda model: cloudpickle.loads(cloudpickle.dumps(model)),
        copy.copy,
        copy.deepcopy,
    ],
)
def test_copies_answer_on_both_routes(endpoint_server: EmbeddedServer, copied: Any) -> None:
    """A copy of a loaded and used model answers as the model does, on both routes."""
    model = HybridOnnxModel(models.linear(), endpoint=endpoint_server.endpoint("linear"))
    save_model(model, "saved")
    model = load_model("saved", model_config={"use_azure": True})
    expected = model.predict(X), model.predict(X, use_azure=False)
    again = copied(model)
    assert_frame_equal(again.predict(X), expected[0])
    assert_frame_equal(again.predict(X, use_azure=False), expected[1])


def test_copies_have_no_credential(endpoint_server: EmbeddedServer) -> None:
    """A credential given at load is not in a pickle: the copy looks into the environment again."""
    from hybridmodel.serving import serve

    with serve({"linear": models.linear()}, auth_key="the-key") as server:
        save_model(HybridOnnxModel(models.linear(), endpoint=server.endpoint("linear")), "saved")
        model = load_model("saved", credential=lambda: "the-key")
        model.predict(X, use_azure=True)
        again = pickle.loads(pickle.dumps(model))
        with pytest.raises(ConfigurationError, match="HYBRIDMODEL_API_KEY, which is not set"):
            again.predict(X, use_azure=True)
        with pytest.raises(AuthenticationFailed):
            load_model("saved", credential=lambda: "wrong").predict(X, use_azure=True)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes(endpoint_server: EmbeddedServer, method: str) -> None:
    """A model that has answered on both routes answers in a forked and in a new process too."""
    model = HybridOnnxModel(models.linear(), endpoint=endpoint_server.endpoint("linear"))
    expected = model.predict(X, use_azure=True)
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(target=predict_remotely, args=(model, X, queue))
    process.start()
    try:
        np.testing.assert_array_equal(queue.get(timeout=60), expected.to_numpy())
    finally:
        process.join(timeout=30)
        queue.close()
        queue.join_thread()
    assert process.exitcode == 0


# MLflow's tools.


def test_models_predict(endpoint_server: EmbeddedServer) -> None:
    """``mlflow.models.predict`` takes params from a JSON file, and no others."""
    model = HybridOnnxModel(models.linear(), endpoint=endpoint_server.endpoint("linear"))
    save_model(model, "saved", input_example=X)
    for remote in (False, True):
        body = {"dataframe_split": X.to_dict(orient="split"), "params": {"use_azure": remote}}
        Path("in.json").write_text(json.dumps(body))
        mlflow.models.predict(
            "saved",
            input_path="in.json",
            content_type="json",
            output_path="out.json",
            env_manager="local",
        )
        rows = json.loads(Path("out.json").read_text())["predictions"]
        expected = HybridOnnxModel(models.linear(seed=7 if remote else 0)).predict(X)
        np.testing.assert_allclose(pd.DataFrame(rows), expected, rtol=1e-5)
    with pytest.raises(MlflowException):
        mlflow.models.predict(
            "saved", input_data=(X, {"use_azure": True}), env_manager="local", content_type="json"
        )


# MLflow evaluates with what pandas, matplotlib and scikit-learn have deprecated.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_evaluate(tracking: Process) -> None:
    """``mlflow.models.evaluate`` takes the URI of a model with one column of output."""
    model = HybridOnnxModel(models.classifier(labels=("no", "yes")), output="label")
    info = log_model(model, "digits", input_example=X)
    data = X.assign(target=["yes", "no", "yes"])
    with mlflow.start_run():
        result = mlflow.models.evaluate(
            info.model_uri,
            data,
            targets="target",
            model_type="classifier",
            evaluators="default",
            evaluator_config={"log_explainer": False, "pos_label": "yes"},
        )
    share = float((model.predict(X).to_numpy() == data["target"].to_numpy()).mean())
    assert result.metrics["accuracy_score"] == pytest.approx(share)


def test_the_deadline_ends_before_the_scoring_server_s() -> None:
    """MLflow's server gives up after 60 s and leaves its thread running; a call ends before."""
    default = TritonEndpoint(uri="https://a.example", model_name="digits").timeout_s
    assert default < MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT.get()


def test_the_flavor_keeps_the_conventions() -> None:
    """MLflow's tools and people look for these names."""
    for name in (
        "FLAVOR_NAME",
        "get_default_pip_requirements",
        "save_model",
        "log_model",
        "load_model",
        "_load_pyfunc",
    ):
        assert hasattr(hybridmodel.flavor, name)
