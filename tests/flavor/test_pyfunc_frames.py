"""What MLflow does to data before a model sees it must not change what the model answers."""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature, infer_signature, set_signature
from mlflow.pyfunc.scoring_server import invocations
from mlflow.types import Schema
from mlflow.types import TensorSpec as MlflowTensor

from hybridmodel import HybridOnnxModel, TritonEndpoint, load_model, save_model
from hybridmodel.flavor.signatures import with_params
from tests.support import models
from tests.support.alike import COLUMNS as TYPED
from tests.support.alike import assert_alike
from tests.support.mlflow_tools import COLUMNS

X = pd.DataFrame(np.arange(12, dtype=float).reshape(3, 4) / 8, columns=COLUMNS)
NOWHERE = TritonEndpoint(uri="http://127.0.0.1:1", model_name="linear", auth_key_env=None)
INDEXES = [["p", "q", "r"], [5, 6, 7], [5, 5, 5], range(3)]
PAIR = pd.DataFrame({"a": [[1.0, 2], [3, 4], [5, 6]], "b": [1, 2, 3]})
NUMBERS = {"u": ("FP32", ("N",)), "v": ("FP32", ("N", 1))}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def both(source: bytes, **options: Any) -> tuple[HybridOnnxModel, Any]:
    """Save a model; load it as itself and through MLflow."""
    save_model(HybridOnnxModel(source), "saved", **options)
    return load_model("saved"), mlflow.pyfunc.load_model("saved")


@pytest.mark.parametrize("index", INDEXES)
@pytest.mark.parametrize("example", [False, True])
def test_frames_of_several_inputs(index: Any, example: bool) -> None:
    """Columns of several inputs keep their types and their index, whatever labels that has."""
    frame = TYPED.set_axis(index)
    native, loaded = both(
        models.served()["columns"], **({"input_example": TYPED.head(2)} if example else {})
    )
    assert_alike(loaded.predict(frame), native.predict(frame))
    assert list(loaded.predict(frame).index) == list(index)
    assert_alike(loaded.predict(frame[:0]), native.predict(frame[:0]))


@pytest.mark.parametrize("index", INDEXES)
@pytest.mark.parametrize("name", ["strings", "lookup"])
def test_frames_and_arrays_of_one_column(index: Any, name: str) -> None:
    """A model of one column takes a frame, a series and an array, and answers in their kind."""
    native, loaded = both(models.served()[name])
    values = ["a", "b", "ü"] if name == "strings" else [0, 2, 1]
    series = pd.Series(values, index=index, name="any")
    for data in (series, series.to_frame(), series.to_numpy()):
        assert_alike(loaded.predict(data), native.predict(data))


def test_arrays_by_name_stay_arrays() -> None:
    """A dict of arrays gets arrays back, though the signature has columns."""
    native, loaded = both(models.passthrough(u=("FP32", ("N",)), v=("INT64", ("N",))))
    data = {"u": np.array([1.5, 2.5]), "v": np.array([1, 2])}
    assert_alike(loaded.predict(data), native.predict(data))


@pytest.mark.parametrize("index", [["p", 0, "r"], [2, 1, 0]])
def test_frames_for_a_signature_of_tensors(index: Any) -> None:
    """Where the signature has tensors, a frame keeps its index all the same.

    MLflow 3.17 itself refuses a frame without a label 0 there.
    """
    native, loaded = both(models.two_inputs())
    frame = PAIR.set_axis(index)
    assert_alike(loaded.predict(frame), native.predict(frame))
    wider = frame.assign(other=1)  # MLflow warns of it, and drops it.
    assert_alike(loaded.predict(wider), native.predict(frame))


def test_frames_for_an_example_of_an_array() -> None:
    """An array as example makes an unnamed tensor of the signature, and frames keep their index."""
    native, loaded = both(models.linear(), input_example=X.to_numpy(np.float32))
    frame = X.astype("float32").set_axis(["p", "q", "r"])
    assert_alike(loaded.predict(frame), native.predict(frame))


