"""Arrow columns as arrays, without pandas: numbers, and texts of which none is missing.

They come under the rules of a frame that has the same columns, and give the same tensors to the
bit; what is of another kind goes through a frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hybridmodel.data.casting import cast, check_none_missing
from hybridmodel.exceptions import InputMismatch

Array = np.ndarray[Any, Any]


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
        for position, column in enumerate(self.columns):
            made[:, position] = _through(column, common, dtype)
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


def read_table(values: Any, *, texts: bool) -> Table | None:
    """Return a table whose columns can be arrays.

    Parameters
    ----------
    values : pyarrow.ChunkedArray
        Of structs.
    texts : bool
        Whether texts are wanted; otherwise they are of another kind.

    Returns
    -------
    Table or None
        None where a column is of another kind.
    """
    columns = [
        _column(field.name, column, texts)
        for field, column in zip(values.type, values.flatten(), strict=True)
    ]
    found = tuple(column for column in columns if column is not None)
    return Table(found, len(values)) if len(found) == len(columns) else None


def _column(name: str, values: Any, texts: bool) -> Column | None:
    from pyarrow import types

    kind = values.type
    if types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind):
        whole = _whole(values)
        missing = _missing(whole) if whole.null_count else None
        return Column(name, _numbers(whole, missing), missing)
    is_text = types.is_string(kind) or types.is_large_string(kind)
    if texts and is_text and not values.null_count:
        return Column(name, np.array(values.to_pylist(), dtype=object))
    return None


def _whole(values: Any) -> Any:
    import pyarrow as pa

    if values.num_chunks == 1:
        return values.chunk(0)
    return pa.concat_arrays(values.chunks) if values.num_chunks else pa.nulls(0, values.type)


_DTYPES = {"halffloat": "f2", "float": "f4", "double": "f8"}
"""How numpy calls what Arrow calls otherwise."""

# What follows reads Arrow's buffers with numpy: its own functions for that import pandas.


def _numbers(values: Any, missing: Array | None) -> Array:
    """Return the values of an array, zeros for those that are missing."""
    buffer, start, rows = values.buffers()[1], values.offset, len(values)
    word = str(values.type)
    dtype = np.dtype(_DTYPES.get(word, word))
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
