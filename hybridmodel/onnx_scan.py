"""What lies inside an ONNX file, read from protobuf's wire format without the ``onnx`` package.

Works over a memory map and skips what it does not look for, because a model may be larger than
memory has room for twice. Field numbers are those of ``onnx.proto``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hybridmodel.exceptions import ConfigurationError
from hybridmodel.protobuf import Malformed, fields, packed, text

if TYPE_CHECKING:
    from collections.abc import Iterator

Label = str | int

_EXTERNAL = 1  # TensorProto.DataLocation.EXTERNAL
_PLAIN_VALUES = (7, 8, 9)  # AttributeProto.floats, .ints, .strings
_INLINE_DATA = (4, 5, 6, 7, 9, 10, 11)  # TensorProto.float_data … raw_data … uint64_data


@dataclass
class Contents:
    """What a scan found: where tensors lie in other files, and labels of ``ZipMap`` outputs."""

    external: set[str] = field(default_factory=set)
    zipmaps: dict[str, tuple[Label, ...]] = field(default_factory=dict)


def scan(view: memoryview, where: str) -> Contents:
    """Look through a serialized model.

    Parameters
    ----------
    view : memoryview
        The whole file.
    where : str
        Named in the error.

    Raises
    ------
    ConfigurationError
        If it is no ONNX model, or a part of one.
    """
    try:
        return _scan_model(view)
    except Malformed as error:
        reason = f": {error}" if error.args else ", or cut short"
    except (RecursionError, UnicodeDecodeError):
        reason = ", or damaged"
    # Raised out here, because a chained traceback would keep views of a mapping that has to close.
    raise ConfigurationError(f"{where}: not an ONNX model{reason}")


def _scan_model(model: memoryview) -> Contents:
    contents = Contents()
    has_graph = False
    for number, value in fields(model):
        if number == 7:  # ModelProto.graph
            has_graph = True
            _scan_graph(value, contents)
        elif number == 25:  # ModelProto.functions
            for inner, node in fields(value):
                if inner == 7:  # FunctionProto.node
                    _scan_node(node, contents)
    if not has_graph:
        raise Malformed("it holds no graph")
    return contents


def _scan_graph(graph: memoryview, contents: Contents) -> None:
    for number, value in fields(graph):
        if number == 1:  # GraphProto.node
            _scan_node(value, contents)
        elif number == 5:  # .initializer
            _scan_tensor(value, contents)
        elif number == 15:  # .sparse_initializer
            _scan_sparse(value, contents)


def _scan_node(node: memoryview, contents: Contents) -> None:
    outputs, operator, attributes = [], "", []
    for number, value in fields(node):
        if number == 2:
            outputs.append(text(value))
        elif number == 4:
            operator = text(value)
        elif number == 5:
            attributes.append(value)
    for attribute in attributes:
        _scan_attribute(attribute, contents)
    if operator == "ZipMap" and outputs:
        contents.zipmaps[outputs[0]] = tuple(
            label for attribute in attributes for label in _labels(attribute)
        )


def _scan_attribute(attribute: memoryview, contents: Contents) -> None:
    for number, value in fields(attribute):
        if number in _PLAIN_VALUES:
            return  # An attribute holds one kind of value, and trees have millions of numbers.
        if number in (5, 10):  # AttributeProto.t, .tensors
            _scan_tensor(value, contents)
        elif number in (6, 11):  # .g, .graphs
            _scan_graph(value, contents)
        elif number in (22, 23):  # .sparse_tensor, .sparse_tensors
            _scan_sparse(value, contents)


def _scan_sparse(sparse: memoryview, contents: Contents) -> None:
    for number, value in fields(sparse):
        if number in (1, 2):  # SparseTensorProto.values, .indices
            _scan_tensor(value, contents)


def _scan_tensor(tensor: memoryview, contents: Contents) -> None:
    is_external, entries = False, {}
    for number, value in fields(tensor):
        if number in _INLINE_DATA:
            return
        if number == 14:  # TensorProto.data_location
            is_external = value == _EXTERNAL
        elif number == 13:  # TensorProto.external_data
            pair = dict(fields(value))
            entries[text(pair.get(1, b""))] = text(pair.get(2, b""))
    if is_external and "location" in entries:
        contents.external.add(entries["location"])


def _labels(attribute: memoryview) -> Iterator[Label]:
    name = next((text(value) for number, value in fields(attribute) if number == 1), "")
    if name not in ("classlabels_strings", "classlabels_int64s"):
        return
    for number, value in fields(attribute):
        if number == 9:
            yield text(value)
        elif number == 8:
            for bits in [value] if isinstance(value, int) else packed(value):
                yield bits - 2**64 if bits >= 2**63 else bits