def tensors(*names: str) -> ModelSignature:
    """Make a signature of float32 tensors of one dimension."""
    return ModelSignature(Schema([MlflowTensor(np.dtype("f4"), (-1,), name) for name in names]))


BAD = {
    "numbers as text": (["1.5", "2"], "expected float32, got str"),
    "complex": ([1 + 2j, 3], "expected float32, got complex"),
    "too large": ([1e300, 1.0], "too large for float32"),
}


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:.*Casting complex values")
@pytest.mark.parametrize("signature", [None, "params", tensors("u", "v")])
@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_float32_is_refused(signature: Any, kind: str) -> None:
    """What natively is an error is one through MLflow, whose casts would hide it."""
    native, loaded = both(
        models.passthrough(u=("FP32", ("N",)), v=("FP32", ("N",))), signature=signature
    )
    values, message = BAD[kind]
    frame = pd.DataFrame({"u": values, "v": [1.0, 2.0]})
    with pytest.raises(ValueError, match=message):
        native.predict(frame)
    with pytest.raises(MlflowException) as caught:
        loaded.predict(frame)
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"


def test_float64_is_taken() -> None:
    """Columns of float64, pandas' own, feed float32 inputs."""
    native, loaded = both(models.passthrough(**NUMBERS))
    frame = pd.DataFrame({"u": [1.5, 2.5], "v": [0.1, 0.2]}, index=[8, 9])
    assert_alike(loaded.predict(frame), native.predict(frame))


def test_an_example_of_whole_numbers() -> None:
    """Whole numbers in an example do not keep others out, and the example still can be asked."""
    _, loaded = both(models.linear(), input_example=(X * 8).astype(int))
    assert loaded.predict(X).shape == (3, 2)
    assert loaded.predict(loaded.input_example).shape == (3, 2)


def test_a_model_without_inputs() -> None:
    """A model that takes nothing is saved, and answers an empty dict."""
    constant = models.build(
        [models.helper.make_node("Identity", ["c"], ["y"])],
        [],
        [models.tensor("y", "FP32", (2,))],
        {"c": np.array([1.0, 2.0], np.float32)},
    )
    native, loaded = both(constant)
    for model in (native, loaded):
        np.testing.assert_array_equal(model.predict({}), [1, 2])


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("strings", {"inputs": ["a", "ü"]}),
        ("strings", {"instances": ["a", "ü"]}),
        ("strings", {"dataframe_split": {"columns": ["any"], "data": [["a"], ["ü"]]}}),
        ("sums", {"inputs": {"u": [1.5, 2], "v": [3, 4]}}),
        ("sums", {"dataframe_records": [{"u": 1.5, "v": 3}, {"u": 2, "v": 4}]}),
        ("sums", {"dataframe_split": {"columns": ["v", "u"], "data": [[3, 1.5], [4, 2]]}}),
    ],
)
def test_every_json_for_columns(name: str, body: Any) -> None:
    """A scoring server's JSON is understood for the default signature of columns."""
    sums = models.build(
        [models.helper.make_node("Add", ["u", "v"], ["y"])],
        [models.tensor("u", "FP32", ("N",)), models.tensor("v", "FP32", ("N",))],
        [models.tensor("y", "FP32", ("N",))],
    )
    _, loaded = both(sums if name == "sums" else models.strings())
    schema = loaded.metadata.get_input_schema()
    reply = invocations(json.dumps(body), "application/json", loaded, schema)
    (found,) = pd.DataFrame(json.loads(reply.response)["predictions"]).to_numpy().T.tolist()
    assert found == ([4.5, 6.0] if name == "sums" else ["a!", "ü!"])


# Names of features.


def told(caplog: pytest.LogCaptureFixture) -> int:
    """Count the warnings about columns that are taken by position."""
    return sum("takes the columns" in record.message for record in caplog.records)


