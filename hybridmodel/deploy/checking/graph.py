"""The inputs and outputs of an ONNX file as its graph declares them, without onnxruntime.

They are read from a memory map in protobuf's wire format; field numbers are those of
``onnx.proto``. Nothing runs, and weights are passed by.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from hybridmodel.data.tensors import BY_ONNX
from hybridmodel.deploy.checking.files import Unreadable, opened
from hybridmodel.deploy.graph_edits import ELEMENTS
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.local.onnx_scan import scan
from hybridmodel.local.protobuf import Malformed, text, values_at

_CONFIG_TYPES = {number: BY_ONNX[name].config for name, number in ELEMENTS.items()}
"""What Triton calls the elements that it serves, by their number in TensorProto.DataType."""

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
        with opened(path) as file:
            if not os.fstat(file.fileno()).st_size:
                raise ConfigurationError("is empty")
            with (
                mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
                memoryview(mapped) as view,
            ):
                read = _read(view)
    except Unreadable as error:
        raise ConfigurationError(str(error)) from None
    # Raised here: a traceback would keep views of the memory map open.
    if isinstance(read, str):
        raise ConfigurationError(read)
    return read


def _read(view: memoryview) -> Graph | str:
    """Return the graph of a model, or why it cannot be read."""
    try:
        contents = scan(view, "it")
        graphs = list(values_at(view, 7))  # ModelProto.graph
        return _graph(graphs[-1], tuple(sorted(contents.external)))
    except ConfigurationError as error:
        return str(error).replace("it:", "is", 1)
    except (Malformed, UnicodeDecodeError) as error:
        said = error.args[0] if isinstance(error, Malformed) and error.args else "or damaged"
        return f"is not an ONNX model, {said}"


def _graph(graph: Any, external: tuple[str, ...]) -> Graph:
    inputs, outputs = _tensors(graph, 11), _tensors(graph, 12)  # GraphProto.input, .output
    initialized = set(map(text, values_at(graph, 5, 8)))  # .initializer, TensorProto.name
    inputs = tuple(item for item in inputs if item.name not in initialized)
    return Graph(inputs, outputs, external)


def _tensors(graph: Any, field_number: int) -> tuple[GraphTensor, ...]:
    values = list(islice(values_at(graph, field_number), _MOST_TENSORS + 1))
    if len(values) > _MOST_TENSORS:
        raise Malformed(f"it has more than {_MOST_TENSORS} inputs or outputs")
    return tuple(map(_tensor, values))


def _tensor(value: Any) -> GraphTensor:
    name = next(map(text, values_at(value, 1)), "")  # ValueInfoProto.name
    kinds = list(values_at(value, 2, 1, 1))  # .type.tensor_type.elem_type
    shapes = list(values_at(value, 2, 1, 2))  # .type.tensor_type.shape
    shape = tuple(map(_size, values_at(shapes[-1], 1))) if shapes else None
    kind = kinds[-1] if kinds and isinstance(kinds[-1], int) else 0
    return GraphTensor(name, _CONFIG_TYPES.get(kind), shape)


def _size(dimension: Any) -> int:
    for value in values_at(dimension, 1):  # Dimension.dim_value
        if isinstance(value, int) and value < 1 << 63:
            return value
    return FREE
