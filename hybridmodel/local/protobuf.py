"""Protobuf's wire format, as far as ONNX files need it; reading copies nothing.

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


def values_at(message: Any, *path: int) -> Iterator[Any]:
    """Yield the values of a field of a message, or of a field of the messages in a field."""
    for number, value in fields(message):
        if number != path[0]:
            continue
        if len(path) == 1:
            yield value
        else:
            yield from values_at(value, *path[1:])


def spans(view: Any, start: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield number, start, start of the value, and end of each field between two positions."""
    position = start
    while position < stop:
        begin = position
        key, position = _varint(view, position)
        if not _FIRST_KEY <= key < _AFTER_LAST_KEY:
            raise Malformed
        kind, value = key & 7, position
        if kind == _VARINT:
            _, position = _varint(view, position)
        elif kind == _BYTES:
            size, value = _varint(view, position)
            position = value + size
        elif kind in _SIZES:
            position += _SIZES[kind]
        else:
            raise Malformed
        if position > stop:
            raise Malformed
        yield key >> 3, begin, value, position


def written(number: int, value: int | bytes) -> bytes:
    """Return a field with a number that is not negative, or with bytes."""
    if isinstance(value, int):
        return _as_varint(number << 3 | _VARINT) + _as_varint(value)
    return head(number, len(value)) + value


def head(number: int, size_bytes: int) -> bytes:
    """Return what stands before the bytes of a field."""
    return _as_varint(number << 3 | _BYTES) + _as_varint(size_bytes)


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


def _as_varint(value: int) -> bytes:
    parts = bytearray()
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


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
