"""What schema a saved model gets, and which examples are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.models import ModelSignature, infer_signature
from mlflow.types import ParamSchema, ParamSpec, Schema
from mlflow.types import TensorSpec as MlflowTensor

from hybridmodel import ConfigurationError, HybridOnnxModel
from hybridmodel.flavor.signatures import (
    PARAMS,
    feature_names_of,
    signature_of,
    split_example,
    with_params,
)
from tests.support import models
from tests.support.mlflow_tools import COLUMNS

X = pd.DataFrame(np.ones((2, 4)), columns=COLUMNS)


def model_of(name: str, **options: Any) -> HybridOnnxModel:
    """Open one of the models that the tests serve."""
    return HybridOnnxModel(models.served()[name], **options)


def types(schema: Schema | None) -> Any:
    """Return names and types as pairs, for a tensor with its shape."""
    if schema is None:
        return None
    return [
        (item.name, str(item.type), *([item.shape] if isinstance(item, MlflowTensor) else []))
        for item in schema.inputs
    ]


DOUBLES = [(name, "DataType.double") for name in COLUMNS]


@pytest.mark.parametrize(
    ("name", "example", "expected"),
    [
        ("linear", None, None),
        ("linear", X, DOUBLES),
        ("linear", X.astype("float32"), DOUBLES),
        ("linear", X.astype(int), DOUBLES),
        ("linear", X.astype("Int64"), DOUBLES),
        ("lookup", pd.DataFrame({"x": [1, 2]}), [("x", "DataType.long")]),
        ("lookup", pd.Series([1, 2], name="x"), [("x", "DataType.long")]),
        ("linear", X.to_numpy(np.float32), [(None, "float32", (-1, 4))]),
        ("linear", {"x": X.to_numpy(np.float32)}, [("x", "float32", (-1, 4))]),
        ("strings", None, [(None, "DataType.string")]),
        ("lookup", None, [(None, "DataType.long")]),
        ("strings", pd.DataFrame({"text": ["a"]}), [("text", "DataType.string")]),
        ("two_inputs", None, [("a", "float32", (-1, 2)), ("b", "int64", (-1, 1))]),
        (
            "columns",
            None,
            [
                ("age", "DataType.double"),
                ("count", "DataType.long"),
                ("name", "DataType.string"),
                ("flag", "DataType.boolean"),
            ],
        ),
        (
            "columns",
            pd.DataFrame({"age": [1], "count": [1], "name": ["a"], "flag": [True]}),
            [
                ("age", "DataType.double"),
                ("count", "DataType.long"),
                ("name", "DataType.string"),
                ("flag", "DataType.boolean"),
            ],
        ),
    ],
)
def test_inputs(name: str, example: Any, expected: Any) -> None:
    """Inputs come from the example, else from the graph where a frame is not the natural input."""
    assert types(signature_of(model_of(name), None, example).inputs) == expected


def test_a_lone_table_of_one_column_has_no_inputs() -> None:
    """One input of rank 2 takes any frame, and has no inputs in its signature."""
    model = HybridOnnxModel(models.identity("FP32", ("N", 1)))
    assert signature_of(model, None, None).inputs is None


def test_an_input_of_any_rank_is_no_tensor() -> None:
    """An input whose shape nobody tells is left to hybridmodel."""
    value = models.helper.make_tensor_value_info("x", 1, None)
    node = models.helper.make_node("Identity", ["x"], ["y"])
    graph = models.helper.make_graph(
        [node], "g", [value], [models.helper.make_tensor_value_info("y", 1, None)]
    )
    opsets = [models.helper.make_opsetid("", 17)]
    source = models.helper.make_model(graph, opset_imports=opsets, ir_version=9)
    assert signature_of(HybridOnnxModel(source), None, None).inputs is None


def test_images_are_tensors() -> None:
    """An input of rank 4 is declared as in the graph, with -1 for any size."""
    model = HybridOnnxModel(models.identity("FP32", ("N", 3, "H", 8)))
    assert types(signature_of(model, None, None).inputs) == [("x", "float32", (-1, 3, -1, 8))]


@pytest.mark.parametrize(
    ("name", "output", "expected"),
    [
        ("linear", None, [("y", "float32", (-1, 2))]),
        ("two_outputs", None, [("total", "float32", (-1, 1)), ("double", "float32", (-1, 3))]),
        ("two_outputs", "double", [("double", "float32", (-1, 3))]),
        (
            "zipmap",
            None,
            [("output_label", "object", (-1,)), ("output_probability", "float32", (-1, 3))],
        ),
    ],
)
@pytest.mark.parametrize("given", [None, "params"])
def test_outputs_are_always_there(given: Any, name: str, output: Any, expected: Any) -> None:
    """The graph's outputs, or the one selected, are in every signature."""
    signature = signature_of(model_of(name, output=output), given, None)
    assert types(signature.outputs) == expected


@pytest.mark.parametrize("given", [None, "params", infer_signature(X)])
def test_params_are_always_there(given: Any) -> None:
    """Every signature declares the route, the time and the output, all not said by default."""
    params = signature_of(model_of("linear"), given, X).params
    assert [(spec.name, spec.default) for spec in params.params] == [
        ("use_azure", None),
        ("timeout", None),
        ("output", None),
        ("mode", None),
        ("provenance", None),
    ]


