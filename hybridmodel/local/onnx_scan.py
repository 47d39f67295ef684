"""What lies inside an ONNX file, read from protobuf's wire format without the ``onnx`` package.

Works over a memory map and skips what it does not look for, because a model may be larger than
memory has room for twice. Field numbers are those of ``onnx.proto``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hybridmodel.exceptions import ConfigurationError
from hybridmodel.local.onnx_shapes import unranked
from hybridmodel.local.protobuf import Malformed, fields, packed, text

if TYPE_CHECKING:
    from collections.abc import Iterator

Label = str | int

_DEFAULT = 0  # TensorProto.DataLocation.DEFAULT
_PLAIN_VALUES = (7, 8, 9)  # AttributeProto.floats, .ints, .strings
_LOCATION = re.compile(b"location")
_ORT_FORMAT = b"ORTM"
_SETTINGS_KEY = b"ort_config"


@dataclass
class Contents:
    """What a scan found.

    Attributes
    ----------
    external : set of str
        Every other file that some tensor, or a graph compiled for a device, is said to lie in.
        Whatever mentions one counts, even beside values: readers differ in what they then take.
    zipmaps : dict of str to tuple
        Labels of each output of a ``ZipMap`` node.
    has_settings : bool
        Whether it holds settings for sessions of onnxruntime.
    unranked : set of str
        Inputs and outputs of the model without a shape, which have any number of dimensions.
    """

    external: set[str] = field(default_factory=set)
    zipmaps: dict[str, tuple[Label, ...]] = field(default_factory=dict)
    has_settings: bool = False
    unranked: set[str] = field(default_factory=set)


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
    if model[4:8] == _ORT_FORMAT:  # By which onnxruntime knows it, whatever else it may be.
        raise Malformed("it is in onnxruntime's own format; convert the original again")
    for number, value in fields(model):
        if number == 7:  # ModelProto.graph
            has_graph = True
            _scan_graph(value, contents)
            contents.unranked.update(unranked(value))
        elif number == 14:  # .metadata_props
            contents.has_settings |= _has(value, 1, _SETTINGS_KEY)
        elif number == 20:  # .training_info
            for inner, graph in fields(value):
                if inner in (1, 2):  # TrainingInfoProto.initialization, .algorithm
                    _scan_graph(graph, contents)
        elif number == 25:  # .functions
            _scan_function(value, contents)
    if not has_graph:
        raise Malformed("it holds no graph")
    return contents


def _scan_function(function: memoryview, contents: Contents) -> None:
    for number, value in fields(function):
        if number == 7:  # FunctionProto.node
            _scan_node(value, contents)
        elif number == 11:  # .attribute_proto
            _scan_attribute(value, contents)


def _scan_graph(graph: memoryview, contents: Contents) -> None:
    for number, value in fields(graph):
        if number == 1:  # GraphProto.node
            _scan_node(value, contents)
        elif number == 5:  # .initializer
            _scan_tensor(value, contents)
        elif number == 15:  # .sparse_initializer
            _scan_sparse(value, contents)


def _scan_node(node: memoryview, contents: Contents) -> None:
    outputs: list[memoryview] = []
    operators: list[memoryview] = []
    attributes: list[memoryview] = []
    for number, value in fields(node):
        if number == 5:
            attributes.append(value)
        elif number in (2, 4):
            if isinstance(value, int):
                raise Malformed
            (outputs if number == 2 else operators).append(value)
    for attribute in attributes:
        _scan_attribute(attribute, contents)
    if b"ZipMap" in operators and outputs:
        contents.zipmaps[text(outputs[0])] = tuple(
            label for attribute in attributes for label in _labels(attribute)
        )
    if b"EPContext" in operators:
        contents.external.update(_compiled(attributes))


def _scan_attribute(attribute: memoryview, contents: Contents) -> None:
    is_plain = False
    for number, value in fields(attribute):
        if number in _PLAIN_VALUES and not is_plain:
            is_plain = True
            if not _LOCATION.search(attribute):
                return  # Trees have millions of numbers, and no file can be named here.
        elif number in (5, 10):  # AttributeProto.t, .tensors
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
    is_external, locations = False, set()
    for number, value in fields(tensor):
        if number == 14:  # TensorProto.data_location
            is_external = is_external or value != _DEFAULT
        elif number == 13:  # .external_data
            is_external = True
            if _has(value, 1, b"location"):
                locations |= {text(item) for key, item in fields(value) if key == 2} or {""}
    if is_external and not locations:
        raise Malformed("a tensor lies in another file, which is not named")
    contents.external |= locations


def _compiled(attributes: list[memoryview]) -> Iterator[str]:
    """Yield the file of a graph compiled for a device, unless the node holds it all."""
    embedded = [
        value
        for attribute in attributes
        if _has(attribute, 1, b"embed_mode")
        for number, value in fields(attribute)
        if number == 3
    ]
    if all(mode == 1 for mode in embedded):
        return
    for attribute in attributes:
        if _has(attribute, 1, b"ep_cache_context"):
            yield from (text(value) for number, value in fields(attribute) if number == 4)


def _has(message: memoryview, field_number: int, expected: bytes) -> bool:
    """Tell whether a field has a value, if only one of several: readers differ in which counts."""
    return any(number == field_number and value == expected for number, value in fields(message))


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
