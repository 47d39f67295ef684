"""One tensor at a time: numpy arrays to and from the two forms the protocol knows.

*Raw* is little-endian, row-major bytes, and for ``BYTES`` each element's ``uint32`` length before
its bytes; *JSON* is a flat or nested list. Every size is compared with what is there before
anything is allocated or believed.

Sources: as in `hybridmodel.remote.wire.protocol`.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any

import numpy as np

from hybridmodel.data.casting import from_values
from hybridmodel.data.tensors import BY_DTYPE, format_shape
from hybridmodel.exceptions import InputMismatch, ProtocolError

Array = np.ndarray[Any, Any]
Buffer = bytes | bytearray | memoryview

_JSON_KINDS = {"b": "b", "i": "iu", "u": "iu", "f": "iuf"}
"""Kinds of numbers that a JSON list may hold for each kind of dtype."""

_TEXTS = frozenset({str})
_NUMBERS = frozenset({bool, int, float, type(None)})

_FEW_BYTES = 4096
"""Copied in less time than a view takes to be made."""

_STRINGS_AT_ONCE = 4096
"""Read in a millisecond, before somebody looks at the time again."""

_SURROGATE = re.compile("[\ud800-\udfff]")


def to_raw(array: Array) -> Buffer:
    """Return the bytes of a tensor: a view of `array` when it is contiguous numbers, and many."""
    if array.dtype.kind == "O":
        encoded = [value.encode() for value in array.ravel().tolist()]
        return b"".join(part for text in encoded for part in (struct.pack("<I", len(text)), text))
    if array.nbytes <= _FEW_BYTES:
        return array.tobytes()
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def to_list(name: str, array: Array) -> list[Any]:
    """Return the values of a tensor as a flat list for JSON.

    Raises
    ------
    InputMismatch
        If JSON has no form for its datatype.
    """
    element = BY_DTYPE[array.dtype]
    if not element.in_json:
        raise InputMismatch(
            f"tensor {name!r}: {element.datatype} has no form in JSON that servers agree on, and "
            "this one does not announce the binary tensor extension; set binary=True in the "
            "endpoint if it has it all the same (KServe does), else serve the model with FP32 "
            "tensors"
        )
    values: list[Any] = array.ravel().tolist()
    return values


def from_raw(
    view: memoryview,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    where: str,
    alive: Callable[[], object] | None = None,
) -> Array:
    """Read a raw tensor from exactly the bytes of `view`; see `layouts.fill`.

    Returns a view of `view` where that is writable and aligned, so that callers may own it.

    Raises
    ------
    ProtocolError
        If the bytes are not those of such a tensor.
    """
    count = math.prod(shape)
    if dtype.kind == "O":
        return _strings(view, count, where, alive).reshape(shape)
    if count * dtype.itemsize != len(view):
        raise ProtocolError(
            f"{where}: {BY_DTYPE[dtype].datatype}{format_shape(shape)} takes "
            f"{count * dtype.itemsize} bytes, {len(view)} came"
        )
    if not count:
        return np.empty(shape, dtype)
    if dtype.kind == "b" and np.frombuffer(view, np.uint8).max() > 1:
        raise ProtocolError(f"{where}: a BOOL byte is neither 0 nor 1")
    array: Array = np.ndarray(shape, dtype, view)
    # Writable, aligned and contiguous.
    return array if array.flags.carray else array.copy()


def from_list(data: Any, dtype: np.dtype[Any], shape: tuple[int, ...], where: str) -> Array:
    """Read a tensor from what stands in JSON.

    Raises
    ------
    ProtocolError
        If there is nothing, or values are missing, too many, of another type or out of range.
    """
    if not isinstance(data, list):
        raise ProtocolError(f"{where}: has neither data nor a binary_data_size")
    flat = _flat(data, dtype, where)
    if len(flat) != math.prod(shape):
        raise ProtocolError(
            f"{where}: shape {format_shape(shape)} takes {math.prod(shape)} values, "
            f"{len(flat)} came"
        )
    return _array(flat, dtype, where).reshape(shape)


def _strings(view: memoryview, count: int, where: str, alive: Callable[[], object] | None) -> Array:
    if count * 4 > len(view):
        raise ProtocolError(f"{where}: {len(view)} bytes cannot hold {count} strings")
    values = np.empty(count, dtype=object)
    start = 0
    for index in range(count):
        if alive is not None and not index % _STRINGS_AT_ONCE:
            alive()
        head = view[start : start + 4]
        end = start + 4 + int.from_bytes(head, "little")
        if len(head) < 4 or end > len(view):
            raise ProtocolError(f"{where}: string {index} of {count} is longer than what is left")
        try:
            values[index] = str(view[start + 4 : end], "utf-8")
        except UnicodeDecodeError as error:
            raise ProtocolError(f"{where}: string {index} is not UTF-8") from error
        start = end
    if start != len(view):
        raise ProtocolError(f"{where}: {len(view) - start} bytes after the last string")
    return values


def _flat(data: list[Any], dtype: np.dtype[Any], where: str) -> list[Any]:
    """Take lists out of lists, which are all alike, down to values of the right type.

    numpy makes every text of an array as long as the longest.
    """
    kinds = set(map(type, data))
    while kinds == {list}:
        if len(set(map(len, data))) > 1:
            break
        data = list(chain.from_iterable(data))
        kinds = set(map(type, data))
    if list in kinds:
        raise ProtocolError(
            f"{where}: data is no {BY_DTYPE[dtype].datatype} tensor: its lists are ragged"
        )
    if kinds - (_TEXTS if dtype.kind == "O" else _NUMBERS):
        raise ProtocolError(f"{where}: data holds values that are no {BY_DTYPE[dtype].datatype}")
    return data


def _array(data: list[Any], dtype: np.dtype[Any], where: str) -> Array:
    if not data:
        return np.empty(0, dtype)
    try:
        raw = from_values(data, dtype)
        _check_json_values(raw, dtype, where)
        with np.errstate(over="raise", invalid="raise"):
            return raw.astype(dtype)
    except (ValueError, TypeError, OverflowError, FloatingPointError) as error:
        raise ProtocolError(
            f"{where}: data is no {BY_DTYPE[dtype].datatype} tensor: {error}"
        ) from error


def _check_json_values(raw: Array, dtype: np.dtype[Any], where: str) -> None:
    if dtype.kind == "O":
        fits = all(map(_is_utf8, raw))
    else:
        fits = raw.dtype.kind in _JSON_KINDS[dtype.kind] and _in_range(raw, dtype)
    if fits:
        return
    if dtype.kind != "O" and any(value is None for value in raw):
        raise ProtocolError(
            f"{where}: data holds null, which some servers write for NaN and for infinity; only "
            "binary tensors keep them apart"
        )
    raise ProtocolError(f"{where}: data holds values that are no {BY_DTYPE[dtype].datatype}")


def _is_utf8(text: str) -> bool:
    # JSON can name half of a surrogate pair, which UTF-8 cannot.
    return text.isascii() or _SURROGATE.search(text) is None


def _in_range(raw: Array, dtype: np.dtype[Any]) -> bool:
    if dtype.kind not in "iu":
        return True
    limits = np.iinfo(dtype)
    return int(raw.min()) >= limits.min and int(raw.max()) <= limits.max


def not_in_json(feeds: Mapping[str, Array]) -> str:
    """Say which input JSON cannot hold, of which some servers only say that they cannot read it."""
    for name, array in feeds.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            return f"input {name!r} holds NaN or infinity, which JSON does not know"
    return ""
