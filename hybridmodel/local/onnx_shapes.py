"""Which inputs and outputs of an ONNX graph have a shape, read from protobuf's wire format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hybridmodel.local.protobuf import fields, text

if TYPE_CHECKING:
    from collections.abc import Iterator

_DECLARED = (11, 12)  # GraphProto.input, .output


def unranked(graph: Any) -> Iterator[str]:
    """Yield the names of a graph's own inputs and outputs that are tensors without a shape.

    Parameters
    ----------
    graph : memoryview
        A serialized ``GraphProto``.

    Raises
    ------
    Malformed
        If it is none.
    """
    for number, value in fields(graph):
        if number not in _DECLARED:
            continue
        name, has_shape = "", False
        for inner, part in fields(value):
            if inner == 1:  # ValueInfoProto.name
                name = text(part)
            elif inner == 2:  # .type
                has_shape = _has_shape(part)
        if not has_shape:
            yield name


def _has_shape(kind: Any) -> bool:
    """Tell whether a ``TypeProto`` is a tensor with a shape, or no tensor."""
    tensors = [value for number, value in fields(kind) if number == 1]  # TypeProto.tensor_type
    if not tensors:
        return any(True for _ in fields(kind))
    return any(number == 2 for tensor in tensors for number, _ in fields(tensor))  # .shape
