"""Questions about a model's outputs, and how messages list them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from hybridmodel.data.tensors import WILDCARD, ModelSpec, TensorSpec


def is_column(spec: TensorSpec) -> bool:
    """Tell whether an output may hold one value for each row: shape ``[?]`` or ``[?, 1]``."""
    return len(spec.shape) == 1 or (len(spec.shape) == 2 and spec.shape[1] in (1, WILDCARD))


def listed(spec: ModelSpec) -> str:
    """List a model's outputs for a message."""
    return f"the model's outputs are {', '.join(map(str, spec.outputs))}"


def some(values: Iterable[Any], most: int = 10) -> str:
    """Write the first of some values, and how many more follow."""
    shown = [repr(item) for item in np.asarray(list(values), dtype=object).tolist()]
    rest = f", … {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + rest
