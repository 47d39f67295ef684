"""Reading an infer request against the model that it is for, and refusing what is not understood.

What a header says is compared with the model before any tensor is made of it.

Sources: as in `hybridmodel.remote.wire.protocol`; for raw binary requests Triton's
docs/protocol/extension_binary_data.md.
"""

from __future__ import annotations

import math
import threading
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from hybridmodel.data.tensors import BY_DTYPE, WILDCARD, ModelSpec, TensorSpec, format_shape
from hybridmodel.exceptions import ProtocolError
from hybridmodel.remote.wire.json_text import decode_object, shown
from hybridmodel.remote.wire.layouts import flag_of, name_of, objects_of, slots_of
from hybridmodel.remote.wire.protocol import HEADER_LENGTH, InferRequest, split_body
from hybridmodel.remote.wire.tensor_data import Slot, fill

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hybridmodel.remote.wire.tensor_data import Buffer
    from hybridmodel.serving.limits import Limits

_UNDERSTOOD = {
    "request": ("binary_data_output",),
    "input": ("binary_data_size",),
    "output": ("binary_data",),
}
_REASONS = {
    "classification": "this server returns tensors, not classes; take the largest values yourself",
    "shared_memory": "this server shares no memory; send and ask for the tensors themselves",
    "sequence": "this server keeps nothing between two requests",
    "priority": "this server has no queue",
    "timeout": "this server has no queue",
}
_LARGE_JSON_BYTES = 2**16
_json_lock = threading.Lock()
"""Large JSON is read by one thread at a time: it takes much memory, and gains nothing by more."""


class TooMuchJson(ProtocolError):
    """The JSON of a request is larger than it may be."""


def read_request(
    body: bytearray, header_length: str | None, spec: ModelSpec, limits: Limits
) -> InferRequest:
    """Read a request for the model that `spec` describes.

    Parameters
    ----------
    body : bytearray
        All of it. Inputs may be views of it.
    header_length : str or None
        Header that says how much of it is JSON; ``"0"`` for a raw binary request, whose whole
        body is the only input.
    spec : ModelSpec
        The model's tensors.
    limits : Limits
        How large the JSON may be.

    Raises
    ------
    ProtocolError
        If it is not a complete request, does not fit the model, or wants what this server does
        not do; `TooMuchJson` for what could be sent otherwise.
    """
    if _is_raw(body, header_length):
        return InferRequest(_raw_inputs(spec, memoryview(body)), {}, binary=True, request_id=None)
    header, tensors = split_body(body, header_length)
    if len(header) > limits.max_json_bytes:
        raise TooMuchJson(
            f"the JSON has {len(header)} bytes, and may have {limits.max_json_bytes}; send large "
            "tensors as binary_data"
        )
    with _json_lock if len(header) > _LARGE_JSON_BYTES else nullcontext():
        try:
            return _read_json(header, tensors, spec)
        except ProtocolError as error:
            refused = str(error)
    # Anew, since the first one's traceback keeps all that was read.
    raise ProtocolError(refused)


def _read_json(header: Buffer, tensors: Buffer, spec: ModelSpec) -> InferRequest:
    head = decode_object(header)
    asked = _asked_outputs(head)
    _check_parameters(head, "request", "the request")
    return InferRequest(
        inputs=fill(_checked_slots(head, spec), tensors, "input"),
        outputs=asked,
        binary=flag_of(head, "binary_data_output"),
        request_id=_id_of(head),
    )


def _is_raw(body: bytearray, header_length: str | None) -> bool:
    # Triton takes an empty body for raw as well.
    return not body if header_length is None else header_length.strip("0") == "" != header_length


def _asked_outputs(head: Mapping[str, Any]) -> dict[str, bool]:
    asked = {}
    for item in objects_of({"outputs": [], **head}, "outputs"):
        name = name_of(item, "output")
        _check_parameters(item, "output", f"output {name!r}")
        asked[name] = flag_of(item, "binary_data")
    return asked


def _id_of(head: Mapping[str, Any]) -> str | None:
    value = head.get("id")
    if value is not None and not isinstance(value, str):
        raise ProtocolError(f"the id is {shown(value)}, not text")
    return value


def _checked_slots(head: Mapping[str, Any], spec: ModelSpec) -> Sequence[Slot]:
    for item in objects_of(head, "inputs"):
        name = name_of(item, "input")
        _check_parameters(item, "input", f"input {name!r}")
        if "data" in item and "binary_data_size" in item.get("parameters", {}):
            raise ProtocolError(f"input {name!r} has data and a binary_data_size; one is enough")
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
    for name in [name for name in parameters if name not in _UNDERSTOOD[kind]]:
        why = next((text for start, text in _REASONS.items() if name.startswith(start)), None)
        known = ", ".join(_UNDERSTOOD[kind])
        raise ProtocolError(
            f"{where}: parameter {shown(name)} is not understood: "
            + (why or f"this server knows {known} in this place")
        )


def _raw_inputs(spec: ModelSpec, view: memoryview) -> dict[str, np.ndarray[Any, Any]]:
    """Take a whole body for the only input, whose shape follows from the model and the size."""
    if len(spec.inputs) != 1:
        raise ProtocolError(
            f"a raw request ({HEADER_LENGTH}: 0) is one input, and the model has {len(spec.inputs)}"
        )
    (item,) = spec.inputs
    where = f"raw input {item.name!r}"
    if item.shape.count(WILDCARD) > 1:
        raise ProtocolError(f"{where}: more than one size of {format_shape(item.shape)} is open")
    if item.dtype.kind == "O":
        return {item.name: _raw_text(item, view, where)}
    shape = _raw_shape(item, len(view), where)
    return fill([Slot(item.name, where, item.dtype, shape, len(view), None)], view, "input")


def _raw_text(item: TensorSpec, view: memoryview, where: str) -> np.ndarray[Any, Any]:
    if any(size != 1 for size in item.shape):
        raise ProtocolError(
            f"{where}: a raw text is one element, and the model takes {format_shape(item.shape)}"
        )
    try:
        text = str(view, "utf-8")
    except UnicodeDecodeError as error:
        raise ProtocolError(f"{where}: the text is not UTF-8") from error
    return np.full(item.shape, text, dtype=object)


def _raw_shape(item: TensorSpec, size_bytes: int, where: str) -> tuple[int, ...]:
    each = item.dtype.itemsize * math.prod(size for size in item.shape if size != WILDCARD)
    if WILDCARD not in item.shape:
        return item.shape
    if not each or size_bytes % each:
        raise ProtocolError(
            f"{where}: {size_bytes} bytes are no whole number of {format_shape(item.shape)}, "
            f"which takes {each} each"
        )
    return tuple(size_bytes // each if size == WILDCARD else size for size in item.shape)
