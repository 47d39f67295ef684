"""The real shapes of outputs that a graph does not declare, or declares wrongly.

Converters declare wrong shapes: LightGBM's labels as ``[1]``, CatBoost's numbers as ``[n]`` where
they are ``[n, 1]``; others declare none. If an output may be such a case, the model runs once, on
as many rows of zeros as it takes to tell the cases apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

import numpy as np

from hybridmodel.data.tensors import WILDCARD, Array, ModelSpec, TensorSpec

if TYPE_CHECKING:
    import onnxruntime


def settled(spec: ModelSpec, session: onnxruntime.InferenceSession) -> ModelSpec:
    """Return the spec with the real shapes of doubtful outputs.

    Runs the model only if there are any.
    """
    doubtful = [item for item in spec.outputs if _is_doubtful(item, spec)]
    if not doubtful:
        return spec
    taken = {item.shape[0] for item in doubtful if item.shape}
    rows = next(number for number in count(2) if number not in taken)
    seen = _seen(session, spec, rows, doubtful)
    counted = any(item.batched for item in spec.inputs)
    outputs = (
        _as_seen(item, seen[item.name], rows if counted else None) if item.name in seen else item
        for item in spec.outputs
    )
    return replace(spec, outputs=tuple(outputs))


def _is_doubtful(output: TensorSpec, spec: ModelSpec) -> bool:
    if output.unranked:
        return not any(item.unranked for item in spec.inputs)
    if not any(item.batched for item in spec.inputs) or output.labels:
        return False
    is_fixed = bool(output.shape) and output.shape[0] != WILDCARD
    return is_fixed or (len(output.shape) == 1 and output.dtype.kind == "f")


def _seen(
    session: onnxruntime.InferenceSession, spec: ModelSpec, rows: int, doubtful: list[TensorSpec]
) -> Mapping[str, tuple[int, ...]]:
    """Return the shapes of the outputs for `rows` rows, none if the model fails on zeros."""
    names = [item.name for item in doubtful]
    feeds = {item.name: _zeros(item, rows) for item in spec.inputs}
    try:
        values = session.run(names, feeds)
    except Exception:  # noqa: BLE001 - then only the graph's own declaration is known
        return {}
    return dict(zip(names, (value.shape for value in values), strict=True))


def _zeros(spec: TensorSpec, rows: int) -> Array:
    shape = [1 if size == WILDCARD else size for size in spec.shape]
    if spec.batched:
        shape[0] = rows
    return np.full(shape, "", object) if spec.dtype.kind == "O" else np.zeros(shape, spec.dtype)


def _as_seen(output: TensorSpec, shape: tuple[int, ...], rows: int | None) -> TensorSpec:
    counts_rows = bool(shape) and shape[0] == rows
    if output.unranked:
        sizes = (WILDCARD,) * len(shape)
        return replace(output, shape=sizes, batched=counts_rows, unranked=bool(shape))
    if not counts_rows:
        return output
    if len(shape) != len(output.shape):
        return replace(output, shape=(WILDCARD, *shape[1:]), batched=True, unranked=True)
    return replace(output, shape=(WILDCARD, *output.shape[1:]), batched=True)
