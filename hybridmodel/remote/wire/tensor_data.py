"""One tensor at a time: numpy arrays to and from the two forms the protocol knows.

*Raw* is little-endian, row-major bytes, and for ``BYTES`` each element's ``uint32`` length before
its bytes; *JSON* is a flat or nested list. Every size is compared with what is there before
anything is allocated.

Sources: as in `hybridmodel.remote.wire.protocol`.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from hybridmodel.data.casting import from_values
from hybridmodel.data.tensors import BY_DTYPE, Array, format_shape
from hybridmodel.exceptions import InputMismatch, ProtocolError
from hybridmodel.remote.wire.json_text import shown

Buffer = bytes | bytearray | memoryview

_JSON_KINDS = {"b": "b", "i": "iu", "u": "iu", "f": "iuf"}
"""Kinds of numbers that a JSON list may hold for each kind of dtype."""

_TEXTS = frozenset({str})
_NUMBERS = frozenset({bool, int, float, type(None)})

_FEW_BYTES = 4096
"""So few are copied faster than a view is made."""

_STRINGS_AT_ONCE = 4096
"""Read in about a millisecond; then the time is checked again."""

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Slot:
    """One tensor that a header describes; no other of the message has its name.

    `where` is how messages name it. `size_bytes` is that of its raw form behind the header; None
    where its values are in the header as `data`, unchecked.
    """

    name: str
    where: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    size_bytes: int | None
    data: Any


def to_raw(array: Array) -> Buffer:
    """Return the bytes of a tensor: a view of `array` when it is contiguous numbers, and many."""
    if array.dtype.kind == "O":
        encoded = [value.encode() for value in array.ravel().tolist()]
        return b"".join(part for text in encoded for part in (struct.pack("<I", len(text)), text))
    if array.nbytes <= _FEW_BYTES:
        return array.tobytes()
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def to_list(name: str, array: Array) -> list[Any]:
    """Return the values of a tensor as a flat list for JSON, if that has a form for them."""
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


def fill(
    slots: Iterable[Slot], tensors: Buffer, what: str, alive: Callable[[], object] | None = None
) -> dict[str, Array]:
    """Make the arrays that a header describes, in its order, if the bytes match to the last one.

    Arrays are views of `tensors` where these are writable and aligned, so they must not be used
    again. `alive` is called again and again, and raises once nobody waits for the arrays any
    longer.
    """
    view = memoryview(tensors)
    arrays: dict[str, Array] = {}
    start = 0
    for slot in slots:
        if slot.size_bytes is None:
            arrays[slot.name] = _from_list(slot)
            continue
        end = start + slot.size_bytes
        if end > len(view):
            raise ProtocolError(
                f"{slot.where}: announces {shown(slot.size_bytes)} bytes, {len(view) - start} "
                "bytes are left"
            )
        arrays[slot.name] = _from_raw(view[start:end], slot, alive)
        start = end
    if start != len(view):
        raise ProtocolError(f"{len(view) - start} bytes are left over after the last {what}")
    return arrays


def _from_raw(view: memoryview, slot: Slot, alive: Callable[[], object] | None) -> Array:
    """Read a raw tensor from exactly the bytes of `view`: a view where callers may own that."""
    dtype, shape = slot.dtype, slot.shape
    count = math.prod(shape)
    if dtype.kind == "O":
        return _strings(view, count, slot.where, alive).reshape(shape)
    if count * dtype.itemsize != len(view):
        raise ProtocolError(
            f"{slot.where}: {BY_DTYPE[dtype].datatype}{format_shape(shape)} takes "
            f"{count * dtype.itemsize} bytes, {len(view)} came"
        )
    if not count:
        return np.empty(shape, dtype)
    if dtype.kind == "b" and np.frombuffer(view, np.uint8).max() > 1:
        raise ProtocolError(f"{slot.where}: a BOOL byte is neither 0 nor 1")
    array: Array = np.ndarray(shape, dtype, view)
    # Writable, aligned and contiguous.
    return array if array.flags.carray else array.copy()


def _from_list(slot: Slot) -> Array:
    """Read a tensor from what stands in JSON."""
    if not isinstance(slot.data, list):
        raise ProtocolError(f"{slot.where}: has neither data nor a binary_data_size")
    flat = _flat(slot.data, slot.dtype, slot.where)
    if len(flat) != math.prod(slot.shape):
        raise ProtocolError(
            f"{slot.where}: shape {format_shape(slot.shape)} takes {math.prod(slot.shape)} values, "
            f"{len(flat)} came"
        )
    return _array(flat, slot.dtype, slot.where).reshape(slot.shape)


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
            f"{where}: data is not {BY_DTYPE[dtype].datatype}: its lists are ragged"
        )
    if kinds - (_TEXTS if dtype.kind == "O" else _NUMBERS):
        raise ProtocolError(f"{where}: data holds values that are not {BY_DTYPE[dtype].datatype}")
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
        raise ProtocolError(f"{where}: data is not {BY_DTYPE[dtype].datatype}: {error}") from error


def _check_json_values(raw: Array, dtype: np.dtype[Any], where: str) -> None:
    if _fits(raw, dtype):
        return
    if dtype.kind != "O" and any(value is None for value in raw):
        raise ProtocolError(
            f"{where}: data holds null, which some servers write for NaN and for infinity; only "
            "binary tensors keep them apart"
        )
    raise ProtocolError(f"{where}: data holds values that are not {BY_DTYPE[dtype].datatype}")


def _fits(raw: Array, dtype: np.dtype[Any]) -> bool:
    if dtype.kind == "O":
        # JSON can name half of a surrogate pair, which UTF-8 cannot.
        return not any(map(_SURROGATE.search, raw))
    if raw.dtype.kind not in _JSON_KINDS[dtype.kind] or dtype.kind not in "iu":
        return raw.dtype.kind in _JSON_KINDS[dtype.kind]
    limits = np.iinfo(dtype)
    return limits.min <= int(raw.min()) and int(raw.max()) <= limits.max


def not_in_json(feeds: Mapping[str, Array]) -> str:
    """Say which input JSON cannot hold, of which some servers only say that they cannot read it."""
    for name, array in feeds.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            return f"input {name!r} holds NaN or infinity, which JSON does not know"
    return ""
