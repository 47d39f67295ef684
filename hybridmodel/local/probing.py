"""What a model really gives, where its graph does not say it, or not truly.

Converters declare outputs that their models do not give: LightGBM's labels as ``[1]``, CatBoost's
numbers as ``[n]`` where they are ``[n, 1]``, others no shape at all. Where an output may be such a
one, the model is asked once, with as many rows of zeros as tell the cases apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from hybridmodel.data.tensors import WILDCARD, ModelSpec, TensorSpec

if TYPE_CHECKING:
    import onnxruntime

Array = np.ndarray[Any, Any]


def settled(spec: ModelSpec, session: onnxruntime.InferenceSession) -> ModelSpec:
    """Return the spec with its doubtful outputs as the model gives them.

    Parameters
    ----------
    spec : ModelSpec
        As the graph declares it.
    session : onnxruntime.InferenceSession
        Of the model; is run only where an output is in doubt.
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
    """Return the shapes that came for so many rows, none where the model takes no zeros."""
    names = [item.name for item in doubtful]
    feeds = {item.name: _zeros(item, rows) for item in spec.inputs}
    try:
        values = session.run(names, feeds)
    except Exception:  # noqa: BLE001 - whatever it is, the graph's own word is all there is
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
