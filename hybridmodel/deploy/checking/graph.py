"""The inputs and outputs of an ONNX file as its graph declares them, without onnxruntime.

They are read from a memory map in protobuf's wire format; field numbers are those of
``onnx.proto``. Nothing runs, and weights are passed by.
"""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hybridmodel.data.tensors import BY_ONNX
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.local.onnx_scan import scan
from hybridmodel.local.protobuf import Malformed, fields, text

_ELEMENTS = (
    None, "float", "uint8", "int8", "uint16", "int16", "int32", "int64", "string", "bool",
    "float16", "double", "uint32", "uint64",
)  # fmt: skip
"""Names of TensorProto.DataType by number, as far as Triton serves them."""

FREE = -1

_MOST_TENSORS = 10_000


@dataclass(frozen=True, slots=True)
class GraphTensor:
    """An input or output of a graph.

    Attributes
    ----------
    name : str
        Its name.
    data_type : str or None
        As Triton calls it, such as ``TYPE_FP32``; None for what is no tensor that Triton serves.
    shape : tuple of int or None
        ``-1`` stands for any size; None where the graph declares no shape.
    """

    name: str
    data_type: str | None
    shape: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Graph:
    """What an ONNX file declares: inputs without those that have a value, outputs, other files."""

    inputs: tuple[GraphTensor, ...]
    outputs: tuple[GraphTensor, ...]
    external: tuple[str, ...]

    @property
    def can_batch(self) -> bool:
        """Whether the first size of each input and output is free, as Triton looks at it."""
        return all(item.shape and item.shape[0] == FREE for item in (*self.inputs, *self.outputs))


def read_graph(path: Path) -> Graph:
    """Read an ONNX file; raise `ConfigurationError` with a predicate if that fails."""
    try:
        # Not blocking: it may be a pipe.
        opened = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        raise ConfigurationError(f"cannot be read: {error.strerror}") from None
    with open(opened, "rb") as file:  # noqa: PTH123 - it is a descriptor
        status = os.fstat(opened)
        if not stat.S_ISREG(status.st_mode) or not status.st_size:
            raise ConfigurationError("is empty, or no regular file")
        with (
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
            memoryview(mapped) as view,
        ):
            read = _read(view)
    # Raised here: a traceback would keep views of the memory map open.
    if isinstance(read, str):
        raise ConfigurationError(read)
    return read


def _read(view: memoryview) -> Graph | str:
    """Return the graph of a model, or why it cannot be read."""
    try:
        contents = scan(view, "it")
        graphs = [value for number, value in fields(view) if number == 7]  # ModelProto.graph
        return _graph(graphs[-1], tuple(sorted(contents.external)))
    except ConfigurationError as error:
        return str(error).replace("it:", "is", 1)
    except (Malformed, UnicodeDecodeError) as error:
        said = error.args[0] if isinstance(error, Malformed) and error.args else "or damaged"
        return f"is not an ONNX model, {said}"


def _graph(graph: Any, external: tuple[str, ...]) -> Graph:
    found: dict[int, list[GraphTensor]] = {11: [], 12: []}  # GraphProto.input, .output
    initialized: set[str] = set()
    for number, value in fields(graph):
        if number in found:
            found[number].append(_tensor(value))
            if len(found[number]) > _MOST_TENSORS:
                raise Malformed(f"it has more than {_MOST_TENSORS} inputs or outputs")
        elif number == 5:  # .initializer
            initialized.update(_texts(value, 8))  # TensorProto.name
    inputs = tuple(item for item in found[11] if item.name not in initialized)
    return Graph(inputs, tuple(found[12]), external)


def _tensor(value: Any) -> GraphTensor:
    name = next(_texts(value, 1), "")  # ValueInfoProto.name
    element, shape = 0, None
    for number, kind in fields(value):
        if number != 2:  # .type
            continue
        for inner, tensor in fields(kind):
            if inner == 1:  # TypeProto.tensor_type
                element, shape = _tensor_type(tensor)
    known = _ELEMENTS[element] if 0 < element < len(_ELEMENTS) else None
    return GraphTensor(name, BY_ONNX[known].config if known else None, shape)


def _tensor_type(tensor: Any) -> tuple[int, tuple[int, ...] | None]:
    element, shape = 0, None
    for number, value in fields(tensor):
        if number == 1 and isinstance(value, int):  # TypeProto.Tensor.elem_type
            element = value
        elif number == 2:  # .shape
            shape = tuple(_size(dim) for inner, dim in fields(value) if inner == 1)
    return element, shape


def _size(dimension: Any) -> int:
    for number, value in fields(dimension):
        if number == 1 and isinstance(value, int) and value < 1 << 63:  # Dimension.dim_value
            return value
    return FREE


def _texts(message: Any, field_number: int) -> Iterator[str]:
    return (text(value) for number, value in fields(message) if number == field_number)
