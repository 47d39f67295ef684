"""Runs a model on made-up rows to see what no graph tells: whether it takes zeros, and more."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from hybridmodel.data.tensors import WILDCARD, Array, ModelSpec, TensorSpec
from hybridmodel.exceptions import InputMismatch
from hybridmodel.local.onnx_file import OnnxFile
from hybridmodel.local.session import LocalSession
from hybridmodel.serving.model_config import smallest_shape

MOST_BYTES = 1 << 28
"""A model up to this size is opened and tried; a larger one costs too much time and memory."""

FATAL = 4
"""The severity from which onnxruntime writes on stderr, so that a trial that fails says nothing."""

_ROWS = 5
_MOST_VALUES = 1 << 24
_SCALES = (1.0, 30.0)
_FREE_SIZES = (1, 16)
_TEXTS = np.array(["a", "b", "1"], object)

Feeds = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Trial:
    """What running a model showed; None where it showed nothing.

    Attributes
    ----------
    takes_zeros : bool, optional
        Whether it runs on zeros and empty texts, as a server sends them to warm it up.
    rows_apart : bool, optional
        Whether the answer to each row is the same with other rows beside it as without.
    """

    takes_zeros: bool | None = None
    rows_apart: bool | None = None


def size_bytes(onnx: OnnxFile) -> int:
    """Return the size of a model with its external files."""
    folder = onnx.path.parent if onnx.path else None
    beside = [(folder / name).stat().st_size for name in onnx.external_files] if folder else []
    return onnx.size_bytes + sum(beside)


def opened(onnx: OnnxFile | Path, spec: ModelSpec | None = None) -> LocalSession:
    """Open a model to try it: onnxruntime writes nothing on stderr where it fails."""
    return LocalSession(onnx, spec=spec, session_options={"log_severity_level": FATAL})


def tried(onnx: OnnxFile, spec: ModelSpec) -> Trial:
    """Run a model; `Trial()` for a model of more than `MOST_BYTES`."""
    if size_bytes(onnx) > MOST_BYTES:
        return Trial()
    local = opened(onnx, spec)
    shapes = [smallest_shape(item) for item in spec.inputs]
    counted = all(item.batched for item in (*spec.inputs, *spec.outputs))
    return Trial(_takes_zeros(local, shapes), _rows_apart(local) if counted else False)


def same_answers(one: LocalSession, other: LocalSession) -> bool:
    """Return whether two sessions give the same, bit by bit, wherever the first gives anything."""
    for feeds in _made_up(one.spec.inputs):
        expected = _answers(one, feeds)
        if expected is not None:
            found = _answers(other, feeds) or {}
            if any(not _equal(expected[name], found.get(name)) for name in expected):
                return False
    return True


def _rows_apart(local: LocalSession) -> bool | None:
    """Compare rows together with each alone; None if nothing could be seen."""
    seen = None
    for feeds in _made_up(local.spec.inputs):
        together = _answers(local, feeds)
        if together is None:
            continue
        for row in range(_ROWS):
            alone = _answers(local, {name: _row(values, row) for name, values in feeds.items()})
            if alone is None or any(
                not _alike(_row(values, row), alone[name]) for name, values in together.items()
            ):
                return False
        # A model that says the same to every row would say so in any company.
        seen = seen or any(map(_has_different_rows, together.values())) or None
    return seen


def _row(values: Array, row: int) -> Array:
    return values[row : row + 1]


def _has_different_rows(values: Array) -> bool:
    return any(not _equal(_row(values, 0), _row(values, row)) for row in range(1, len(values)))


def _takes_zeros(local: LocalSession, shapes: list[list[int]]) -> bool | None:
    if not _are_small(shapes):
        return None
    pairs = zip(local.spec.inputs, shapes, strict=True)
    return _answers(local, {item.name: _filled(item, shape) for item, shape in pairs}) is not None


def _answers(local: LocalSession, feeds: Feeds) -> dict[str, Array] | None:
    try:
        return local.run(feeds, local.spec.output_names)
    except InputMismatch:
        return None


def _made_up(inputs: tuple[TensorSpec, ...]) -> Iterator[Feeds]:
    for scale, free in product(_SCALES, _FREE_SIZES):
        random = np.random.default_rng(0)
        shapes = [_shape(item, free) for item in inputs]
        if _are_small(shapes):
            pairs = zip(inputs, shapes, strict=True)
            yield {item.name: _random(item, shape, scale, random) for item, shape in pairs}


def _are_small(shapes: list[list[int]]) -> bool:
    return sum(map(math.prod, shapes)) <= _MOST_VALUES


def _shape(tensor: TensorSpec, free: int) -> list[int]:
    shape = [free if size == WILDCARD else size for size in tensor.shape]
    return [_ROWS, *shape[1:]] if tensor.batched else shape


def _random(
    tensor: TensorSpec, shape: list[int], scale: float, random: np.random.Generator
) -> Array:
    if tensor.dtype.kind == "O":
        return random.choice(_TEXTS, shape)
    if tensor.dtype.kind == "f":
        return (random.normal(size=shape) * scale).astype(tensor.dtype)
    # Small numbers, since many are positions in a table.
    return random.integers(0, 2, shape).astype(tensor.dtype)


def _filled(tensor: TensorSpec, shape: list[int]) -> Array:
    is_text = tensor.dtype.kind == "O"
    return np.full(shape, "", object) if is_text else np.zeros(shape, tensor.dtype)


def _alike(one: Array, other: Array) -> bool:
    if one.shape != other.shape or one.dtype.kind != "f":
        return _equal(one, other)
    # Sums of floats depend a little on how many rows are summed side by side.
    loose = (
        100
        * float(np.finfo(one.dtype).eps)
        * max(1.0, float(np.nan_to_num(abs(one)).max(initial=0)))
    )
    return bool(np.allclose(one, other, rtol=1e-3, atol=loose, equal_nan=True))


def _equal(one: Array, other: Array | None) -> bool:
    if other is None or one.shape != other.shape:
        return False
    return bool(np.array_equal(one, other, equal_nan=one.dtype.kind == "f"))
