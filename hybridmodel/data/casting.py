"""Which values may become which dtype: only what loses nothing that a model could use.

======================  =============================================================
from                    to
======================  =============================================================
float                   any float that can hold its size (float64 → float32 rounds)
integer, bool           any float; integers that can hold every value
float                   integers, when every value is whole
str                     strings, nothing else
======================  =============================================================

Everything else is an `InputMismatch`: strings for numbers, categories, dates, complex numbers,
missing values among integers, booleans or strings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hybridmodel.exceptions import InputMismatch

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray[Any, Any]
DType = np.dtype[Any]

NUMBERS = "fiub"
"""Kinds of numpy dtypes that count as numbers."""


def from_values(values: Any, dtype: DType) -> Array:
    """Make an array of numbers or strings, or lists of them, that `cast` can judge.

    numpy alone would make strings of the numbers in a mixed list, and floats of integers on both
    sides of 2**63 or beside floats, which may not be exact.

    Parameters
    ----------
    values : scalar, list or tuple
        Of one rank throughout.
    dtype : numpy.dtype
        What the array is to be cast to; it may come out as another.

    Raises
    ------
    ValueError or OverflowError
        If the lists are ragged, or an integer is beyond 64 bits.
    """
    array = np.asarray(values, dtype=object if dtype.kind == "O" else None)
    if dtype.kind not in "iu" or array.dtype.kind != "f":
        return array
    exact = np.asarray(values, dtype=object)
    if all(isinstance(value, (int, np.integer)) for value in exact.flat):
        return exact.astype(dtype)
    # As Python's numbers, which compare exactly.
    rounded = exact.ravel().tolist() != array.ravel().tolist()
    return exact if rounded and not np.isnan(array).any() else array


def cast(array: Array, dtype: DType, where: str) -> Array:
    """Return `array` in another dtype, or itself where nothing is to be done.

    Parameters
    ----------
    array : ndarray
        Never changed.
    dtype : numpy.dtype
        One of those in `hybridmodel.data.tensors.ELEMENT_TYPES`.
    where : str
        Named in errors, such as ``input 'X'``.

    Returns
    -------
    ndarray
        Of the same shape.

    Raises
    ------
    InputMismatch
        If values would be lost.
    """
    if array.size == 0:
        return np.empty(array.shape, dtype)
    if array.dtype == dtype:
        return _checked_strings(array, where) if dtype.kind == "O" else array
    if dtype.kind == "O":
        return _to_strings(array, where)
    if array.dtype.kind not in NUMBERS or (dtype.kind == "b" and array.dtype.kind != "b"):
        raise InputMismatch(f"{where}: expected {dtype}, got {_kind(array)}{_advice(array)}")
    if dtype.kind == "f":
        return _to_float(array, dtype, where)
    return _to_integer(array, dtype, where)


def cast_column(column: pd.Series[Any], dtype: DType, where: str) -> Array:
    """Return the values of one pandas column in another dtype.

    Raises
    ------
    InputMismatch
        As `cast`, and for missing values where the dtype has no place for them.
    """
    own = column.dtype
    if len(column) == 0:
        return np.empty(0, dtype)
    if own.name == "category":
        raise InputMismatch(
            f"{where}: expected {_name(dtype)}, got a category; pass its codes or its values, "
            "whichever the model was trained on"
        )
    if isinstance(own, np.dtype):
        return cast(column.to_numpy(), dtype, where)
    return _cast_nullable(column, dtype, where)


def _cast_nullable(column: pd.Series[Any], dtype: DType, where: str) -> Array:
    own = column.dtype
    missing = column.isna().to_numpy()
    check_none_missing(missing, dtype, where)
    if dtype.kind == "O":
        return cast(column.to_numpy(dtype=object), dtype, where)
    inner = getattr(own, "numpy_dtype", None)
    if inner is None or inner.kind not in NUMBERS:
        raise InputMismatch(f"{where}: expected {dtype}, got {own}")
    if not missing.any():
        return cast(column.to_numpy(dtype=inner), dtype, where)
    # Zeros stand in for what is missing, so that the values there are come under the same checks.
    values = cast(column.to_numpy(dtype=inner, na_value=inner.type(0)), dtype, where)
    values = values if values.flags.writeable else values.copy()
    values[missing] = np.nan
    return values


def check_none_missing(missing: Array, dtype: DType, where: str) -> None:
    """Refuse missing values where a dtype has no place for them."""
    if missing.any() and dtype.kind != "f":
        raise InputMismatch(
            f"{where}: {missing.sum()} missing values, first at position {missing.argmax()}; "
            f"{_name(dtype)} has no place for them"
        )


def _checked_strings(array: Array, where: str) -> Array:
    values = array.ravel().tolist()
    for position, value in enumerate(values):
        if not isinstance(value, str):
            got = "a missing value" if _is_missing(value) else f"a {type(value).__name__}"
            raise InputMismatch(f"{where}: expected strings, got {got} at position {position}")
    try:
        "".join(values).encode()
    except UnicodeEncodeError as error:
        raise InputMismatch(
            f"{where}: expected strings that UTF-8 can write, got one with "
            f"{error.object[error.start]!r}, half of a surrogate pair"
        ) from error
    return array


def _to_strings(array: Array, where: str) -> Array:
    if array.dtype.kind not in "UT":
        hint = "; decode them first" if array.dtype.kind == "S" else ""
        raise InputMismatch(f"{where}: expected strings, got {_kind(array)}{hint}")
    return _checked_strings(array.astype(object), where)


def _to_float(array: Array, dtype: DType, where: str) -> Array:
    try:
        with np.errstate(over="raise"):
            # Row-major, as every runtime wants it: one pass from a frame's columns, not two.
            return array.astype(dtype, order="C")
    except FloatingPointError as error:
        raise InputMismatch(
            f"{where}: a value is too large for {dtype}, which ends at {np.finfo(dtype).max:g}"
        ) from error


def _to_integer(array: Array, dtype: DType, where: str) -> Array:
    if array.dtype.kind == "f":
        _check_whole(array, dtype, where)
    if not np.can_cast(array.dtype, dtype):
        _check_range(array, dtype, where)
    return array.astype(dtype)


def _check_whole(array: Array, dtype: DType, where: str) -> None:
    bad = ~np.isfinite(array) | (np.trunc(array) != array)
    if bad.any():
        first = array[bad].flat[0]
        what = "missing or infinite" if not np.isfinite(first) else "not whole"
        raise InputMismatch(f"{where}: expected {dtype}, got {first}, which is {what}")


def _check_range(array: Array, dtype: DType, where: str) -> None:
    limits = np.iinfo(dtype)
    # Python's integers compare exactly; 2**63 as a float would pass for the largest int64.
    low, high = int(array.min()), int(array.max())
    if low < limits.min or high > limits.max:
        raise InputMismatch(
            f"{where}: {dtype} holds {limits.min} to {limits.max}, got {low} to {high}"
        )


def _is_missing(value: Any) -> bool:
    if isinstance(value, float):
        return value != value
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def _kind(array: Array) -> str:
    kind = array.dtype.kind
    if kind in "UTS":
        return "strings" if kind != "S" else "bytes"
    if kind == "O":
        return f"Python objects ({type(array.flat[0]).__name__} first)"
    return str(array.dtype)


def _advice(array: Array) -> str:
    return "; convert them with astype first" if array.dtype.kind in "OUT" else ""


def _name(dtype: DType) -> str:
    return "strings" if dtype.kind == "O" else str(dtype)
