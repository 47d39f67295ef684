"""Single fields of a JSON header, each checked before anybody believes it.

Every function takes one JSON object and gives a value of the promised type, or raises a
`ProtocolError` that is short whatever the object held.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from hybridmodel.data.tensors import BY_DATATYPE
from hybridmodel.exceptions import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

_DECLARED_SIZE = re.compile("-1|[0-9]{1,18}")

_MAX_RANK = 32
"""Of an array in every numpy since 1.26."""

_MAX_COUNT = 2**60
"""Numbers of 8 bytes that an address can tell apart; numpy counts so even where a size is 0."""


def objects_of(head: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """Return a list of objects.

    Raises
    ------
    ProtocolError
        If it is anything else, or missing.
    """
    items = head.get(key)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ProtocolError(f"{key!r} is not a list of objects")
    return items


def name_of(item: Mapping[str, Any], what: str) -> str:
    """Return the name of an input or output.

    Raises
    ------
    ProtocolError
        If it has none.
    """
    name = item.get("name")
    if not isinstance(name, str):
        raise ProtocolError(f"an {what} has no name")
    return name


def text_of(head: Mapping[str, Any], key: str) -> str | None:
    """Return a text, None where there is none."""
    value = head.get(key)
    return value if isinstance(value, str) else None


def parameters_of(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the parameters, empty where there are none."""
    parameters = item.get("parameters")
    return parameters if isinstance(parameters, dict) else {}


def flag_of(item: Mapping[str, Any], key: str) -> bool:
    """Return a parameter that is true or false, false where it is missing.

    Raises
    ------
    ProtocolError
        If it is anything else.
    """
    value = parameters_of(item).get(key, False)
    if not isinstance(value, bool):
        raise ProtocolError(f"parameter {key!r} is {shown(value)}, not true or false")
    return value


def dtype_of(item: Mapping[str, Any], where: str) -> np.dtype[Any]:
    """Return the dtype of the datatype that `item` names.

    Raises
    ------
    ProtocolError
        If it names none, or one without a place in ONNX.
    """
    datatype = item.get("datatype")
    row = BY_DATATYPE.get(datatype) if isinstance(datatype, str) else None
    if row is None:
        raise ProtocolError(
            f"{where}: datatype {shown(datatype)} is not one of {', '.join(BY_DATATYPE)}"
        )
    return row.dtype


def shape_of(item: Mapping[str, Any], where: str) -> tuple[int, ...]:
    """Return the shape of the tensor that `item` holds.

    Raises
    ------
    ProtocolError
        If it is not a list of sizes that an array can have.
    """
    shape = item.get("shape")
    if not isinstance(shape, list) or len(shape) > _MAX_RANK or not all(map(is_size, shape)):
        raise ProtocolError(f"{where}: shape {shown(shape)} is not a list of sizes")
    if math.prod(size or 1 for size in shape) >= _MAX_COUNT:
        raise ProtocolError(f"{where}: shape {shown(shape)} is larger than any array")
    return tuple(shape)


def declared_shape_of(item: Mapping[str, Any], where: str) -> tuple[int, ...]:
    """Return the shape that a model's metadata declares, in which -1 stands for any size.

    Raises
    ------
    ProtocolError
        If it is not a list of such sizes.
    """
    shape = item.get("shape")
    if not isinstance(shape, list) or not all(map(_is_declared_size, shape)):
        raise ProtocolError(f"{where}: shape {shown(shape)} is not a list of sizes")
    return tuple(map(int, shape))


def is_size(value: Any) -> bool:
    """Tell whether a JSON value is a whole number from 0 up; ``true`` is not."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def shown(value: Any) -> str:
    """Write any JSON value into a message, whatever its size or depth."""
    try:
        # Of a text only the beginning is looked at: it may be as long as the answer.
        return repr(value[:80] if isinstance(value, str) else value)[:80]
    except RecursionError:
        return f"a deeply nested {type(value).__name__}"


def _is_declared_size(size: Any) -> bool:
    # Servers that go through protobuf's JSON write 64-bit numbers as strings.
    return isinstance(size, (int, str)) and _DECLARED_SIZE.fullmatch(str(size)) is not None
