"""A request that a hybrid model answers, for those who try its endpoint."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from hybridmodel.data.tensors import WILDCARD

if TYPE_CHECKING:
    from hybridmodel.data.tensors import TensorSpec
    from hybridmodel.model import HybridOnnxModel

_MOST_VALUES = 10_000
_OTHERS: dict[str, Any] = {"BYTES": "", "BOOL": False}


def request_for(model: HybridOnnxModel) -> dict[str, Any]:
    """Return one row of zeros, empty texts and false, in a form that MLflow's servers take.

    An input of more than 10,000 values is an empty list, for the user to fill in.
    """
    if model.feature_names:
        kind = _OTHERS.get(model.inputs[0].datatype, 0)
        row = [kind] * len(model.feature_names)
        return {"dataframe_split": {"columns": list(model.feature_names), "data": [row]}}
    return {"inputs": {spec.name: _row(spec) for spec in model.inputs}}


def _row(spec: TensorSpec) -> Any:
    shape = [1 if size == WILDCARD else size for size in spec.shape]
    if math.prod(shape) > _MOST_VALUES:
        return []
    value = _OTHERS.get(spec.datatype, 0)
    for size in reversed(shape):
        value = [value] * size
    return value
