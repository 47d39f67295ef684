"""Which outputs hold one value a row, and how messages list them."""

from __future__ import annotations

from hybridmodel.data.tensors import WILDCARD, ModelSpec, TensorSpec


def is_column(spec: TensorSpec) -> bool:
    """Tell whether an output may hold one value for each row: shape ``[?]`` or ``[?, 1]``."""
    return len(spec.shape) == 1 or (len(spec.shape) == 2 and spec.shape[1] in (1, WILDCARD))


def listed(spec: ModelSpec) -> str:
    """List a model's outputs for a message."""
    return f"the model's outputs are {', '.join(map(str, spec.outputs))}"
