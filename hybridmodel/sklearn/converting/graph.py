"""Changes to a converter's graph: no ZipMap, names as they shall be, outputs of real shapes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hybridmodel.sklearn.classes import CLASSES

_ELEMENTS = {"FP32": 1, "FP64": 11, "INT64": 7, "BYTES": 8, "INT32": 6, "BOOL": 9}
"""TensorProto.DataType by datatype."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """An output as it shall be.

    `source` is the tensor that it is made of; `column` is the only one that is taken of it, if one
    is, with its `sign`. `is_flat` says that its values become one dimension. `datatype` is empty
    until the graph has run. Without a `width` there is one value for each row, and no second
    dimension.
    """

    source: str
    column: int | None = None
    sign: int = 1
    is_flat: bool = False
    datatype: str = ""
    width: int | None = None


def name_inputs(model: Any, names: Sequence[str]) -> None:
    """Give the inputs of a graph other names; skl2onnx allows itself letters and digits only."""
    found = [item.name for item in model.graph.input]
    inner = {name: f"{name}_inner" for name in names}
    _rename(model.graph, {**inner, **dict(zip(found, names, strict=True))})


def raw_outputs(model: Any) -> list[str]:
    """Take the ZipMap nodes out of a graph; return the tensors that its outputs are made of."""
    graph = model.graph
    maps = {node.output[0]: node for node in graph.node if node.op_type == "ZipMap"}
    for node in maps.values():
        graph.node.remove(node)
    return [
        maps[output.name].input[0] if output.name in maps else output.name
        for output in graph.output
    ]


def with_outputs(model: Any, outputs: Mapping[str, Wanted]) -> bytes:
    """Return a graph as bytes, with other outputs; the model itself is not changed."""
    made = type(model)()
    made.CopyFrom(model)
    graph = made.graph
    del graph.output[:], graph.value_info[:]  # Shapes that converters declare may be wrong.
    used = set(_used(graph)) | {item.source for item in outputs.values()}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]  # onnxruntime warns of those that no node reads.
    graph.initializer.extend(kept)
    inner = {item.source: f"hybridmodel_{place}" for place, item in enumerate(outputs.values())}
    taken = {name: f"{name}_inner" for name in outputs if name not in inner}
    _rename(graph, {**taken, **inner})
    for name, item in outputs.items():
        graph.node.extend(_nodes(inner[item.source], name, item))
        graph.output.append(_declared(name, item, _rows_of(graph)))
    _add_own_operators(made)
    return bytes(made.SerializeToString())


def add_classes(model: Any, classes: Iterable[Any]) -> None:
    """Write the names of classes into the metadata of a model, in the order of the columns."""
    names = [name if isinstance(name, str) else int(name) for name in classes]
    entry = model.metadata_props.add()
    entry.key, entry.value = CLASSES, json.dumps(names, ensure_ascii=False)


def _nodes(source: str, name: str, item: Wanted) -> Sequence[Any]:
    from onnx import helper

    if item.column is None and not item.is_flat:
        return [helper.make_node("Identity", [source], [name])]
    number, taken = f"{name}_number", f"{name}_taken"
    value = helper.make_tensor(
        "value", _ELEMENTS["INT64"], [1], [-1 if item.column is None else item.column]
    )
    constant = helper.make_node("Constant", [], [number], value=value)
    if item.is_flat:
        return [constant, helper.make_node("Reshape", [source, number], [name])]
    return [
        constant,
        helper.make_node("Gather", [source, number], [taken], axis=1),
        helper.make_node("Neg" if item.sign < 0 else "Identity", [taken], [name]),
    ]


def _rows_of(graph: Any) -> str | None:
    """Return the name of the dimension that counts the rows of the input, if it has one."""
    sizes = graph.input[0].type.tensor_type.shape.dim
    return sizes[0].dim_param or None


def _declared(name: str, item: Wanted, rows: str | None) -> Any:
    from onnx import helper

    if not item.datatype:
        return helper.make_empty_tensor_value_info(name)
    shape = [rows] if item.width is None else [rows, item.width]
    return helper.make_tensor_value_info(name, _ELEMENTS[item.datatype], shape)


def _used(graph: Any) -> Iterator[str]:
    """Yield the tensors that nodes read, also those of inner graphs."""
    for node in graph.node:
        yield from node.input
        for inner in _inner_graphs(node):
            yield from _used(inner)
            yield from (item.name for item in inner.output)


def _inner_graphs(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        yield from (attribute.g, *attribute.graphs)


def _rename(graph: Any, names: Mapping[str, str]) -> None:
    """Rename tensors in a graph and in those that it holds."""
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for inner in _inner_graphs(node):
            _rename(inner, names)
    for item in (*graph.input, *graph.output, *graph.initializer):
        item.name = names.get(item.name, item.name)


def _add_own_operators(model: Any) -> None:
    """Import ONNX's own operators, which a graph of trees alone may lack."""
    if not any(item.domain in ("", "ai.onnx") for item in model.opset_import):
        entry = model.opset_import.add()
        entry.domain, entry.version = "", 13
