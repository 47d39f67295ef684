"""JSON that somebody else wrote, read only as far as its size and its number of values allow.

A few bytes of JSON become many in memory, and a reader in C lets no other thread run meanwhile. So
a text is looked over before it is read: how long it is, and how many values and lists it can hold.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hybridmodel.data.tensors import WILDCARD, ModelSpec, TensorSpec
from hybridmodel.exceptions import ProtocolError

JSON_BYTES = 1 << 20
"""The most that an answer without values in it has: names, shapes, a model's configuration."""

ERROR_BYTES = 1 << 16
"""The most that is read of a refusal, and of any text that takes several times its size."""

UNKNOWN_BYTES = 1 << 26
"""The most of an answer whose size the model does not tell; Triton takes no more JSON either."""

BYTES_PER_S = 20e6
"""Of JSON that are read on a slow machine."""

_VALUES = 1000
_VALUES_PER_TENSOR = 32
_NUMBER_BYTES = 64
"""Of a number with its comma, or the brackets of a list, each on a line of its own."""

_MAX_DIGITS = 4300
"""Of a whole number, as Python itself has it unless told otherwise: more take time squared."""


@dataclass(frozen=True, slots=True)
class JsonLimit:
    """What a JSON text may hold.

    Attributes
    ----------
    size_bytes : int
        Of the text.
    values : int or None
        Commas, in texts as well; None for any number.
    lists : int or None
        Lists and objects; None for any number.
    """

    size_bytes: int
    values: int | None
    lists: int | None


ERROR_LIMIT = JsonLimit(ERROR_BYTES, _VALUES, _VALUES)


def description_limit(spec: ModelSpec) -> JsonLimit:
    """Return what a server's description of a model may hold."""
    most = _VALUES + _VALUES_PER_TENSOR * (len(spec.inputs) + len(spec.outputs))
    return JsonLimit(JSON_BYTES, most, most)


def answer_limit(
    spec: ModelSpec, outputs: Sequence[str], rows: int | None, binary: bool
) -> JsonLimit:
    """Return what the JSON of an answer may hold.

    Parameters
    ----------
    spec : ModelSpec
        Of the local model.
    outputs : sequence of str
        Names that were asked for.
    rows : int or None
        That were sent; None where nobody counts them.
    binary : bool
        Whether the tensors were asked for behind the JSON.
    """
    asked = [spec.output(name) for name in outputs]
    shapes = [expected_shape(item, rows) for item in asked]
    known = sum(math.prod(shape) for shape in shapes if WILDCARD not in shape)
    most = _VALUES + _VALUES_PER_TENSOR * len(asked)
    texts = any(item.dtype.kind == "O" for item in asked)
    if texts or any(WILDCARD in shape for shape in shapes):
        size = max(JSON_BYTES if binary else UNKNOWN_BYTES, _NUMBER_BYTES * known)
        # Servers write flat lists, or one for each row.
        return JsonLimit(size, None, None if texts else most + max(rows or 0, 100_000))
    # A nested list, which a server may write instead of a flat one, has these lists.
    lists = sum(math.prod(shape[:depth]) for shape in shapes for depth in range(len(shape)))
    size = max(JSON_BYTES, _NUMBER_BYTES * (known + lists))
    return JsonLimit(size, most + known, most + lists)


def expected_shape(spec: TensorSpec, rows: int | None) -> tuple[int, ...]:
    """Return the shape of an output for so many rows, as far as it is known."""
    return (rows, *spec.shape[1:]) if spec.batched and rows is not None else spec.shape


def decode_object(
    body: bytes | bytearray | memoryview, limit: JsonLimit | None = None
) -> dict[str, Any]:
    """Read a JSON object, the form of every header and of every other answer.

    Raises
    ------
    ProtocolError
        If it is anything else, or more than the limit.
    """
    if limit is not None:
        _look_over(body, limit)
    many_digits = not 0 < sys.get_int_max_str_digits() <= _MAX_DIGITS
    try:
        text = str(body, "utf-8").removeprefix("\ufeff")
        head = json.loads(text, parse_int=_short if many_digits else None)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"the JSON part cannot be read: {str(error)[:200]}") from error
    if not isinstance(head, dict):
        raise ProtocolError(f"the JSON part is a {type(head).__name__}, not an object")
    return head


def _short(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _look_over(body: bytes | bytearray | memoryview, limit: JsonLimit) -> None:
    size = len(body)
    if size > limit.size_bytes:
        raise ProtocolError(
            f"the answer has {size} bytes of JSON, and at most {limit.size_bytes} were expected"
        )
    text = bytes(body) if isinstance(body, memoryview) else body
    if limit.values is not None:
        if size > ERROR_BYTES and not (text.isascii() and b"\\" not in text):
            # One letter beyond the usual ones makes all of them four times as large.
            raise ProtocolError(
                f"the answer has {size} bytes of JSON that are not all plain ASCII, more than "
                f"{ERROR_BYTES}"
            )
        _at_most(text.count(b","), limit.values, "values")
    if limit.lists is not None:
        _at_most(text.count(b"[") + text.count(b"{"), limit.lists, "lists and objects")


def _at_most(count: int, most: int, what: str) -> None:
    if count > most:
        raise ProtocolError(f"the JSON part holds {count} {what}, and at most {most} were expected")


def shown(value: Any) -> str:
    """Write any JSON value into a message, whatever its size or depth."""
    try:
        # Of a text only the beginning is looked at: it may be as long as the answer.
        return repr(value[:80] if isinstance(value, str) else value)[:80]
    except RecursionError:
        return f"a deeply nested {type(value).__name__}"
