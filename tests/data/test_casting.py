"""Which values may become which dtype, and that no value changes on the way."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridmodel.data.casting import cast, cast_column, from_values
from hybridmodel.data.tensors import ELEMENT_TYPES
from hybridmodel.exceptions import InputMismatch
from tests.support.strategies import Array, arrays, datatypes, law

NUMERIC = [row.dtype for row in ELEMENT_TYPES if row.dtype.kind != "O"]
TEXT = np.dtype(object)
F2, F4, F8 = np.dtype("<f2"), np.dtype("<f4"), np.dtype("<f8")
I1, I4, I8, U1, U8 = (np.dtype(word) for word in ("i1", "<i4", "<i8", "u1", "<u8"))
BOOL = np.dtype(bool)


def same(one: Array, other: Any, dtype: np.dtype[Any]) -> None:
    """Check values, shape and dtype."""
    other = np.asarray(other)
    assert one.dtype == dtype
    assert one.shape == other.shape
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("given_array", "dtype", "expected"),
    [
        (np.array([1.5, -2.0]), F4, [1.5, -2.0]),
        (np.array([1.5, np.inf, -np.inf]), F4, [1.5, np.inf, -np.inf]),
        (np.array([np.nan]), F4, [np.nan]),
        (np.array([65504.0, np.inf]), F2, [65504.0, np.inf]),
        (np.array([1, 2]), F4, [1.0, 2.0]),
        (np.array([True, False]), F8, [1.0, 0.0]),
        (np.array([True, False]), I8, [1, 0]),
        (np.array([1.0, -2.0]), I8, [1, -2]),
        (np.array([-128.0, 127.0]), I1, [-128, 127]),
        (np.array([-(2.0**63)]), I8, [-(2**63)]),
        (np.array([2.0**63]), U8, [2**63]),
        (np.array([2**63 - 1], np.uint64), I8, [2**63 - 1]),
        (np.array([255], np.int64), U1, [255]),
        (np.array([1.5, 2.0], ">f8"), F8, [1.5, 2.0]),
        (np.array([1, 2], ">i4"), I4, [1, 2]),
        (np.array([1, 2], ">i8"), F4, [1.0, 2.0]),
        (np.array(["a", "ß"]), TEXT, np.array(["a", "ß"], object)),
        (np.array([np.str_("a")], object), TEXT, np.array(["a"], object)),
        (np.array(["a", "b"], np.dtypes.StringDType()), TEXT, np.array(["a", "b"], object)),
        (np.array([1.5], np.longdouble), F8, [1.5]),
        (np.array(3.0), I4, 3),
    ],
)
def test_accepted(given_array: Array, dtype: np.dtype[Any], expected: Any) -> None:
    """What loses nothing is cast, and the array that came stays as it was."""
    before = given_array.copy()
    same(cast(given_array, dtype, "input 'x'"), expected, dtype)
    np.testing.assert_array_equal(given_array, before)


@pytest.mark.parametrize(
    ("given_array", "dtype", "message"),
    [
        (np.array([1.5]), I8, "expected int64, got 1.5, which is not whole"),
        (np.array([np.nan]), I8, "got nan, which is missing or infinite"),
        (np.array([np.inf]), U1, "got inf, which is missing or infinite"),
        (np.array([2.0**63]), I8, "int64 holds -9223372036854775808 to 9223372036854775807"),
        (np.array([2.0**64]), U8, "uint64 holds 0 to 18446744073709551615"),
        (np.array([2**63], np.uint64), I8, "got 9223372036854775808 to 9223372036854775808"),
        (np.array([-1]), U8, "uint64 holds 0 to"),
        (np.array([128]), I1, "int8 holds -128 to 127, got 128 to 128"),
        (np.array([1e39]), F4, "a value is too large for float32, whose largest is 3.4"),
        (np.array([70000.0]), F2, "a value is too large for float16, whose largest is 65504"),
        (np.array([70000]), F2, "a value is too large for float16"),
        (np.array([1]), BOOL, "expected bool, got int64"),
        (np.array([1.0]), BOOL, "expected bool, got float64"),
        (np.array(["1"]), F4, "expected float32, got strings; convert them with astype"),
        (np.array([b"1"]), F4, "expected float32, got bytes"),
        (np.array([1, 2], object), F4, r"got Python objects \(int first\); convert them"),
        (np.array([None, 2], object), I8, r"got Python objects \(NoneType first\)"),
        (np.array([1j]), F8, "expected float64, got complex128"),
        (np.array(["2020-01-01"], "M8[D]"), I8, r"expected int64, got datetime64\[D\]"),
        (np.array([1], "m8[s]"), F8, r"got timedelta64\[s\]"),
        (np.zeros(1, [("a", "f4")]), F4, "expected float32, got"),
        (np.array([1.0]), TEXT, "expected strings, got float64"),
        (np.array([b"a"]), TEXT, "expected strings, got bytes; decode them first"),
        (np.array(["a", b"b"], object), TEXT, "expected strings, got a bytes at position 1"),
        (np.array(["a", None], object), TEXT, "got a missing value at position 1"),
        (np.array([float("nan")], object), TEXT, "got a missing value at position 0"),
        (np.array([pd.NA], object), TEXT, "got a missing value at position 0"),
        (np.array([pd.NaT], object), TEXT, "got a missing value at position 0"),
        (np.array([1.5], object), TEXT, "got a float at position 0"),
        (np.array([["a"], [1]], object), TEXT, "got a int at position 1"),
        (np.array(["ok", "\udc80"], object), TEXT, "half of a surrogate pair"),
        (np.array(["\ud83d"]), TEXT, "half of a surrogate pair"),
    ],
)
def test_refused(given_array: Array, dtype: np.dtype[Any], message: str) -> None:
    """What would lose something is refused, with the place, what came and what was expected."""
    with pytest.raises(InputMismatch, match=f"^input 'x': .*{message}"):
        cast(given_array, dtype, "input 'x'")


@pytest.mark.parametrize("dtype", [*NUMERIC, TEXT])
@pytest.mark.parametrize("came", [*NUMERIC, TEXT, np.dtype("U3"), np.dtype("M8[s]")])
def test_nothing_is_cast_to_nothing(came: np.dtype[Any], dtype: np.dtype[Any]) -> None:
    """An array without elements has no value to lose, whatever its dtype."""
    same(cast(np.empty((0, 3), came), dtype, "x"), np.empty((0, 3), dtype), dtype)


@pytest.mark.parametrize("dtype", [F4, I8, BOOL])
def test_the_same_dtype_is_not_copied(dtype: np.dtype[Any]) -> None:
    """An array that fits is handed through as it is."""
    array = np.ones(3, dtype)
    assert cast(array, dtype, "x") is array


def test_floats_come_out_row_major() -> None:
    """A frame's column-major block is turned round while it is cast, in one pass."""
    assert cast(np.asfortranarray(np.ones((3, 4))), F4, "x").flags.c_contiguous


