"""Reads an infer request for a model, and refuses one that does not fit or is not supported.

The header is compared with the model before any tensor is made.

Sources: those of `hybridmodel.remote.wire.protocol`; for raw binary requests Triton's
docs/protocol/extension_binary_data.md.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from hybridmodel.data.tensors import BY_DTYPE, WILDCARD, ModelSpec, TensorSpec, format_shape
from hybridmodel.exceptions import ProtocolError
from hybridmodel.remote.wire.json_text import decode_object, shown
from hybridmodel.remote.wire.layouts import flag_of, name_of, objects_of, slots_of
from hybridmodel.remote.wire.protocol import HEADER_LENGTH, InferRequest, split_body
from hybridmodel.remote.wire.tensor_data import Buffer, Slot, fill
from hybridmodel.serving.limits import Limits

_SUPPORTED = {"request": "binary_data_output", "input": "binary_data_size", "output": "binary_data"}
_REASONS = {
    "classification": "this server returns tensors, not classes; take the largest values yourself",
    "shared_memory": "this server shares no memory; send and ask for the tensors themselves",
    "sequence": "this server keeps no state between requests",
    "priority": "this server has no queue",
    "timeout": "this server has no queue",
}
_LARGE_JSON_BYTES = 2**16
_json_lock = threading.Lock()
"""One thread at a time reads large JSON: it takes much memory, and more threads are no faster."""


class TooMuchJson(ProtocolError):
    """Raise when the JSON of a request is larger than the limit."""


def read_request(
    body: bytearray, header_length: str | None, spec: ModelSpec, limits: Limits
) -> InferRequest:
    """Read a request for the model that `spec` describes; its inputs may be views of `body`.

    `header_length` is the header that says how much of the body is JSON. ``"0"`` marks a raw binary
    request, whose body is the only input. Raises `ProtocolError`, or `TooMuchJson` for a request
    that could be sent in another form.
    """
    if _is_raw(body, header_length):
        return InferRequest(_raw_inputs(spec, memoryview(body)), {}, binary=True, request_id=None)
    header, tensors = split_body(body, header_length)
    if len(header) > limits.max_json_bytes:
        raise TooMuchJson(
            f"the JSON has {len(header)} bytes, but the limit is {limits.max_json_bytes}; send "
            "large tensors as binary_data"
        )
    with _json_lock if len(header) > _LARGE_JSON_BYTES else nullcontext():
        try:
            return _read_json(header, tensors, spec)
        except ProtocolError as error:
            refused = str(error)
    # A new error, because the traceback of the first one keeps everything that was read.
    raise ProtocolError(refused)


def _read_json(header: Buffer, tensors: Buffer, spec: ModelSpec) -> InferRequest:
    head = decode_object(header)
    asked, request_id = _asked_outputs(head), head.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise ProtocolError(f"the id is {shown(request_id)}, not text")
    _check_parameters(head, "request", "the request")
    return InferRequest(
        inputs=fill(_checked_slots(head, spec), tensors, "input"),
        outputs=asked,
        binary=flag_of(head, "binary_data_output"),
        request_id=request_id,
    )


def _is_raw(body: bytearray, header_length: str | None) -> bool:
    # Triton also treats an empty body as raw.
    return not body if header_length is None else header_length.strip("0") == "" != header_length


def _asked_outputs(head: Mapping[str, Any]) -> dict[str, bool]:
    asked = {}
    for item in objects_of({"outputs": [], **head}, "outputs"):
        name = name_of(item, "output")
        _check_parameters(item, "output", f"output {name!r}")
        asked[name] = flag_of(item, "binary_data")
    return asked


def _checked_slots(head: Mapping[str, Any], spec: ModelSpec) -> Sequence[Slot]:
    for item in objects_of(head, "inputs"):
        name = name_of(item, "input")
        _check_parameters(item, "input", f"input {name!r}")
        if "data" in item and "binary_data_size" in item.get("parameters", {}):
            raise ProtocolError(f"input {name!r} has data and binary_data_size; send only one")
    slots = slots_of(head, "input")
    for unknown in slots.keys() - set(spec.input_names):
        raise ProtocolError(f"unexpected inference input {unknown!r}")
    for declared in spec.inputs:
        if declared.name not in slots:
            raise ProtocolError(
                f"expected {len(spec.inputs)} inputs but got {len(slots)} inputs: "
                f"{declared.name!r} is missing"
            )
        _check_slot(declared, slots[declared.name])
    return tuple(slots.values())


def _check_slot(spec: TensorSpec, slot: Slot) -> None:
    if slot.dtype != spec.dtype:
        raise ProtocolError(
            f"inference input {spec.name!r} data-type is {BY_DTYPE[slot.dtype].datatype!r}, but "
            f"the model expects {spec.datatype!r}"
        )
    if not spec.fits(slot.shape):
        raise ProtocolError(
            f"unexpected shape for input {spec.name!r}. Expected {list(spec.shape)}, got "
            f"{list(slot.shape)}"
        )


def _check_parameters(item: Mapping[str, Any], kind: str, where: str) -> None:
    parameters = item.get("parameters", {})
    if not isinstance(parameters, dict):
        raise ProtocolError(f"{where}: parameters are {shown(parameters)}, not an object")
    supported = _SUPPORTED[kind]
    for name in [name for name in parameters if name != supported]:
        why = next((text for start, text in _REASONS.items() if name.startswith(start)), None)
        raise ProtocolError(
            f"{where}: parameter {shown(name)} is not supported: "
            + (why or f"this server supports {supported} here")
        )


def _raw_inputs(spec: ModelSpec, view: memoryview) -> dict[str, np.ndarray[Any, Any]]:
    """Use the whole body as the only input; its shape follows from the model and the size."""
    if len(spec.inputs) != 1:
        raise ProtocolError(
            f"a raw request ({HEADER_LENGTH}: 0) has one input, the model has {len(spec.inputs)}"
        )
    (item,) = spec.inputs
    where = f"raw input {item.name!r}"
    if item.shape.count(WILDCARD) > 1:
        raise ProtocolError(f"{where}: {format_shape(item.shape)} has more than one unknown size")
    if item.dtype.kind == "O":
        return {item.name: _raw_text(item, view, where)}
    shape = _raw_shape(item, len(view), where)
    return fill([Slot(item.name, where, item.dtype, shape, len(view), None)], view, "input")


def _raw_text(item: TensorSpec, view: memoryview, where: str) -> np.ndarray[Any, Any]:
    if any(size != 1 for size in item.shape):
        raise ProtocolError(
            f"{where}: raw text is one element, but the model takes {format_shape(item.shape)}"
        )
    try:
        return np.full(item.shape, str(view, "utf-8"), dtype=object)
    except UnicodeDecodeError as error:
        raise ProtocolError(f"{where}: the text is not UTF-8") from error


def _raw_shape(item: TensorSpec, size_bytes: int, where: str) -> tuple[int, ...]:
    each = item.dtype.itemsize * math.prod(size for size in item.shape if size != WILDCARD)
    if WILDCARD not in item.shape:
        return item.shape
    if not each or size_bytes % each:
        raise ProtocolError(
            f"{where}: {size_bytes} bytes do not fit {format_shape(item.shape)}, whose size is a "
            f"multiple of {each} bytes"
        )
    return tuple(size_bytes // each if size == WILDCARD else size for size in item.shape)
