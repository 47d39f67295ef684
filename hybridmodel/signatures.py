"""The MLflow signature of a hybrid model: what its schema says, and the params it always takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hybridmodel.exceptions import ConfigurationError
from hybridmodel.model import HybridOnnxModel
from hybridmodel.routing import LOCAL, parse_use_azure
from hybridmodel.tensors import TensorSpec

if TYPE_CHECKING:
    from mlflow.models import ModelSignature
    from mlflow.types import ParamSchema, Schema
    from mlflow.types import TensorSpec as MlflowTensorSpec

PARAMS = (
    ("use_azure", "boolean"),
    ("timeout", "double"),
    ("output", "string"),
    ("mode", "string"),
    ("provenance", "boolean"),
)
"""Params of every hybrid model, all None by default: not said."""

PARAMS_ONLY = "params"
"""Signature without input columns: the fastest, since MLflow then leaves all checks to us."""


def signature_of(model: HybridOnnxModel, given: Any, example: Any) -> ModelSignature:
    """Return the signature to save, always with outputs and params.

    Parameters
    ----------
    model : HybridOnnxModel
        Says the outputs, and the inputs where no frame is the natural input.
    given : ModelSignature, "params" or None
        The user's own, to which what it lacks is added; ``"params"`` for none of the inputs.
    example : data or None
        Input example without params, from which the inputs are inferred when none are given.

    Raises
    ------
    ConfigurationError
        If `given` is of another kind.
    """
    from mlflow.models import ModelSignature

    inputs = outputs = params = None
    if isinstance(given, ModelSignature):
        inputs, outputs, params = given.inputs, given.outputs, given.params
    elif given is None:
        inputs = _inputs(model, example)
    elif not (isinstance(given, str) and given == PARAMS_ONLY):
        raise ConfigurationError(
            f"signature is an mlflow ModelSignature, {PARAMS_ONLY!r} or None, "
            f"not a {type(given).__name__}"
        )
    return ModelSignature(inputs, outputs or _outputs(model), _params(params))


def split_example(example: Any) -> tuple[Any, dict[str, Any]]:
    """Part an input example into data and params, and refuse params that must not be saved.

    A list becomes an array, since MLflow takes a list of numbers for something else.

    Raises
    ------
    ConfigurationError
        If a param is unknown (its value, perhaps a key, is not shown), or asks for the endpoint:
        MLflow runs the example while it saves the model.
    """
    has_params = isinstance(example, tuple) and len(example) == 2 and isinstance(example[1], dict)
    data, params = example if has_params else (example, {})
    known = [name for name, _ in PARAMS]
    for name in params:
        if name not in known:
            raise ConfigurationError(
                f"input_example has a param {name!r}; a hybrid model takes {', '.join(known)}. "
                "What is in an example is saved with the model for all to read"
            )
    remote = parse_use_azure(params.get("use_azure"), "use_azure in input_example")
    if remote or params.get("mode") not in (None, LOCAL):
        raise ConfigurationError(
            "input_example asks for the endpoint (use_azure, mode); MLflow runs the example while "
            "it saves the model, and saving makes no network call"
        )
    return np.asarray(data) if isinstance(data, list) else data, dict(params)


def feature_names_of(model: HybridOnnxModel, example: Any) -> list[str] | None:
    """Return the column names of a frame that is the example for one input of shape (n, k)."""
    columns = getattr(example, "columns", None)
    if columns is None or len(model.inputs) != 1 or len(model.inputs[0].shape) != 2:
        return None
    names = list(columns)
    return names if all(isinstance(name, str) for name in names) else None


def _inputs(model: HybridOnnxModel, example: Any) -> Schema | None:
    from mlflow.models import infer_signature
    from mlflow.types import Schema

    if example is not None:
        return _doubled(infer_signature(example).inputs)
    if len(model.inputs) == 1 and len(model.inputs[0].shape) == 2:
        return None
    return Schema([_tensor(spec) for spec in model.inputs])


def _doubled(schema: Schema) -> Schema:
    """Write float columns as double, which takes both; MLflow's float refuses float64."""
    from mlflow.types import ColSpec, DataType, Schema

    return Schema(
        [
            ColSpec(DataType.double, column.name, required=column.required)
            if isinstance(column, ColSpec) and column.type == DataType.float
            else column
            for column in schema.inputs
        ]
    )


def _outputs(model: HybridOnnxModel) -> Schema:
    from mlflow.types import Schema

    wanted = [model.spec.output(model.output)] if model.output else model.outputs
    return Schema([_tensor(spec) for spec in wanted])


def _tensor(spec: TensorSpec) -> MlflowTensorSpec:
    from mlflow.types import TensorSpec as MlflowTensorSpec

    return MlflowTensorSpec(np.dtype(spec.dtype), spec.shape, spec.name)


def _params(own: ParamSchema | None) -> ParamSchema:
    from mlflow.types import ParamSchema, ParamSpec

    specs = list(own.params) if own else []
    taken = {spec.name for spec in specs}
    specs += [ParamSpec(name, kind, None) for name, kind in PARAMS if name not in taken]
    return ParamSchema(specs)
