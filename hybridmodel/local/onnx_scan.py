"""A scan of an ONNX file for what loading must know, without the ``onnx`` package.

It reads protobuf's wire format from a memory map and skips everything else, because a model may be
too large to have it in memory twice. Field numbers are those of ``onnx.proto``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from hybridmodel.exceptions import ConfigurationError
from hybridmodel.local.protobuf import Malformed, fields, packed, text

Label = str | int

_DEFAULT = 0  # TensorProto.DataLocation.DEFAULT
_PLAIN_VALUES = (7, 8, 9)  # AttributeProto.floats, .ints, .strings
_LOCATION = re.compile(b"location")
_ORT_FORMAT = b"ORTM"
_SETTINGS_KEY = b"ort_config"


@dataclass
class Contents:
    """What a scan found.

    `external` has every other file that a tensor, or a graph compiled for a device, names, even
    beside values: readers differ in which of them they use. `zipmaps` has the labels of each output
    of a ``ZipMap`` node. `has_settings` tells whether there are settings for onnxruntime's
    sessions. `unranked` has the model's inputs and outputs without a shape, whose number of
    dimensions is unknown.
    """

    external: set[str] = field(default_factory=set)
    zipmaps: dict[str, tuple[Label, ...]] = field(default_factory=dict)
    has_settings: bool = False
    unranked: set[str] = field(default_factory=set)


def scan(view: memoryview, where: str) -> Contents:
    """Scan a serialized model; a `ConfigurationError` begins with `where`."""
    try:
        return _scan_model(view)
    except Malformed as error:
        reason = f": {error}" if error.args else ", or cut short"
    except (RecursionError, UnicodeDecodeError):
        reason = ", or damaged"
    # Raised after the try statement: a chained traceback would keep views of the memory map open.
    raise ConfigurationError(f"{where}: not an ONNX model{reason}")


def _scan_model(model: memoryview) -> Contents:
    contents = Contents()
    has_graph = False
    if model[4:8] == _ORT_FORMAT:  # onnxruntime looks at nothing else to tell its own format.
        raise Malformed("it is in onnxruntime's own format; convert the original again")
    for number, value in fields(model):
        if number == 7:  # ModelProto.graph
            has_graph = True
            _scan_graph(value, contents)
            contents.unranked.update(_unranked(value))
        elif number == 14:  # .metadata_props
            contents.has_settings |= _has(value, 1, _SETTINGS_KEY)
        elif number == 20:  # .training_info
            _scan_training(value, contents)
        elif number == 25:  # .functions
            _scan_function(value, contents)
    if not has_graph:
        raise Malformed("it has no graph")
    return contents


def _scan_parts(
    parts: Mapping[int, Callable[[Any, Contents], None]], message: Any, contents: Contents
) -> None:
    """Scan the fields of a message for which `parts` has a function."""
    for number, value in fields(message):
        if number in parts:
            parts[number](value, contents)


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
                return  # Trees have millions of numbers, and none of them can name a file.
        elif number in _ATTRIBUTE:
            _ATTRIBUTE[number](value, contents)


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
        raise Malformed("a tensor is in another file, which is not named")
    contents.external |= locations


# SparseTensorProto.values, .indices
_scan_sparse = partial(_scan_parts, {1: _scan_tensor, 2: _scan_tensor})
# GraphProto.node, .initializer, .sparse_initializer
_scan_graph = partial(_scan_parts, {1: _scan_node, 5: _scan_tensor, 15: _scan_sparse})
# FunctionProto.node, .attribute_proto
_scan_function = partial(_scan_parts, {7: _scan_node, 11: _scan_attribute})
# TrainingInfoProto.initialization, .algorithm
_scan_training = partial(_scan_parts, {1: _scan_graph, 2: _scan_graph})
# AttributeProto.t, .tensors; .g, .graphs; .sparse_tensor, .sparse_tensors
_ATTRIBUTE: Mapping[int, Callable[[Any, Contents], None]] = {
    **dict.fromkeys((5, 10), _scan_tensor),
    **dict.fromkeys((6, 11), _scan_graph),
    **dict.fromkeys((22, 23), _scan_sparse),
}


def _unranked(graph: Any) -> Iterator[str]:
    """Yield the names of a graph's inputs and outputs that are tensors without a shape."""
    for number, value in fields(graph):
        if number not in (11, 12):  # GraphProto.input, .output
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
    """Return whether a ``TypeProto`` is a tensor with a shape, or not a tensor."""
    tensors = [value for number, value in fields(kind) if number == 1]  # TypeProto.tensor_type
    if not tensors:
        return any(True for _ in fields(kind))
    return any(number == 2 for tensor in tensors for number, _ in fields(tensor))  # .shape


def _compiled(attributes: list[memoryview]) -> Iterator[str]:
    """Yield the file of a graph compiled for a device, unless the node itself has all of it."""
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
    """Return whether any value of a field is the expected one: readers differ in which they use."""
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