@law
@given(arrays(datatypes.filter(lambda name: name != "BYTES")), st.sampled_from(NUMERIC))
def test_casting_keeps_values(array: Array, dtype: np.dtype[Any]) -> None:
    """Each integer stays what it is, and each float is off by half a unit in its last place."""
    try:
        result = cast(array, dtype, "x")
    except InputMismatch:
        assert array.size
        return
    assert (result.shape, result.dtype) == (array.shape, dtype)
    for before, after in zip(array.ravel().tolist(), result.ravel().tolist(), strict=True):
        if dtype.kind != "f":
            assert after == before
        elif not np.isfinite(before):
            assert after == before or (before != before and after != after)
        else:
            limits = np.finfo(dtype)
            off = abs(Fraction(after) - Fraction(before))
            assert off <= max(
                abs(Fraction(before)) * Fraction(float(limits.eps)) / 2,
                Fraction(float(limits.smallest_subnormal)),
            )


@pytest.mark.parametrize(
    ("values", "own", "dtype", "expected"),
    [
        ([1, 2], "Int64", F4, [1.0, 2.0]),
        ([1, None], "Int64", F4, [1.0, np.nan]),
        ([2**63 - 1, 2**53 + 1], "Int64", I8, [2**63 - 1, 2**53 + 1]),
        ([1, 2], "UInt8", I8, [1, 2]),
        ([1.5, None], "Float64", F4, [1.5, np.nan]),
        ([1.5, None], "Float32", F4, [1.5, np.nan]),
        ([1.0, 2.0], "Float64", I8, [1, 2]),
        ([True, False], "boolean", BOOL, [True, False]),
        ([True, None], "boolean", F8, [1.0, np.nan]),
        ([True, False], "boolean", I1, [1, 0]),
        ([1, None], "int64[pyarrow]", F8, [1.0, np.nan]),
        ([2**53 + 1, 2], "int64[pyarrow]", I8, [2**53 + 1, 2]),
        ([1.5, None], "double[pyarrow]", F4, [1.5, np.nan]),
        ([True, False], "bool[pyarrow]", BOOL, [True, False]),
        (["a", "b"], "str", TEXT, ["a", "b"]),
        (["a", "b"], "string", TEXT, ["a", "b"]),
        (["a", "b"], "string[pyarrow]", TEXT, ["a", "b"]),
        (["a", "b"], "object", TEXT, ["a", "b"]),
        ([1, 2], "int32", F4, [1.0, 2.0]),
    ],
)
def test_columns_accepted(values: Any, own: str, dtype: np.dtype[Any], expected: Any) -> None:
    """Columns of pandas' own dtypes are cast like arrays; a float takes what is missing as NaN."""
    column = pd.Series(values, dtype=own, name="c")
    before = column.copy()
    same(cast_column(column, dtype, "column 'c'"), np.array(expected, dtype), dtype)
    pd.testing.assert_series_equal(column, before)


