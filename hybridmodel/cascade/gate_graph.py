"""A gate inside of the local model's ONNX graph: what it sees, and the output that it adds.

A gate sees the inputs that are numbers, the outputs that are floats, and the two largest values of
each table of outputs. Everything is added behind the graph's own nodes, which stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hybridmodel.checks import needed_for
from hybridmodel.data.tensors import GATE, ModelSpec, TensorSpec
from hybridmodel.exceptions import ConfigurationError

FEATURES = f"{GATE}_features"

EXTRA = "hybridmodel[gate]"

_LEAST_OPSET = 11
_ML = "ai.onnx.ml"
_ML_OPSET = 3


def with_features(content: bytes, spec: ModelSpec) -> Any:
    """Return a model with one more output, `FEATURES`, of floats and shape (n, k).

    Parameters
    ----------
    content : bytes
        The local model's file.
    spec : ModelSpec
        Its inputs and outputs.

    Returns
    -------
    onnx.ModelProto

    Raises
    ------
    ConfigurationError
        If nothing in it is a number for each row, if its operators are too old, or if it has an
        output called `GATE` already.
    MissingDependency
        If onnx is not installed.
    """
    with needed_for("a gate", EXTRA):
        import onnx
        from onnx import helper
    model = onnx.load_from_string(content)
    if GATE in spec.outputs_by_name:
        raise ConfigurationError(f"the model has a gate already, its output {GATE!r}")
    if opset_of(model) < _LEAST_OPSET:
        raise ConfigurationError(
            f"a gate needs a model of opset {_LEAST_OPSET} or later, and this one has "
            f"{opset_of(model)}: export it again"
        )
    parts = [_flat(model, *source) for source in enumerate(_sources(model, spec))]
    parts += [_top(model, *source) for source in enumerate(_tables(model, spec))]
    if not parts:
        raise ConfigurationError("no input is a number for each row: there is nothing for a gate")
    model.graph.node.append(helper.make_node("Concat", parts, [FEATURES], axis=1))
    model.graph.output.append(_declared(model, FEATURES, [None]))
    return model


def with_gate(model: Any, gate: Any) -> bytes:
    """Return the file of a model whose additional output `GATE` says how likely a loss is.

    Parameters
    ----------
    model : onnx.ModelProto
        As `with_features` returned it; is changed.
    gate : onnx.ModelProto
        Makes ``probabilities`` of two classes, the second a loss, of its input `FEATURES`.
    """
    from onnx import compose, helper, numpy_helper

    gate = compose.add_prefix(gate, prefix=f"{GATE}_", rename_inputs=False)
    graph = model.graph
    graph.node.extend(gate.graph.node)
    graph.initializer.extend(gate.graph.initializer)
    graph.initializer.append(numpy_helper.from_array(_int64(1), f"{GATE}_second"))
    last = gate.graph.output[1].name
    graph.node.append(helper.make_node("Gather", [last, f"{GATE}_second"], [GATE], axis=1))
    graph.output.remove(next(item for item in graph.output if item.name == FEATURES))
    graph.output.append(_declared(model, GATE, []))
    known = {item.domain or "" for item in model.opset_import}
    new = [item for item in gate.opset_import if (item.domain or "") not in known]
    model.opset_import.extend(new)
    content: bytes = model.SerializeToString()
    return content


def opset_of(model: Any, domain: str = "") -> int:
    """Return the version of a domain's operators that a model uses."""
    versions = {item.domain or "": item.version for item in model.opset_import}
    return int(versions.get(domain, _ML_OPSET if domain == _ML else 1))


def opsets(model: Any) -> dict[str, int]:
    """Return the versions that a gate in a model has to use."""
    return {"": opset_of(model), _ML: opset_of(model, _ML)}


def _sources(model: Any, spec: ModelSpec) -> Iterator[str]:
    for item in spec.inputs:
        if item.batched and item.dtype.kind in "fiub":
            yield item.name
    for item in spec.outputs:
        if item.batched and item.dtype.kind == "f":
            yield _tensor_of(model, item)


def _tables(model: Any, spec: ModelSpec) -> Iterator[str]:
    for item in spec.outputs:
        is_table = item.dtype.kind == "f" and len(item.shape) == 2 and item.shape[1] >= 2
        if item.batched and is_table:
            yield _tensor_of(model, item)


def _tensor_of(model: Any, output: TensorSpec) -> str:
    """Return the tensor of an output: that which goes into a ``ZipMap``."""
    for node in model.graph.node:
        if node.op_type == "ZipMap" and output.name in node.output:
            return str(node.input[0])
    return output.name


def _flat(model: Any, place: int, source: str) -> str:
    """Add nodes that make a table of floats."""
    from onnx import TensorProto, helper

    cast, flat = f"{GATE}_cast_{place}", f"{GATE}_flat_{place}"
    model.graph.node.append(helper.make_node("Cast", [source], [cast], to=TensorProto.FLOAT))
    model.graph.node.append(helper.make_node("Flatten", [cast], [flat], axis=1))
    return flat


def _top(model: Any, place: int, source: str) -> str:
    """Add nodes that take the two largest values of each row."""
    from onnx import TensorProto, helper, numpy_helper

    cast, top, count = (f"{GATE}_{what}_{place}" for what in ("table", "top", "two"))
    model.graph.initializer.append(numpy_helper.from_array(_int64([2]), count))
    model.graph.node.append(helper.make_node("Cast", [source], [cast], to=TensorProto.FLOAT))
    outputs = [top, f"{GATE}_which_{place}"]
    model.graph.node.append(helper.make_node("TopK", [cast, count], outputs, axis=1))
    return top


def _declared(model: Any, name: str, rest: list[Any]) -> Any:
    """Describe an output with the rows of the first input."""
    from onnx import TensorProto, helper

    dim = model.graph.input[0].type.tensor_type.shape.dim
    rows = dim[0].dim_param or dim[0].dim_value or None
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [rows, *rest])


def _int64(value: Any) -> Any:
    import numpy as np

    return np.asarray(value, dtype=np.int64)
