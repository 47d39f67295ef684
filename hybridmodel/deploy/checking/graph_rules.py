"""Rules for a ``config.pbtxt`` beside its ONNX file: what Triton's backend compares at load.

Source: the onnxruntime backend's ValidateInputs, ValidateOutputs and AutoCompleteMaxBatch.
"""

from __future__ import annotations

from collections.abc import Iterator

from hybridmodel.checks import printable
from hybridmodel.data.tensors import format_shape
from hybridmodel.deploy.checking.config_parser import Message
from hybridmodel.deploy.checking.config_rules import dims_of, max_batch_size
from hybridmodel.deploy.checking.findings import Finding, Place, listed
from hybridmodel.deploy.checking.graph import FREE, Graph, GraphTensor

DEFAULT_BATCH_SIZE = 4


def check(config: Message, graph: Graph, place: Place) -> Iterator[Finding]:
    """Yield where a configuration does not fit the graph that is served with it."""
    yield from _check_automatic(config, graph, place)
    yield from _check_inputs(config, graph, place)
    yield from _check_outputs(config, graph, place)
    batched = max_batch_size(config) > 0
    for kind, tensors in (("input", graph.inputs), ("output", graph.outputs)):
        declared = {tensor.get("name"): tensor for tensor in config.messages(kind)}
        for tensor in tensors:
            if tensor.name in declared:
                is_exact = kind == "output"
                yield from _check_tensor(
                    declared[tensor.name], tensor, place, batched=batched, is_exact=is_exact
                )


def check_kinds(graph: Graph, place: Place) -> Iterator[Finding]:
    """Yield the inputs and outputs of a graph that Triton cannot serve."""
    for tensor in (*graph.inputs, *graph.outputs):
        if tensor.data_type is None:
            yield place.found(
                "graph-not-tensor",
                None,
                f"{printable(tensor.name, 60)!r} is no tensor of a type that Triton's onnxruntime "
                "backend serves",
                "convert the model again; scikit-learn's classifiers with zipmap=False",
            )


def _check_automatic(config: Message, graph: Graph, place: Place) -> Iterator[Finding]:
    lacking = [kind for kind in ("input", "output") if not config.all(kind)]
    if lacking and graph.can_batch and max_batch_size(config) == 0:
        yield place.found(
            "auto-complete",
            config.line_of("max_batch_size"),
            f"without a list of {' and of '.join(lacking)} Triton sets max_batch_size to "
            f"{DEFAULT_BATCH_SIZE}, whatever is written, and refuses requests of more rows",
            "write all inputs and outputs, or the max_batch_size that you want",
        )


def _check_inputs(config: Message, graph: Graph, place: Place) -> Iterator[Finding]:
    names = [item.name for item in graph.inputs]
    given = {tensor.get("name"): tensor.line for tensor in config.messages("input")}
    if not given:
        return
    yield from _not_in_graph("graph-input", "input", given, names, place)
    for name in names:
        if name not in given:
            yield place.found(
                "graph-input",
                config.line_of("input"),
                f"the graph's input {printable(name, 60)!r} is not in the list",
                "add it; Triton loads no model with other inputs than its graph has",
            )


def _check_outputs(config: Message, graph: Graph, place: Place) -> Iterator[Finding]:
    given = {tensor.get("name"): tensor.line for tensor in config.messages("output")}
    names = [item.name for item in graph.outputs]
    yield from _not_in_graph("graph-output", "output", given, names, place)


def _not_in_graph(
    rule: str, kind: str, given: dict[str, int], names: list[str], place: Place
) -> Iterator[Finding]:
    for name, line in given.items():
        if name not in names:
            yield place.found(
                rule,
                line,
                f"the graph has no {kind} {printable(str(name), 60)!r}",
                f"write one of {listed(names)}",
            )


def _check_tensor(
    declared: Message, tensor: GraphTensor, place: Place, *, batched: bool, is_exact: bool
) -> Iterator[Finding]:
    which = printable(tensor.name, 60)
    if tensor.data_type is not None and declared.get("data_type") != tensor.data_type:
        yield place.found(
            "graph-datatype",
            declared.line_of("data_type"),
            f"{which!r} is {tensor.data_type} in the graph",
            f"write data_type: {tensor.data_type}",
        )
    if tensor.shape is None or declared.get("allow_ragged_batch", False):
        return
    if batched and (not tensor.shape or tensor.shape[0] != FREE):
        yield place.found(
            "graph-batch",
            declared.line_of("dims"),
            f"the first dimension of {which!r}{format_shape(tensor.shape)} is no free number of "
            "rows, so the model cannot have a max_batch_size",
            "write max_batch_size: 0 and all dimensions",
        )
        return
    shape = tensor.shape[1:] if batched else tensor.shape
    if not _fits(dims_of(declared), shape, is_exact=is_exact):
        yield _other_dims(declared, place, which, shape, batched=batched)


def _fits(dims: list[int], shape: tuple[int, ...], *, is_exact: bool) -> bool:
    if not shape:  # Triton wants one value for a scalar.
        return all(size == 1 for size in dims)
    return len(dims) == len(shape) and all(
        given == size or (size == FREE and not is_exact)
        for given, size in zip(dims, shape, strict=True)
    )


def _other_dims(
    declared: Message, place: Place, which: str, shape: tuple[int, ...], *, batched: bool
) -> Finding:
    line = declared.line_of("dims" if declared.one("reshape") is None else "reshape")
    rows = ", without the rows, which max_batch_size stands for" if batched else ""
    wanted = ", ".join(map(str, shape)) or "1"
    return place.found(
        "graph-dims",
        line,
        f"{which!r} has {format_shape(dims_of(declared))} here and {format_shape(shape)} in the "
        f"graph{rows}",
        f"write dims: [ {wanted} ]",
    )
