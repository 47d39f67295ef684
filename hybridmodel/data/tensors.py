"""Element types in the names of ONNX, the Open Inference Protocol, Triton and numpy; and specs.

`ELEMENT_TYPES` is the table of all names. `TensorSpec` describes one input or output, `ModelSpec`
the inputs and outputs of a model. Both routes and the saved model use them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from hybridmodel.data.json_records import (
    as_json,
    counts,
    expected,
    flag,
    listed,
    members,
    read_record,
    text,
)
from hybridmodel.exceptions import ConfigurationError, SpecMismatch

Array = np.ndarray[Any, Any]

WILDCARD = -1

GATE = "hybridmodel_gate"
"""The output that a gate adds to the local model: for scores; calls get it by its name only."""


@dataclass(frozen=True, slots=True)
class ElementType:
    """One element type, by its name in ONNX, the protocol, numpy and Triton's ``config.pbtxt``.

    `onnx` is ``float`` in onnxruntime's ``tensor(float)``; `dtype` is little-endian, as on the
    wire, and ``object`` (of `str`) for strings. `in_json` is false where servers do not agree on a
    form in JSON, so that the data has to be binary.
    """

    onnx: str
    datatype: str
    dtype: np.dtype[Any]
    config: str
    in_json: bool


def _element(
    onnx: str, datatype: str, dtype: str, config: str | None = None, in_json: bool = True
) -> ElementType:
    return ElementType(onnx, datatype, np.dtype(dtype), config or f"TYPE_{datatype}", in_json)


ELEMENT_TYPES = (
    _element("float", "FP32", "<f4"),
    _element("double", "FP64", "<f8"),
    _element("float16", "FP16", "<f2", in_json=False),
    _element("int8", "INT8", "i1"),
    _element("int16", "INT16", "<i2"),
    _element("int32", "INT32", "<i4"),
    _element("int64", "INT64", "<i8"),
    _element("uint8", "UINT8", "u1"),
    _element("uint16", "UINT16", "<u2"),
    _element("uint32", "UINT32", "<u4"),
    _element("uint64", "UINT64", "<u8"),
    _element("bool", "BOOL", "?"),
    _element("string", "BYTES", "O", "TYPE_STRING"),
)

BY_DATATYPE: Mapping[str, ElementType] = {row.datatype: row for row in ELEMENT_TYPES}
BY_ONNX: Mapping[str, ElementType] = {row.onnx: row for row in ELEMENT_TYPES}
BY_DTYPE: Mapping[np.dtype[Any], ElementType] = {row.dtype: row for row in ELEMENT_TYPES}


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a model.

    Attributes
    ----------
    name : str
        Name in the ONNX graph and on the wire.
    datatype : str
        Open Inference Protocol datatype, such as ``FP32``.
    shape : tuple of int
        ``-1`` stands for any size.
    batched : bool
        Whether the first dimension counts the rows of a call.
    labels : tuple of str or int
        For a ``ZipMap`` output the classes, in the order of the columns; else empty.
    unranked : bool
        Whether the graph does not declare the number of dimensions, or declares a wrong one. Any
        number fits then, and `shape` is what the model returned when it was tried, or empty.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    batched: bool = False
    labels: tuple[str | int, ...] = ()
    unranked: bool = False
    dtype: np.dtype[Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        row = BY_DATATYPE.get(self.datatype)
        if row is None:
            raise ConfigurationError(
                f"tensor {self.name!r}: datatype {self.datatype!r} is not one of "
                f"{', '.join(BY_DATATYPE)}"
            )
        object.__setattr__(self, "dtype", row.dtype)

    def __str__(self) -> str:
        is_known = self.shape or not self.unranked
        shape = format_shape(self.shape) if is_known else "[…]"
        return f"{self.name}: {self.datatype}{shape}"

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Return whether an array of `shape` has the declared dimensions."""
        if self.unranked:
            return True
        if len(shape) != len(self.shape):
            return False
        for declared, size in zip(self.shape, shape, strict=True):
            if declared not in (WILDCARD, size):
                return False
        return True

    def empty(self) -> Array:
        """Return the answer to zero rows; every size that is not declared is 0."""
        rest = tuple(0 if size == WILDCARD else size for size in self.shape[1:])
        return np.empty((0, *rest), dtype=self.dtype)

    def to_dict(self) -> dict[str, Any]:
        """Return what `from_dict` takes, in JSON's types."""
        stored = {key: as_json(getattr(self, key)) for key in _TENSOR}
        return {key: value for key, value in stored.items() if value or key not in _LEFT_OUT}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> TensorSpec:
        """Read what `to_dict` wrote; a `ConfigurationError` has the path to the wrong key."""
        return read_record(cls, stored, _TENSOR)