@pytest.mark.parametrize(
    ("column", "dtype", "message"),
    [
        (pd.Series([1, None, None], dtype="Int64"), I8, "2 missing values, first at position 1"),
        (pd.Series([None, 1], dtype="int64[pyarrow]"), I8, "1 missing values, first at position 0"),
        (pd.Series([True, None], dtype="boolean"), BOOL, "bool cannot hold them"),
        (pd.Series(["a", None], dtype="str"), TEXT, "strings cannot hold them"),
        (pd.Series([1, None], dtype="float64"), I8, "got nan, which is missing"),
        (pd.Series([1, None], dtype="object"), I8, "got Python objects"),
        (pd.Series([1.5], dtype="Float64"), I8, "got 1.5, which is not whole"),
        (pd.Series([1e300, None], dtype="Float64"), F4, "too large for float32"),
        (pd.Series([300], dtype="Int64"), U1, "uint8 holds 0 to 255"),
        (pd.Series([1, 0], dtype="Int64"), BOOL, "expected bool, got int64"),
        (pd.Series([1, 2], dtype="category"), F4, "got a category; pass its codes or its values"),
        (pd.Series(["a"], dtype="category"), TEXT, "expected strings, got a category"),
        (pd.Series(["a"], dtype="str"), F4, "expected float32, got str"),
        (pd.Series(["a", None], dtype="string"), F4, "expected float32, got string"),
        (pd.Series(["a"], dtype="string[pyarrow]"), I8, "expected int64, got string"),
        (pd.Series([1], dtype="Int64"), TEXT, "expected strings, got a int at position 0"),
        (pd.Series(pd.to_datetime(["2020-01-01"])), I8, "got datetime64"),
        (pd.Series(pd.to_datetime(["2020-01-01"], utc=True)), F8, "got datetime64.*UTC"),
        (pd.Series([1j]), F8, "got complex128"),
        (pd.Series(pd.arrays.SparseArray([1.0, 0.0])), F8, "got Sparse"),
        (pd.Series(pd.interval_range(0, 2)), F8, "got interval"),
    ],
)
def test_columns_refused(column: pd.Series[Any], dtype: np.dtype[Any], message: str) -> None:
    """Missing values among integers, booleans or strings, categories and dates are refused."""
    with pytest.raises(InputMismatch, match=f"^column 'c': .*{message}"):
        cast_column(column, dtype, "column 'c'")


@pytest.mark.parametrize("own", ["object", "category", "str", "Int64", "datetime64[ns]"])
def test_empty_columns(own: str) -> None:
    """A column without rows is an empty array, whatever its dtype."""
    same(cast_column(pd.Series([], dtype=own), F4, "c"), np.empty(0, F4), F4)


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([0, 2**63 + 1], U8, [0, 2**63 + 1]),
        ([[2**64 - 1], [1]], U8, [[2**64 - 1], [1]]),
        ([np.uint64(2**63 + 1), np.int64(5)], U8, [2**63 + 1, 5]),
        ([1.0, 2], I8, [1, 2]),
        ([], I8, []),
        (7, I8, 7),
    ],
)
def test_lists_of_integers_are_exact(values: Any, dtype: np.dtype[Any], expected: Any) -> None:
    """An integer in a list keeps its last digit, whatever stands beside it."""
    same(cast(from_values(values, dtype), dtype, "x"), np.array(expected, dtype), dtype)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [([2**53 + 1, 1.0], I8), ([1.5, 2], I8), ([float("nan"), 2**53 + 1], I8), ([1, "a"], TEXT)],
)
def test_lists_that_would_lose_something(values: Any, dtype: np.dtype[Any]) -> None:
    """What numpy would round or turn into text is refused instead."""
    with pytest.raises(InputMismatch):
        cast(from_values(values, dtype), dtype, "x")


@pytest.mark.parametrize("values", [[-1, 2**63], [[1], [2, 3]]])
def test_lists_that_are_no_array(values: Any) -> None:
    """Ragged lists, and integers that do not fit, are errors of numpy's own kinds."""
    with pytest.raises((ValueError, OverflowError)):
        cast(from_values(values, U8), U8, "x")
