"""Changes to an ONNX file that Triton needs, without the rest of the file being read.

Triton's onnxruntime backend loads no graph with a list of maps, and none whose outputs are declared
otherwise than in ``config.pbtxt``. So a ``ZipMap`` node becomes an ``Identity`` node with the same
input and output, and such an output is declared anew. All else stays where it is, byte for byte.
Field numbers are those of ``onnx.proto``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hybridmodel.data.tensors import BY_DATATYPE, WILDCARD, ModelSpec, TensorSpec
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.local.protobuf import fields, head, packed, spans, text, values_at, written

Piece = bytes | range
"""A part of an edited file: new bytes, or the place of old ones."""

_GRAPH, _OPSET_IMPORT = 7, 8  # In ModelProto.
_NODE, _INITIALIZER, _INPUT, _OUTPUT, _VALUE_INFO = 1, 5, 11, 12, 13  # In GraphProto.
_IDENTITY = b"Identity"
_IDENTITY_SINCE = 9
"""A release of ONNX's operators for a graph that names none; every server knows it."""

_SMALL_BYTES = 4096
"""Up to this size a constant may be a shape, which others are inferred from."""

ELEMENTS = {
    name: number
    for number, name in enumerate(
        (
            *("float", "uint8", "int8", "uint16", "int16", "int32", "int64", "string", "bool"),
            *("float16", "double", "uint32", "uint64"),
        ),
        start=1,
    )
}
"""Numbers of TensorProto.DataType, as far as Triton serves them."""


def to_declare(view: memoryview, spec: ModelSpec) -> dict[str, TensorSpec]:
    """Return the outputs that the graph declares otherwise than `spec`, which is what is true."""
    declared = _declared(view)
    return {item.name: item for item in spec.outputs if not _agrees(item, declared)}


def edited(view: memoryview, outputs: Mapping[str, TensorSpec]) -> list[Piece]:
    """Return the pieces of the file with these outputs declared, and without their ZipMap nodes."""
    start, value, stop = _graph(view)
    inner: list[Piece] = []
    rows = _rows_dimension(view, value, stop)
    for number, begin, content, end in spans(view, value, stop):
        new = _new_field(number, view[content:end], outputs, rows)
        inner.append(range(begin, end) if new is None else new)
    opsets = b"" if _has_own_operators(view) else _own_operators()
    return [opsets, *_with_graph(view, start, inner, stop)]


def without_weights(view: memoryview) -> tuple[list[Piece], frozenset[str]]:
    """Return the pieces of the file without its large constants, which are inputs instead.

    So shapes can be inferred in little memory. Also return the names of these inputs.
    """
    start, value, stop = _graph(view)
    known = {_name(view[a:b]) for number, _, a, b in spans(view, value, stop) if number == _INPUT}
    inner: list[Piece] = []
    taken = set()
    for number, begin, content, end in spans(view, value, stop):
        weight = _as_input(view[content:end]) if number == _INITIALIZER else None
        if weight is None:
            inner.append(range(begin, end))
            continue
        name, declaration = weight
        taken.add(name)
        if name not in known:  # Older files have all constants among the inputs.
            inner.append(declaration)
    return _with_graph(view, start, inner, stop), frozenset(taken)


def _agrees(spec: TensorSpec, declared: Mapping[str, tuple[int, ...] | None]) -> bool:
    is_sure = not spec.labels and not spec.unranked
    return is_sure and declared.get(spec.name) in (None, spec.shape)


def _graph(view: memoryview) -> tuple[int, int, int]:
    """Return where the graph begins, where its fields do, and where it ends."""
    found = [place for number, *place in spans(view, 0, len(view)) if number == _GRAPH]
    if len(found) != 1:
        raise ConfigurationError("the ONNX file has its graph in several parts; save it again")
    start, value, stop = found[0]
    return start, value, stop


def _with_graph(view: memoryview, start: int, inner: list[Piece], stop: int) -> list[Piece]:
    """Return the file with other fields in its graph, which lies from `start` to `stop`."""
    size = sum(map(len, inner))
    return _joined([range(start), head(_GRAPH, size), *inner, range(stop, len(view))])


def _as_input(tensor: memoryview) -> tuple[str, bytes] | None:
    """Return name and declaration of a constant that is large or in another file."""
    sizes: list[int] = []
    name, element, is_external = "", 0, False
    for number, value in fields(tensor):
        if number == 1:  # TensorProto.dims
            sizes += [value] if isinstance(value, int) else packed(value)
        elif number == 2:  # .data_type
            element = value
        elif number == 8:
            name = text(value)
        elif number == 14:  # .data_location
            is_external = value == 1
    if len(tensor) <= _SMALL_BYTES and not is_external:
        return None
    return name, _value_info(_INPUT, name, element, [written(1, size) for size in sizes])


