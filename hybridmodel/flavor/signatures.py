"""The MLflow signature of a hybrid model: inputs, outputs, and the params of every hybrid model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hybridmodel.data.arrow import speaks_arrow
from hybridmodel.data.tensors import WILDCARD, TensorSpec
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.model import HybridOnnxModel
from hybridmodel.routing import LOCAL, parse_use_azure

if TYPE_CHECKING:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, Schema

PARAMS = (
    ("use_azure", "boolean"),
    ("timeout", "double"),
    ("output", "string"),
    ("mode", "string"),
    ("provenance", "boolean"),
)
"""Params of every hybrid model; None, the default, means the model's own setting."""

PARAMS_ONLY = "params"
"""Signature without inputs: the fastest, since MLflow then leaves all checks to us."""

_ROUTE_PARAM = re.compile(r'"name":\s+"use_azure"')


def signature_of(model: HybridOnnxModel, given: Any, example: Any) -> ModelSignature:
    """Return the signature to save, always with outputs and params.

    `given` is the user's signature, to which missing parts are added, or ``"params"`` for no
    inputs, or None: then the inputs are inferred from the example without params, or taken from the
    model where a frame is not its natural input.
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
    names = [model.output] if model.output else model.spec.answered_names
    wanted = [model.spec.output(name) for name in names]
    return ModelSignature(inputs, outputs or _tensors(wanted), _params(params))


def with_params(signature: ModelSignature) -> ModelSignature:
    """Return a signature with the params of a hybrid model, for ``mlflow.models.set_signature``.

    MLflow drops every param of a call that the signature does not name.

    Parameters
    ----------
    signature : ModelSignature
        Not changed; params of its own stay as they are.
    """
    from mlflow.models import ModelSignature

    return ModelSignature(signature.inputs, signature.outputs, _params(signature.params))


def check_params(model: HybridOnnxModel, mlmodel: Path, config: Mapping[str, Any] | None) -> None:
    """Raise if MLflow would drop the route that a call asks for.

    That is so if the model has an endpoint, and the signature in its MLmodel file no longer has the
    param for it, unless the ``model_config`` sets the route of every call.
    """
    chosen = any((config or {}).get(key) is not None for key in ("use_azure", "mode"))
    if model.endpoint is None or chosen or not mlmodel.is_file():
        return
    # MLflow may break the line at any space; to parse the file takes as long as all other work.
    if _ROUTE_PARAM.search(mlmodel.read_text(encoding="utf-8")) or _has_route(mlmodel):
        return
    raise ConfigurationError(
        f"{mlmodel}: the signature has no param 'use_azure', so MLflow would drop the route that a "
        "call asks for, and the local model would answer all calls without a warning. "
        "mlflow.models.set_signature drops params that the new signature lacks: set the signature "
        "again, completed by hybridmodel.flavor.with_params(signature), or set the route for all "
        "calls with model_config={'use_azure': False} (or True, or a mode)"
    )


def _has_route(mlmodel: Path) -> bool:
    from mlflow.models import Model

    params = Model.load(str(mlmodel)).get_params_schema()
    return params is not None and "use_azure" in {spec.name for spec in params.params}


def split_example(example: Any) -> tuple[Any, dict[str, Any]]:
    """Split an input example into data and params, and refuse params that must not be saved.

    A list becomes an array, since MLflow takes a list of numbers for something else, and a table of
    polars or Arrow a DataFrame. An unknown param is refused without its value, which may be a key.
    A param that asks for the endpoint is refused because MLflow runs the example while it saves.
    """
    has_params = isinstance(example, tuple) and len(example) == 2 and isinstance(example[1], dict)
    data, params = example if has_params else (example, {})
    _check_params(params)
    if speaks_arrow(data) and hasattr(data, "to_pandas"):
        data = data.to_pandas()
    return np.asarray(data) if isinstance(data, list) else data, dict(params)


def _check_params(params: Mapping[str, Any]) -> None:
    """Refuse what is no param, and a call of the endpoint."""
    known = [name for name, _ in PARAMS]
    for name in params:
        if name not in known:
            raise ConfigurationError(
                f"input_example has a param {name!r}; a hybrid model takes {', '.join(known)}. "
                "An example is saved with the model, for all to read"
            )
    remote = parse_use_azure(params.get("use_azure"), "use_azure in input_example")
    if remote or params.get("mode") not in (None, LOCAL):
        raise ConfigurationError(
            "input_example asks for the endpoint (use_azure, mode); MLflow runs the example while "
            "it saves the model, and saving makes no network call"
        )


def feature_names_of(
    model: HybridOnnxModel, example: Any, signature: ModelSignature | None = None
) -> list[str] | None:
    """Return the columns of one input of shape (n, k), as an example frame or a signature has them.

    MLflow reorders the columns of a frame by the names in the signature.
    """
    if len(model.inputs) != 1 or len(model.inputs[0].shape) != 2:
        return None
    names = getattr(example, "columns", None)
    schema = None if signature is None else signature.inputs
    if names is None and schema is not None and not schema.is_tensor_spec():
        names = schema.input_names()
    if names is None or model.inputs[0].shape[1] not in (WILDCARD, len(names)):
        return None
    return list(names) if all(isinstance(name, str) for name in names) else None


def as_columns(model: HybridOnnxModel, example: Any) -> Any:
    """Return an example frame with float64 for columns of whole numbers that feed floats.

    Tomorrow's example may have halves in such a column.
    """
    if not hasattr(example, "columns"):
        return example
    single = model.inputs[0] if len(model.inputs) == 1 else None
    floats = {spec.name for spec in model.inputs if spec.dtype.kind == "f"}
    whole = [
        name
        for name, dtype in example.dtypes.items()
        if dtype.kind in "iu" and (name if single is None else single.name) in floats
    ]
    return example.astype(dict.fromkeys(whole, "float64")) if whole else example


def _inputs(model: HybridOnnxModel, example: Any) -> Schema | None:
    from mlflow.models import infer_signature
    from mlflow.types import Schema

    inputs = model.inputs
    if example is not None:
        return _doubled(infer_signature(as_columns(model, example)).inputs)
    if not inputs or (len(inputs) == 1 and len(inputs[0].shape) == 2):
        return None
    if any(spec.unranked for spec in inputs):
        return None  # MLflow's tensors have a number of dimensions.
    if all(spec.batched and spec.shape[1:] in ((), (1,)) for spec in inputs):
        return Schema([_column(spec, named=len(inputs) > 1) for spec in inputs])
    return _tensors(inputs)


def _column(spec: TensorSpec, *, named: bool) -> ColSpec:
    """Return one value for each row as the widest of MLflow's types.

    A single column has no name: MLflow then accepts an array as well, and a column of any name.
    """
    from mlflow.types import ColSpec

    kinds = {"f": "double", "i": "long", "u": "long", "b": "boolean", "O": "string"}
    return ColSpec(kinds[spec.dtype.kind], spec.name if named else None)


def _doubled(schema: Schema) -> Schema:
    """Return a schema with double for float.

    MLflow's float refuses float64, its double takes both.
    """
    from mlflow.types import ColSpec, DataType, Schema

    return Schema(
        [
            ColSpec(DataType.double, column.name, required=column.required)
            if isinstance(column, ColSpec) and column.type == DataType.float
            else column
            for column in schema.inputs
        ]
    )


def _tensors(specs: Iterable[TensorSpec]) -> Schema:
    from mlflow.types import Schema
    from mlflow.types import TensorSpec as MlflowTensorSpec

    return Schema([MlflowTensorSpec(spec.dtype, spec.shape, spec.name) for spec in specs])


def _params(own: ParamSchema | None) -> ParamSchema:
    from mlflow.types import ParamSchema, ParamSpec

    specs = list(own.params) if own else []
    taken = {spec.name for spec in specs}
    specs += [ParamSpec(name, kind, None) for name, kind in PARAMS if name not in taken]
    return ParamSchema(specs)
