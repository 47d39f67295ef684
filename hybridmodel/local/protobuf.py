"""A reader of protobuf's wire format, as far as ONNX files need it; copies nothing.

Encoding: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SIZES = {_FIXED64: 8, _FIXED32: 4}
_FIRST_KEY, _AFTER_LAST_KEY = 1 << 3, 1 << 32


class Malformed(Exception):
    """Raise when bytes are not a message, or not one of the expected kind."""


def fields(view: Any) -> Iterator[tuple[int, Any]]:
    """Yield number and value of each field of a message; a value is a number or a view of bytes."""
    if isinstance(view, int):
        raise Malformed
    position, end = 0, len(view)
    while position < end:
        key = view[position]
        position += 1
        if key >= 0x80:
            key, position = _varint(view, position - 1)
        if not _FIRST_KEY <= key < _AFTER_LAST_KEY:
            raise Malformed  # Other readers drop the upper bits, and find a field that we do not.
        kind, number = key & 7, key >> 3
        if kind == _VARINT:
            value, position = _varint(view, position)
            yield number, value
            continue
        size = _SIZES.get(kind, -1)
        if kind == _BYTES:
            size, position = _varint(view, position)
        stop = position + size
        if size < 0 or stop > end:
            raise Malformed
        yield number, view[position:stop]
        position = stop


def packed(view: memoryview) -> Iterator[int]:
    """Yield the numbers of a packed field."""
    position = 0
    while position < len(view):
        bits, position = _varint(view, position)
        yield bits


def text(value: Any) -> str:
    """Return a field's bytes as text, or raise `Malformed` or UnicodeDecodeError."""
    if isinstance(value, int):
        raise Malformed
    return bytes(value).decode()


def _varint(view: memoryview, position: int) -> tuple[int, int]:
    if position < len(view) and view[position] < 0x80:
        return view[position], position + 1
    result = shift = 0
    while position < len(view) and shift < 70:
        byte = view[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position
        shift += 7
    raise Malformed