def _declared(view: memoryview) -> dict[str, tuple[int, ...] | None]:
    """Return the shapes of the graph's outputs; None for what is no tensor or has no shape."""
    _, value, stop = _graph(view)
    return {
        _name(view[content:end]): _shape(view[content:end])
        for number, _, content, end in spans(view, value, stop)
        if number == _OUTPUT
    }


def _name(message: memoryview) -> str:
    """Return the first field of a ValueInfoProto."""
    return next(map(text, values_at(message, 1)), "")


def _shape(value_info: memoryview) -> tuple[int, ...] | None:
    dimensions = _dimensions(value_info)
    return None if dimensions is None else tuple(map(_size, dimensions))


def _dimensions(value_info: memoryview) -> list[Any] | None:
    """Return the messages of a tensor's dimensions: ``.type.tensor_type.shape.dim``."""
    shapes = list(values_at(value_info, 2, 1, 2))
    return list(values_at(shapes[-1], 1)) if shapes else None


def _size(dimension: memoryview) -> int:
    """Return ``dim_value``; names stand for any size, as negative numbers do."""
    values = list(values_at(dimension, 1))
    return values[-1] if values and values[-1] < 1 << 63 else WILDCARD


def _rows_dimension(view: memoryview, start: int, stop: int) -> bytes:
    """Return the first dimension of the first input as it is named, since it counts rows."""
    for number, _, content, end in spans(view, start, stop):
        if number == _INPUT:
            dimensions = _dimensions(view[content:end])
            return bytes(dimensions[0]) if dimensions else b""
    return b""


def _new_field(
    number: int, value: memoryview, outputs: Mapping[str, TensorSpec], rows: bytes
) -> bytes | None:
    """Return what takes the place of a field of the graph; None where it stays."""
    if number == _NODE:
        return _without_zipmap(value, outputs)
    if number in (_OUTPUT, _VALUE_INFO) and (name := _name(value)) in outputs:
        # An intermediate declaration of the same tensor would contradict the new one.
        return _declaration(outputs[name], rows) if number == _OUTPUT else b""
    return None


def _without_zipmap(node: memoryview, outputs: Mapping[str, TensorSpec]) -> bytes | None:
    names: dict[int, list[Any]] = {}
    for number, value in fields(node):
        if number in (1, 2, 4):  # NodeProto.input, .output, .op_type
            names.setdefault(number, []).append(value)
    if names.get(4) != [b"ZipMap"] or len(names.get(1, ())) != 1 or len(names.get(2, ())) != 1:
        return None
    (source,), (target,) = names[1], names[2]
    spec = outputs.get(text(target))
    if spec is None or not spec.labels:
        return None
    identity = written(1, bytes(source)) + written(2, bytes(target)) + written(4, _IDENTITY)
    return written(_NODE, identity)


def _declaration(spec: TensorSpec, rows: bytes) -> bytes:
    sizes = [b"" if size == WILDCARD else written(1, size) for size in spec.shape]
    if spec.batched:
        sizes[0] = rows
    element = ELEMENTS[BY_DATATYPE[spec.datatype].onnx]
    return _value_info(_OUTPUT, spec.name, element, sizes)


def _value_info(number: int, name: str, element: int, sizes: list[bytes]) -> bytes:
    shape = b"".join(written(1, size) for size in sizes)
    tensor = written(1, element) + written(2, shape)
    return written(number, written(1, name.encode()) + written(2, written(1, tensor)))


def _has_own_operators(view: memoryview) -> bool:
    """Tell whether the model imports ONNX's own operators, whose domain has no name."""
    domains = (list(values_at(item, 1)) for item in values_at(view, _OPSET_IMPORT))
    return any(not domain or domain[-1] in (b"", b"ai.onnx") for domain in domains)


def _own_operators() -> bytes:
    return written(_OPSET_IMPORT, written(2, _IDENTITY_SINCE))


def _joined(pieces: list[Piece]) -> list[Piece]:
    """Put together what lies side by side, so that long runs are copied at once."""
    joined: list[Piece] = []
    for piece in pieces:
        last = joined[-1] if joined else None
        if isinstance(piece, range) and isinstance(last, range) and last.stop == piece.start:
            joined[-1] = range(last.start, piece.stop)
        elif isinstance(piece, bytes) and isinstance(last, bytes):
            joined[-1] = last + piece
        else:
            joined.append(piece)
    return joined
