"""What a header says of the tensors of its message, and the arrays that the bytes then fill.

Two steps, because but for the id a server says the same of each answer: what is read in the first
is kept, the second is done for each message.

Sources: as in `hybridmodel.remote.wire.protocol`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from hybridmodel.exceptions import ProtocolError
from hybridmodel.remote.wire.json_fields import (
    dtype_of,
    is_size,
    name_of,
    objects_of,
    parameters_of,
    shape_of,
    shown,
)
from hybridmodel.remote.wire.memo import Memo
from hybridmodel.remote.wire.tensor_data import Array, Buffer, from_list, from_raw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


@dataclass(frozen=True, slots=True)
class Slot:
    """One tensor that a header describes.

    Attributes
    ----------
    name : str
        No other tensor of the message has it.
    where : str
        What messages call it.
    dtype : numpy.dtype
        Of the array.
    shape : tuple of int
        Of the array.
    size_bytes : int or None
        Of its raw form behind the header; None where its values stand in the header.
    data : object
        What stands there then, unchecked.
    """

    name: str
    where: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    size_bytes: int | None
    data: Any


@dataclass(frozen=True)
class Layout:
    """All that the header of a response says; texts are None where it does not say them."""

    slots: tuple[Slot, ...]
    model_name: str | None
    model_version: str | None
    request_id: str | None
    by_name: Mapping[str, Slot] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # At once: a cached property takes a lock.
        object.__setattr__(self, "by_name", {slot.name: slot for slot in self.slots})


_ID = re.compile(rb'\{"id":"([\w-]*)"')
"""As Triton begins, when it was given an id of such letters."""

_LARGE_BYTES = 4096

_layouts: Memo[Layout] = Memo()
"""By the text behind the id."""


def layout_of(header: Buffer, read: Callable[[Buffer], Layout]) -> tuple[Layout, str | None]:
    """Return what the header of a response says, and its id.

    Parameters
    ----------
    header : buffer
        Its bytes.
    read : callable
        Reads it, unless what it says beside the id is known already; raises what is wrong with it.
    """
    if len(header) > _LARGE_BYTES:  # Too large to be kept, and to be copied for that.
        layout = read(header)
        return layout, layout.request_id
    text = bytes(header)
    start = _ID.match(text)
    if start is None:
        layout = read(text)
        return layout, layout.request_id
    rest = text[start.end() :]
    known = _layouts.get(rest)
    if known is None:
        known = read(text)
        if not _is_all_but_the_id(known, rest):
            return known, known.request_id
        _layouts.keep(rest, known)
    return known, start[1].decode()


def _is_all_but_the_id(layout: Layout, rest: bytes) -> bool:
    """Tell whether it holds no values, and no second id, plain or with its letters escaped."""
    return (
        b'"id"' not in rest
        and b"\\" not in rest
        and all(slot.size_bytes is not None for slot in layout.slots)
    )


def slots_of(head: Mapping[str, Any], what: str) -> tuple[Slot, ...]:
    """Read the descriptions of all inputs or outputs.

    Parameters
    ----------
    head : mapping of str to object
        The header.
    what : str
        ``"input"`` or ``"output"``.

    Raises
    ------
    ProtocolError
        If one is incomplete, names what cannot be, or comes twice.
    """
    slots: dict[str, Slot] = {}
    for item in objects_of(head, f"{what}s"):
        name = name_of(item, what)
        where = f"{what} {shown(name)}"
        if name in slots:
            raise ProtocolError(f"{where} comes twice")
        size = parameters_of(item).get("binary_data_size")
        if size is not None and not is_size(size):
            raise ProtocolError(f"{where}: announces {shown(size)} bytes")
        slots[name] = Slot(
            name, where, dtype_of(item, where), shape_of(item, where), size, item.get("data")
        )
    return tuple(slots.values())


def fill(
    slots: Iterable[Slot], tensors: Buffer, what: str, alive: Callable[[], object] | None = None
) -> dict[str, Array]:
    """Make the arrays that a header describes.

    Parameters
    ----------
    slots : iterable of Slot
        In the header's order, which is that of the bytes.
    tensors : buffer
        All that follows the header. Arrays are views of it where it is writable and they fall on
        aligned addresses.
    what : str
        As `slots_of` takes it.
    alive : callable, optional
        Raises once nobody waits for the arrays any longer; called again and again.

    Raises
    ------
    ProtocolError
        If what came is not what the header describes, to the byte.
    """
    view = memoryview(tensors)
    arrays: dict[str, Array] = {}
    start = 0
    for slot in slots:
        size = slot.size_bytes
        if size is None:
            arrays[slot.name] = from_list(slot.data, slot.dtype, slot.shape, slot.where)
            continue
        end = start + size
        if end > len(view):
            raise ProtocolError(
                f"{slot.where}: announces {shown(size)} bytes, {len(view) - start} bytes are left"
            )
        arrays[slot.name] = from_raw(view[start:end], slot.dtype, slot.shape, slot.where, alive)
        start = end
    if start != len(view):
        raise ProtocolError(f"{len(view) - start} bytes are left over after the last {what}")
    return arrays