def test_columns_of_unknown_names(caplog: pytest.LogCaptureFixture) -> None:
    """Named columns that the model does not know are taken as they stand, with one warning."""
    model = HybridOnnxModel(models.linear())
    by_position = model.predict(X[COLUMNS[::-1]])
    model.predict(X)
    np.testing.assert_array_equal(by_position, model.predict(X.to_numpy()[:, ::-1]))
    assert told(caplog) == 1
    assert "'d', 'c', 'b', 'a'" in caplog.text
    assert "feature_names" in caplog.text


@pytest.mark.parametrize(
    ("source", "data", "options"),
    [
        (models.linear(), X, {"feature_names": COLUMNS}),
        (models.linear(), X.to_numpy(), {}),
        (models.linear(), X.set_axis(range(4), axis=1), {}),
        (models.linear(1), X[["a"]], {}),
        (models.two_inputs(), PAIR, {}),
    ],
)
def test_nothing_to_warn_of(
    source: bytes, data: Any, options: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Where names are known, or there are none, or there is only one, nothing is said."""
    HybridOnnxModel(source, **options).predict(data)
    assert told(caplog) == 0


def test_saving_with_a_frame_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The example's columns are the names, of which nobody needs to be warned."""
    native, loaded = both(models.linear(), input_example=X)
    native.predict(X)
    loaded.predict(X)
    assert told(caplog) == 0


def test_a_signature_names_the_features() -> None:
    """Columns of a given signature bind a frame by name, natively as through MLflow."""
    native, loaded = both(models.linear(), signature=infer_signature(X))
    expected = HybridOnnxModel(models.linear()).predict(X.to_numpy())
    for model in (native, loaded):
        np.testing.assert_array_equal(model.predict(X[COLUMNS[::-1]]), expected)


# Params that are no longer there.


def without_params() -> None:
    """Save a model with an endpoint, and set another signature, as MLflow's users do."""
    save_model(HybridOnnxModel(models.linear(), endpoint=NOWHERE), "saved", input_example=X)
    mlflow.pyfunc.load_model("saved")
    set_signature("saved", infer_signature(X))


def test_a_signature_without_our_params_is_noticed() -> None:
    """Calls that ask for the endpoint would be answered locally; loading says so instead."""
    without_params()
    with pytest.raises(MlflowException, match=r"set_signature drops .*with_params") as caught:
        mlflow.pyfunc.load_model("saved")
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"
    load_model("saved").predict(X, use_azure=False)


def test_the_ways_out_that_the_error_names() -> None:
    """A completed signature loads again, and so does a model whose route is said at load."""
    without_params()
    config = {"use_azure": False}
    assert mlflow.pyfunc.load_model("saved", model_config=config).predict(X).shape == (3, 2)
    set_signature("saved", with_params(infer_signature(X)))
    loaded = mlflow.pyfunc.load_model("saved")
    with pytest.raises(MlflowException, match="EndpointUnavailable"):
        loaded.predict(X, params={"use_azure": True})


def test_no_endpoint_needs_no_params() -> None:
    """A model without an endpoint has only one route, and loads with any signature."""
    save_model(HybridOnnxModel(models.linear()), "saved", input_example=X)
    set_signature("saved", infer_signature(X))
    with warnings.catch_warnings():
        assert mlflow.pyfunc.load_model("saved").predict(X).shape == (3, 2)


def test_a_route_param_that_is_folded_is_found(caplog: pytest.LogCaptureFixture) -> None:
    """However YAML folds the signature, a param that is there is found."""
    save_model(HybridOnnxModel(models.linear(), endpoint=NOWHERE), "saved", signature="params")
    path = Path("saved/MLmodel")
    text = path.read_text()
    assert '"use_azure"' in text
    path.write_text(text.replace('"name": "use_azure"', '"name":\n      "use_azure"'))
    with caplog.at_level(logging.WARNING):
        assert mlflow.pyfunc.load_model("saved").predict(X).shape == (3, 2)
