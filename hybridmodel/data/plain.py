"""Arrow columns as arrays, without pandas: numbers, and texts of which none is missing.

They come under the rules of a frame that has the same columns, and give the same tensors to the
bit; what is of another kind goes through a frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from hybridmodel.data.casting import cast, check_none_missing
from hybridmodel.data.tensors import Array
from hybridmodel.exceptions import InputMismatch

_BLOCK_ROWS = 1 << 12


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes
    ----------
    name : str
        May come twice.
    values : ndarray, shape (n,)
        With zeros for what is missing; may be lent, read-only.
    missing : ndarray of bool, shape (n,), or None
        Which values are missing; None where there are none.
    """

    name: str
    values: Array
    missing: Array | None = None

    def cast(self, dtype: np.dtype[Any]) -> Array:
        """Return the values in another dtype, NaN for what is missing.

        Raises
        ------
        InputMismatch
            As `hybridmodel.data.casting.cast_column`.
        """
        where = f"column {self.name!r}"
        if self.missing is None:
            return cast(self.values, dtype, where)
        check_none_missing(self.missing, dtype, where)
        values = cast(self.values, dtype, where)
        values = values if values.flags.writeable else values.copy()
        values[self.missing] = np.nan
        return values


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of one length."""

    columns: tuple[Column, ...]
    rows: int

    @property
    def names(self) -> list[str]:
        """The names of the columns, in order."""
        return [column.name for column in self.columns]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.rows, len(self.columns)

    def ordered(self, names: Sequence[str]) -> Table:
        """Return the table with its columns in another order."""
        if self.names == names:
            return self
        by_name = {column.name: column for column in self.columns}
        return replace(self, columns=tuple(by_name[name] for name in names))

    def matrix(self, dtype: np.dtype[Any]) -> Array:
        """Return all values as one array of shape (n, k).

        Raises
        ------
        InputMismatch
            If a column does not fit; names it.
        """
        made = np.empty(self.shape, dtype)
        common = self._common(dtype)
        columns = [_through(column, common, dtype) for column in self.columns]
        # Rows that stay in the processor's cache while all columns are written to them.
        for start in range(0, self.rows, _BLOCK_ROWS):
            block = slice(start, start + _BLOCK_ROWS)
            rows = made[block]
            for position, values in enumerate(columns):
                rows[:, position] = values[block]
        return made

    def _common(self, dtype: np.dtype[Any]) -> np.dtype[Any] | None:
        """Return the dtype over which a frame of these columns would go, None where over none.

        Integers of 64 bits beside floats are rounded on their way.
        """
        dtypes = {column.values.dtype for column in self.columns}
        one_array = len(dtypes) > 1 and all(kind.kind in "fiu" for kind in dtypes)
        if not one_array or dtype.kind != "f":
            return None
        if any(column.missing is not None for column in self.columns):
            return None
        return np.result_type(*dtypes)


def read_table(
    names: Sequence[str], columns: Sequence[Any], rows: int, *, texts: bool
) -> Table | None:
    """Return a table whose columns can be arrays.

    Parameters
    ----------
    names : sequence of str
        Of the columns.
    columns : sequence of pyarrow.Array or pyarrow.ChunkedArray
        Of one length.
    rows : int
        This length.
    texts : bool
        Whether texts are wanted; otherwise they are of another kind.

    Returns
    -------
    Table or None
        None where a column is of another kind.
    """
    found: list[Column] = []
    for name, values in zip(names, columns, strict=True):
        column = _column(name, values, texts)
        if column is None:
            return None
        found.append(column)
    return Table(tuple(found), rows)


def _column(name: str, values: Any, texts: bool) -> Column | None:
    dtype = _dtypes().get(values.type.id)
    if dtype is None or (dtype.kind == "O" and (values.null_count or not texts)):
        return None
    if dtype.kind == "O":
        return Column(name, np.array(values.to_pylist(), dtype=object))
    whole = _whole(values)
    missing = _missing(whole) if whole.null_count else None
    return Column(name, _numbers(whole, dtype, missing), missing)


@cache
def _dtypes() -> dict[int, np.dtype[Any]]:
    """Return what numpy has for types of Arrow, by their number."""
    import pyarrow as pa

    words = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
    found = {getattr(pa, word)().id: np.dtype(word) for word in words}
    for kind, word in (
        (pa.float16(), "float16"),
        (pa.float32(), "float32"),
        (pa.float64(), "float64"),
        (pa.bool_(), "bool"),
        (pa.string(), "object"),
        (pa.large_string(), "object"),
    ):
        found[kind.id] = np.dtype(word)
    return found


def _whole(values: Any) -> Any:
    import pyarrow as pa

    if not isinstance(values, pa.ChunkedArray):
        return values
    if values.num_chunks == 1:
        return values.chunk(0)
    return pa.concat_arrays(values.chunks) if values.num_chunks else pa.nulls(0, values.type)


# What follows reads Arrow's buffers with numpy: its own functions for that import pandas.


def _numbers(values: Any, dtype: np.dtype[Any], missing: Array | None) -> Array:
    """Return the values of an array, zeros for those that are missing."""
    buffer, start, rows = values.buffers()[1], values.offset, len(values)
    if buffer is None:
        return np.zeros(rows, dtype)
    if dtype.kind == "b":
        made = _bits(buffer, start, rows).view(np.bool_)
    else:
        made = np.frombuffer(buffer, dtype, start + rows)[start:]
    return made if missing is None else np.where(missing, dtype.type(0), made)


def _missing(values: Any) -> Array:
    missing: Array = _bits(values.buffers()[0], values.offset, len(values)) == 0
    return missing


def _bits(buffer: Any, start: int, rows: int) -> Array:
    first = start // 8
    packed = np.frombuffer(buffer, np.uint8)[first : (start + rows + 7) // 8]
    bits: Array = np.unpackbits(packed, bitorder="little")
    return bits[start - 8 * first :][:rows]


def _through(column: Column, common: np.dtype[Any] | None, dtype: np.dtype[Any]) -> Array:
    if common is not None and column.values.dtype != common:
        try:
            return replace(column, values=column.values.astype(common)).cast(dtype)
        except InputMismatch:
            pass  # As a frame does it: then each column by itself.
    return column.cast(dtype)
