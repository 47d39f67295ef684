"""Which values may become which dtype: a cast must not lose what a model could use.

======================  =============================================================
from                    to
======================  =============================================================
float                   any float that can hold its size (float64 → float32 rounds)
integer, bool           any float; integers that can hold every value
float                   integers, when every value is whole
str                     strings, nothing else
======================  =============================================================

Everything else raises `InputMismatch`: strings for numbers, categories, dates, complex numbers,
missing values among integers, booleans or strings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hybridmodel.data.tensors import Array
from hybridmodel.exceptions import InputMismatch

if TYPE_CHECKING:
    import pandas as pd

DType = np.dtype[Any]

NUMBERS = "fiub"
"""Kinds of numpy dtypes that count as numbers."""


def from_values(values: Any, dtype: DType) -> Array:
    """Return a scalar, or lists of one rank, as an array that `cast` can check.

    By itself, numpy turns the numbers in a mixed list into strings, and integers on both sides of
    2**63 or beside floats into floats, which may not be exact. Ragged lists and integers beyond 64
    bits raise ValueError or OverflowError.
    """
    array = np.asarray(values, dtype=object if dtype.kind == "O" else None)
    if dtype.kind not in "iu" or array.dtype.kind != "f":
        return array
    exact = np.asarray(values, dtype=object)
    if all(isinstance(value, (int, np.integer)) for value in exact.flat):
        return exact.astype(dtype)
    # Compared as Python's numbers, because these compare exactly.
    rounded = exact.ravel().tolist() != array.ravel().tolist()
    return exact if rounded and not np.isnan(array).any() else array


def cast(array: Array, dtype: DType, where: str) -> Array:
    """Return `array` in another dtype, or itself if it has that dtype already.

    Raises `InputMismatch`, which begins with `where`, if values would be lost.
    """
    if array.size == 0:
        return np.empty(array.shape, dtype)
    if array.dtype == dtype:
        return _checked_strings(array, where) if dtype.kind == "O" else array
    if dtype.kind == "O":
        return _to_strings(array, where)
    if array.dtype.kind not in NUMBERS or (dtype.kind == "b" and array.dtype.kind != "b"):
        advice = "; convert them with astype first" if array.dtype.kind in "OUT" else ""
        raise InputMismatch(f"{where}: expected {dtype}, got {_kind(array)}{advice}")
    if dtype.kind == "f":
        return _to_float(array, dtype, where)
    return _to_integer(array, dtype, where)


def cast_column(column: pd.Series[Any], dtype: DType, where: str) -> Array:
    """Return a pandas column in another dtype; raises as `cast`, and for missing values."""
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
    # Zeros replace missing values, so that `cast` checks the values that exist.
    values = cast(column.to_numpy(dtype=inner, na_value=inner.type(0)), dtype, where)
    if missing.any():
        values = values if values.flags.writeable else values.copy()
        values[missing] = np.nan
    return values


def check_none_missing(missing: Array, dtype: DType, where: str) -> None:
    """Raise for missing values if the dtype cannot hold them."""
    if missing.any() and dtype.kind != "f":
        raise InputMismatch(
            f"{where}: {missing.sum()} missing values, first at position {missing.argmax()}; "
            f"{_name(dtype)} cannot hold them"
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
            f"{where}: expected strings that UTF-8 can encode, got one with "
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
            # Row-major, as runtimes need it: one pass over a frame's columns instead of two.
            return array.astype(dtype, order="C")
    except FloatingPointError as error:
        raise InputMismatch(
            f"{where}: a value is too large for {dtype}, whose largest is {np.finfo(dtype).max:g}"
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


def _name(dtype: DType) -> str:
    return "strings" if dtype.kind == "O" else str(dtype)
