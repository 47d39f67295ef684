"""One footer for several Parquet files that stand one after the other in one file.

pyarrow neither appends to a Parquet file nor changes the places in a footer. So the footers are
moved here: their bytes are the struct ``FileMetaData`` of the Parquet format (parquet.thrift), in
Thrift's compact protocol (thrift-compact-protocol.md). Only places in the file are changed. The
files must have no page index, whose pages have places of their own.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

from hybridmodel.exceptions import ConfigurationError

MAGIC = b"PAR1"
_LENGTH_BYTES = 4
TAIL_BYTES = _LENGTH_BYTES + len(MAGIC)

_TRUTHS, _BYTE, _I16, _I64 = (1, 2), 3, 4, 6
_DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 7, 8, 9, 10, 12
_SIZES = {**dict.fromkeys(_TRUTHS, 0), _BYTE: 1, _DOUBLE: 8}
"""Bytes behind the head of a field; truth values have none of their own."""
_LONG_LIST = 15
"""In the head of a list: its size follows."""

_Fields = dict[int, Any]
_PLACE: _Fields = {}
"""Stands for a number that is a place in the file, where a struct has fields."""
_COLUMN: _Fields = {9: _PLACE, 10: _PLACE, 11: _PLACE, 14: _PLACE}
_CHUNK: _Fields = {2: _PLACE, 3: _COLUMN, 4: _PLACE, 6: _PLACE}
_FILE: _Fields = {4: {1: _CHUNK, 5: _PLACE}}
"""By the numbers of fields, the places in `FileMetaData`: in ``row_groups`` ``file_offset`` and
``columns``, in these ``file_offset``, ``meta_data`` and the places of both indexes, and in
``meta_data`` those of pages and of the Bloom filter."""


def joined_footer(files: Iterable[tuple[bytes, int]]) -> bytes:
    """Return what must follow after files that stand one after the other, to make them one.

    Each file comes as its last bytes, as `footer_bytes` wants them, and its place. Raises
    `ConfigurationError` if one of them is not the end of a Parquet file.
    """
    joined: Any = None
    for end, place in files:
        found = _metadata(moved(end[:-TAIL_BYTES], place))
        if joined is None:
            joined = found
        else:
            joined.append_row_groups(found)
    sink = io.BytesIO()
    joined.write_metadata_file(sink)
    return sink.getvalue()[len(MAGIC) :]


def footer_bytes(tail: bytes) -> int:
    """Return how long a footer is, by the last 8 bytes of its file."""
    if len(tail) != TAIL_BYTES or not tail.endswith(MAGIC):
        raise _damaged()
    return int.from_bytes(tail[:_LENGTH_BYTES], "little") + TAIL_BYTES


def moved(footer: bytes, by: int) -> bytes:
    """Return a `FileMetaData` whose places in the file are larger by some bytes."""
    made = bytearray()
    try:
        _Mover(footer, by, made).struct(_FILE)
    except (IndexError, RecursionError) as error:
        raise _damaged() from error
    return bytes(made)


def _metadata(footer: bytes) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    length = len(footer).to_bytes(_LENGTH_BYTES, "little")
    return pq.read_metadata(pa.BufferReader(MAGIC + footer + length + MAGIC))


def _damaged() -> ConfigurationError:
    return ConfigurationError("a part of the output does not end as a Parquet file does")


class _Mover:
    """Copies values of the compact protocol, and moves the places among them."""

    def __init__(self, data: bytes, by: int, made: bytearray) -> None:
        self._data = data
        self._by = by
        self._made = made
        self._at = 0

    def struct(self, places: _Fields) -> None:
        """Copy a struct; `places` has those of its fields that are or hold places."""
        field = 0
        while head := self._byte():
            kind, step = head & 15, head >> 4
            field = field + step if step else _signed(self._varint())
            self._value(kind, places.get(field))

    def _value(self, kind: int, places: _Fields | None) -> None:
        if kind == _STRUCT:
            self.struct(places or {})
        elif kind in (_LIST, _SET):
            self._list(places)
        elif kind == _BINARY:
            self._copy(self._varint())
        elif kind == _I64 and places is _PLACE:
            self._place()
        elif _I16 <= kind <= _I64:
            self._varint()
        elif kind in _SIZES:
            self._copy(_SIZES[kind])
        else:
            raise IndexError(kind)

    def _list(self, places: _Fields | None) -> None:
        head = self._byte()
        kind, size = head & 15, head >> 4
        if size == _LONG_LIST:
            size = self._varint()
        for _ in range(size):
            if kind in _TRUTHS:  # In lists, they have a byte each.
                self._copy(1)
            else:
                self._value(kind, places)

    def _place(self) -> None:
        begin = len(self._made)
        place = _signed(self._varint())
        if place:  # 0 stands for none.
            del self._made[begin:]
            self._made += _varint((place + self._by) << 1)

    def _byte(self) -> int:
        byte = self._data[self._at]
        self._made.append(byte)
        self._at += 1
        return byte

    def _varint(self) -> int:
        value = shift = 0
        while (byte := self._byte()) & 0x80:
            value |= (byte & 0x7F) << shift
            shift += 7
        return value | byte << shift

    def _copy(self, count: int) -> None:
        taken = self._data[self._at : self._at + count]
        if len(taken) < count:
            raise IndexError(count)
        self._made += taken
        self._at += count


def _signed(value: int) -> int:
    """Undo zigzag."""
    return (value >> 1) ^ -(value & 1)


def _varint(value: int) -> bytes:
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)