@dataclass(frozen=True)
class ModelSpec:
    """The inputs and outputs of a model, each in the order of its graph."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @cached_property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs, in order."""
        return tuple(spec.name for spec in self.inputs)

    @cached_property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs, in order."""
        return tuple(spec.name for spec in self.outputs)

    @cached_property
    def answered_names(self) -> tuple[str, ...]:
        """Names of the outputs that answer: all but that of a gate."""
        return tuple(name for name in self.output_names if name != GATE)

    @cached_property
    def outputs_by_name(self) -> Mapping[str, TensorSpec]:
        """The outputs by name; `output` is for names that may be wrong."""
        return {spec.name: spec for spec in self.outputs}

    def output(self, name: str) -> TensorSpec:
        """Return the output called `name`; a `ConfigurationError` lists those that exist."""
        if name in self.outputs_by_name:
            return self.outputs_by_name[name]
        raise ConfigurationError(
            f"the model has no output {name!r}; it has {', '.join(map(repr, self.output_names))}"
        )

    def differences(self, other: ModelSpec, local_only: Collection[str] = ()) -> tuple[str, ...]:
        """Return one sentence for each difference between this (local) spec and the endpoint's.

        The endpoint may lack the outputs that `local_only` names, and a gate.
        """
        missing = {GATE, *local_only}.difference(other.output_names)
        compared = tuple(item for item in self.outputs if item.name not in missing)
        return (
            *_differences("input", self.inputs, other.inputs),
            *_differences("output", compared, other.outputs),
        )

    def check_served(self, other: ModelSpec, url: str, local_only: Collection[str] = ()) -> None:
        """Raise `SpecMismatch` with all `differences` from the model that is served at `url`."""
        differences = self.differences(other, local_only)
        if differences:
            raise SpecMismatch(
                f"{url} does not serve a model with the same inputs and outputs: "
                f"{'; '.join(differences)}",
                differences,
            )

    def to_dict(self) -> dict[str, Any]:
        """Return what `from_dict` takes, in JSON's types."""
        return members(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> ModelSpec:
        """Read what `to_dict` wrote; a `ConfigurationError` has the path to the wrong key."""
        return read_record(cls, stored, {"inputs": TENSORS, "outputs": TENSORS})


def _label(value: Any) -> Any:
    if type(value) not in (str, int):
        raise expected("a text or a whole number", value)
    return value


_TENSOR: Mapping[str, Callable[[Any], Any]] = {
    "name": text,
    "datatype": text,
    "shape": counts,
    "batched": flag,
    "labels": listed(_label, "labels"),
    "unranked": flag,
}
_LEFT_OUT = ("labels", "unranked")  # Where there are none, as in models of earlier releases.
TENSORS = listed(TensorSpec.from_dict, "tensors")
"""Reads the descriptions of several tensors, as `TensorSpec.to_dict` wrote them."""


def format_shape(shape: Iterable[int]) -> str:
    """Return a shape as text, such as ``[?, 30]``, with a question mark for any size."""
    return "[" + ", ".join("?" if size == WILDCARD else str(size) for size in shape) + "]"


def _differences(
    what: str, local: tuple[TensorSpec, ...], remote: tuple[TensorSpec, ...]
) -> Iterable[str]:
    left = {spec.name: spec for spec in remote}
    for spec in local:
        other = left.pop(spec.name, None)
        if other is None:
            offered = ", ".join(repr(item.name) for item in remote) or "none"
            yield f"{what} {spec.name!r}: the endpoint does not have it, it has {offered}"
            continue
        if other.datatype != spec.datatype:
            yield f"{what} {spec.name!r}: {spec.datatype} locally, {other.datatype} at the endpoint"
        if not (spec.unranked or _shapes_agree(spec.shape, other.shape)):
            yield (
                f"{what} {spec.name!r}: shape {format_shape(spec.shape)} locally, "
                f"{format_shape(other.shape)} at the endpoint"
            )
    for name in left:
        yield f"{what} {name!r}: the endpoint has it, the local model does not"


def _shapes_agree(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return len(one) == len(other) and all(
        a == b or WILDCARD in (a, b) for a, b in zip(one, other, strict=True)
    )


def size_of(feeds: Mapping[str, Array]) -> int:
    """Return about how many bytes feeds have in a request."""
    return sum(map(_size_bytes, feeds.values()))


def _size_bytes(array: Array) -> int:
    """Count strings by their length and the number before each, and not by where they lie."""
    if array.dtype.kind == "O":
        return sum(map(len, array.flat)) + 4 * array.size
    return array.nbytes
