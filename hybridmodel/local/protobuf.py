"""Protobuf's wire format, as far as reading ONNX files needs it; no I/O, nothing is copied.

Encoding: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SIZES = {_FIXED64: 8, _FIXED32: 4}
_FIRST_KEY, _AFTER_LAST_KEY = 1 << 3, 1 << 32


class Malformed(Exception):
    """Raise when bytes are not a message, or not one of the kind that is looked for."""


def fields(view: Any) -> Iterator[tuple[int, Any]]:
    """Yield each field of a message.

    Parameters
    ----------
    view : memoryview
        The message; what another call yielded may be handed in as it is.

    Yields
    ------
    tuple of int and (int or memoryview)
        The field's number, and its number or its bytes.

    Raises
    ------
    Malformed
        If it is no message, or is cut short.
    """
    if isinstance(view, int):
        raise Malformed
    position, end = 0, len(view)
    while position < end:
        key = view[position]
        position += 1
        if key >= 0x80:
            key, position = _varint(view, position - 1)
        if not _FIRST_KEY <= key < _AFTER_LAST_KEY:
            raise Malformed  # Other readers drop the upper bits, and see a field that we do not.
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
    """Yield the numbers of a packed field.

    Raises
    ------
    Malformed
        If it is cut short.
    """
    position = 0
    while position < len(view):
        bits, position = _varint(view, position)
        yield bits


def text(value: Any) -> str:
    """Return a field's bytes as text.

    Raises
    ------
    Malformed
        If the field holds a number.
    UnicodeDecodeError
        If it is not UTF-8.
    """
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
