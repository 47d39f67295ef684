"""What the JSON header of a message says of its tensors, with every field checked.

Every function takes what `decode_object` has read and gives values of the promised types, or raises
a `ProtocolError` that is short whatever the header held. But for the id, a server says the same of
each answer, so what a response's header says is kept for the next one.

Sources: as in `hybridmodel.remote.wire.protocol`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hybridmodel.data.tensors import BY_DATATYPE, ModelSpec, TensorSpec
from hybridmodel.exceptions import ProtocolError
from hybridmodel.remote.wire.json_text import JsonLimit, decode_object, shown
from hybridmodel.remote.wire.memo import Memo
from hybridmodel.remote.wire.tensor_data import Buffer, Slot

_DECLARED_SIZE = re.compile("-1|[0-9]{1,18}")

_MAX_RANK = 32
"""The limit of numpy 1.26; later versions allow more."""

_MAX_COUNT = 2**60
"""More values of 8 bytes cannot be addressed; numpy counts so even where a size is 0."""

_ID = re.compile(rb'\{"id":"([\w-]*)"')
"""How Triton begins an answer to a request with an id of such letters."""

_LARGE_BYTES = 4096
"""A longer header is neither copied nor kept."""


@dataclass(frozen=True, slots=True)
class Layout:
    """All that the header of a response says; texts are None where it does not say them."""

    slots: Mapping[str, Slot]
    model_name: str | None
    model_version: str | None
    request_id: str | None


_layouts: Memo[Layout] = Memo()
"""By the text behind the id."""


def read_response(header: Buffer, limit: JsonLimit | None = None) -> tuple[Layout, str | None]:
    """Read what the header of an infer response says, and the id of the request.

    No tensor is decoded yet, so that the layout can be compared with what was expected first.
    """
    text = b"" if len(header) > _LARGE_BYTES else bytes(header)
    start = _ID.match(text)
    if start is None:
        layout = _read_layout(text or header, limit)
        return layout, layout.request_id
    rest = text[start.end() :]
    known = _layouts.get(rest)
    if known is None:
        known = _read_layout(text, limit)
        if not _is_all_but_the_id(known, rest):
            return known, known.request_id
        _layouts.keep(rest, known)
    return known, start[1].decode()


def _read_layout(text: Buffer, limit: JsonLimit | None) -> Layout:
    head = decode_object(text, limit)
    if "error" in head:
        raise ProtocolError(
            f"the answer has status 200 but reports an error: {shown(head['error'])}"
        )
    texts = (text_of(head, key) for key in ("model_name", "model_version", "id"))
    return Layout(slots_of(head, "output"), *texts)


def _is_all_but_the_id(layout: Layout, rest: bytes) -> bool:
    """Tell whether it holds no values, and no second id, plain or with its letters escaped."""
    in_json = any(slot.size_bytes is None for slot in layout.slots.values())
    return not in_json and b'"id"' not in rest and b"\\" not in rest


def decode_metadata(body: Buffer, limit: JsonLimit | None = None) -> ModelSpec:
    """Read a server's description of a model: ``GET /v2/models/{model}``."""
    head = decode_object(body, limit)
    return ModelSpec(_declared_tensors(head, "input"), _declared_tensors(head, "output"))


def _declared_tensors(head: Mapping[str, Any], what: str) -> tuple[TensorSpec, ...]:
    declared = []
    for item in objects_of(head, f"{what}s"):
        where = f"{what} {shown(name_of(item, what))}"
        _dtype_of(item, where)
        shape = _sizes_of(item, where, _is_declared_size)
        declared.append(TensorSpec(item["name"], item["datatype"], shape))
    return tuple(declared)


def slots_of(head: Mapping[str, Any], what: str) -> dict[str, Slot]:
    """Read the descriptions of all tensors, by name; `what` is ``"input"`` or ``"output"``."""
    slots: dict[str, Slot] = {}
    for item in objects_of(head, f"{what}s"):
        name = name_of(item, what)
        where = f"{what} {shown(name)}"
        if name in slots:
            raise ProtocolError(f"{where} appears twice")
        size = _parameters_of(item).get("binary_data_size")
        if size is not None and not _is_size(size):
            raise ProtocolError(f"{where}: announces {shown(size)} bytes")
        slots[name] = Slot(
            name, where, _dtype_of(item, where), _shape_of(item, where), size, item.get("data")
        )
    return slots


def objects_of(head: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """Return a list of objects."""
    items = head.get(key)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ProtocolError(f"{key!r} is not a list of objects")
    return items


def name_of(item: Mapping[str, Any], what: str) -> str:
    """Return the name of an input or output."""
    name = item.get("name")
    if not isinstance(name, str):
        raise ProtocolError(f"an {what} has no name")
    return name


def text_of(head: Mapping[str, Any], key: str) -> str | None:
    """Return a text, None where there is none."""
    value = head.get(key)
    return value if isinstance(value, str) else None


def _parameters_of(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the parameters, empty where there are none."""
    parameters = item.get("parameters")
    return parameters if isinstance(parameters, dict) else {}


def flag_of(item: Mapping[str, Any], key: str) -> bool:
    """Return a parameter that is true or false, false where it is missing."""
    value = _parameters_of(item).get(key, False)
    if not isinstance(value, bool):
        raise ProtocolError(f"parameter {key!r} is {shown(value)}, not true or false")
    return value


def _dtype_of(item: Mapping[str, Any], where: str) -> np.dtype[Any]:
    """Return the dtype of the datatype that `item` names."""
    datatype = item.get("datatype")
    row = BY_DATATYPE.get(datatype) if isinstance(datatype, str) else None
    if row is None:
        raise ProtocolError(
            f"{where}: datatype {shown(datatype)} is not one of {', '.join(BY_DATATYPE)}"
        )
    return row.dtype


def _shape_of(item: Mapping[str, Any], where: str) -> tuple[int, ...]:
    """Return the shape of the tensor that `item` holds."""
    shape = _sizes_of(item, where, _is_size)
    if math.prod(size or 1 for size in shape) >= _MAX_COUNT:
        raise ProtocolError(f"{where}: shape {shown(list(shape))} is larger than any array")
    return shape


def _sizes_of(
    item: Mapping[str, Any], where: str, is_size: Callable[[Any], bool]
) -> tuple[int, ...]:
    shape = item.get("shape")
    if not isinstance(shape, list) or len(shape) > _MAX_RANK or not all(map(is_size, shape)):
        raise ProtocolError(f"{where}: shape {shown(shape)} is not a list of sizes")
    return tuple(map(int, shape))


def _is_size(value: Any) -> bool:
    """Tell whether a JSON value is a whole number from 0 up; ``true`` is not."""
    return type(value) is int and value >= 0


def _is_declared_size(size: Any) -> bool:
    # -1 stands for any size. Servers that go through protobuf's JSON write numbers as strings.
    return isinstance(size, (int, str)) and _DECLARED_SIZE.fullmatch(str(size)) is not None