def test_params_only() -> None:
    """The fastest signature has no inputs, whatever the example."""
    assert signature_of(model_of("linear"), "params", X).inputs is None


def test_a_given_signature_is_kept_and_completed() -> None:
    """A user's inputs, outputs and params stay as they are; what is missing is added."""
    own = ParamSchema([ParamSpec("own", "long", 1), ParamSpec("timeout", "double", 5.0)])
    given = ModelSignature(infer_signature(X.astype("float32")).inputs, params=own)
    signature = signature_of(model_of("linear"), given, X)
    assert signature.inputs == given.inputs
    assert types(signature.outputs) == [("y", "float32", (-1, 2))]
    assert [(spec.name, spec.default) for spec in signature.params.params] == [
        ("own", 1),
        ("timeout", 5.0),
        ("use_azure", None),
        ("output", None),
        ("mode", None),
        ("provenance", None),
    ]
    assert [spec.name for spec in given.params.params] == ["own", "timeout"]
    outputs = Schema([MlflowTensor(np.dtype("f4"), (-1, 2), "mine")])
    given = ModelSignature(given.inputs, outputs)
    assert signature_of(model_of("linear"), given, None).outputs == outputs


@pytest.mark.parametrize("given", ["param", X, {"inputs": []}])
def test_other_signatures_are_refused(given: Any) -> None:
    """What is no signature is named by its type."""
    with pytest.raises(ConfigurationError, match=type(given).__name__):
        signature_of(model_of("linear"), given, None)


def test_a_signature_survives_its_own_format() -> None:
    """MLflow reads back what it writes of a signature, so that None stays None."""
    signature = signature_of(model_of("two_inputs"), None, None)
    again = ModelSignature.from_dict(signature.to_dict())
    assert again == signature
    assert {spec.default for spec in again.params.params} == {None}


@pytest.mark.parametrize(
    ("example", "params"), [(X, {}), ((X, {"use_azure": False, "timeout": 3}), None), (None, {})]
)
def test_examples_are_split(example: Any, params: Any) -> None:
    """Data and params are parted as MLflow parts them."""
    data, found = split_example(example)
    assert data is (example[0] if isinstance(example, tuple) else example)
    assert found == (example[1] if params is None else params)


def test_a_list_becomes_an_array() -> None:
    """A list of rows is an array, which MLflow understands, and a list does not."""
    data, _ = split_example([[1.0, 2.0]])
    np.testing.assert_array_equal(data, np.array([[1.0, 2.0]]))


@pytest.mark.parametrize("value", [True, 1, "true", "1", np.True_])
def test_an_example_cannot_ask_for_the_endpoint(value: Any) -> None:
    """MLflow runs the example while saving, so that one that would call out is refused."""
    with pytest.raises(ConfigurationError, match="saving makes no network call"):
        split_example((X, {"use_azure": value}))


@pytest.mark.parametrize("name", ["auth_key", "api_key", "use_azur"])
def test_unknown_params_in_an_example_are_refused(name: str) -> None:
    """MLflow would save an unknown param, perhaps a key, so that it is refused and not shown."""
    with pytest.raises(ConfigurationError, match=f"param '{name}'") as caught:
        split_example((X, {name: "the-secret"}))
    assert "the-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "example", "expected"),
    [
        ("linear", X, COLUMNS),
        ("linear", X.set_axis(range(4), axis=1), None),
        ("linear", X.to_numpy(), None),
        ("two_inputs", pd.DataFrame({"a": [1], "b": [1]}), None),
        ("strings", pd.DataFrame({"any": ["a"]}), None),
        ("linear", X[COLUMNS[:3]], None),
    ],
)
def test_feature_names(name: str, example: Any, expected: Any) -> None:
    """Names are learned from a frame with named columns, for a model with one matrix."""
    assert feature_names_of(model_of(name), example) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (infer_signature(X[COLUMNS[::-1]]), COLUMNS[::-1]),
        (infer_signature(X[COLUMNS[:2]]), None),
        (infer_signature(X.to_numpy()), None),
        (None, None),
    ],
)
def test_feature_names_of_a_signature(given: Any, expected: Any) -> None:
    """A signature with columns names the features: MLflow puts frames into its order."""
    assert feature_names_of(model_of("linear"), None, given) == expected


def test_with_params() -> None:
    """A signature is completed for MLflow's own functions, and its own params stay."""
    own = ModelSignature(infer_signature(X).inputs, params=ParamSchema([ParamSpec("k", "long", 1)]))
    made = with_params(own)
    assert made.inputs == own.inputs
    assert [spec.name for spec in made.params.params] == ["k", *(name for name, _ in PARAMS)]
    assert [spec.name for spec in own.params.params] == ["k"]


def test_the_params_of_the_contract() -> None:
    """These five params with these types are what tools rely on."""
    assert PARAMS == (
        ("use_azure", "boolean"),
        ("timeout", "double"),
        ("output", "string"),
        ("mode", "string"),
        ("provenance", "boolean"),
    )
