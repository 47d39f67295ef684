"""An array, list or column becomes a tensor of the dtype and shape that the model declares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hybridmodel.data.arrow import read_column, speaks_arrow
from hybridmodel.data.casting import cast, cast_column, from_values
from hybridmodel.data.plain import Column
from hybridmodel.data.tensors import Array, TensorSpec, format_shape
from hybridmodel.exceptions import InputMismatch

if TYPE_CHECKING:
    import pandas as pd


def from_array_like(data: Any, spec: TensorSpec) -> Array:
    """Return an array, a list, a number or a text as the tensor that `spec` declares."""
    where = f"input {spec.name!r}"
    if type(data) is not np.ndarray and (column := _as_column(data, where)) is not None:
        return from_column(column, spec, where)
    array = data if type(data) is np.ndarray else _as_array(data, spec, where)
    if not spec.fits(array.shape):
        raise InputMismatch(_shape_message(where, spec, array.shape))
    return cast(array, spec.dtype, where)


def _as_array(data: Any, spec: TensorSpec, where: str) -> Array:
    refuse_lazy(data, where)
    if isinstance(data, np.ma.MaskedArray):
        raise InputMismatch(f"{where}: got a masked array; fill its masked values first")
    plain = isinstance(data, (list, tuple, int, float, str, np.generic))
    if not plain and (not hasattr(data, "__array__") or hasattr(data, "columns")):
        raise InputMismatch(
            f"{where}: expected {spec.datatype}{format_shape(spec.shape)} as an array or list (a "
            "whole call may be a DataFrame, Series or dict of arrays), got a "
            f"{type(data).__module__}.{type(data).__qualname__}"
        )
    try:
        return from_values(data, spec.dtype) if plain else np.asarray(data)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputMismatch(f"{where}: numpy cannot make an array of it: {error}") from error


def refuse_lazy(data: Any, where: str) -> None:
    """Raise `InputMismatch` for Spark and for a lazy frame of polars, whose rows are elsewhere."""
    kind = type(data)
    if kind.__module__.startswith("pyspark."):
        raise InputMismatch(
            f"{where}: got a Spark {kind.__name__}; pass its toPandas(), or score it in Spark with "
            "mlflow.pyfunc.spark_udf"
        )
    if kind.__name__ == "LazyFrame" and kind.__module__.startswith("polars."):
        raise InputMismatch(
            f"{where}: got a LazyFrame of polars, which has no rows yet; pass its collect()"
        )


def _shape_message(where: str, spec: TensorSpec, shape: tuple[int, ...]) -> str:
    message = f"{where}: expected shape {format_shape(spec.shape)}, got {list(shape)}"
    if len(shape) == 1 and len(spec.shape) == 2:
        message += "; use reshape(1, -1) for one row, reshape(-1, 1) for one column"
    return message


def from_column(column: pd.Series[Any], spec: TensorSpec, where: str) -> Array:
    """Return a pandas column of numbers, texts or arrays as the tensor that `spec` declares.

    Single values become ``[n]`` or ``[n, 1]``; cells are arrays or lists where `spec` has a higher
    rank.
    """
    if len(column) == 0:
        array = spec.empty()
    elif len(spec.shape) > 2 or isinstance(column.iloc[0], (np.ndarray, list, tuple)):
        array = _stacked([_as_array(cell, spec, where) for cell in column], spec.dtype, where)
    else:
        array = cast_column(column, spec.dtype, where)
    return shaped(array, spec, where)


def from_plain_column(column: Column, spec: TensorSpec) -> Array:
    """Make the tensor that `spec` declares of a column of Arrow, as `from_column` does it.

    Raises
    ------
    InputMismatch
        If it does not fit.
    """
    array = column.cast(spec.dtype) if len(column.values) else spec.empty()
    return shaped(array, spec, f"column {column.name!r}")


def shaped(array: Array, spec: TensorSpec, where: str) -> Array:
    """Return the values of a column in the shape that `spec` declares.

    Raises
    ------
    InputMismatch
        If it declares another.
    """
    array = array.reshape(-1, 1) if array.ndim == 1 and len(spec.shape) == 2 else array
    if not spec.fits(array.shape):
        raise InputMismatch(_shape_message(where, spec, array.shape))
    return array


def _stacked(cells: list[Array], dtype: np.dtype[Any], where: str) -> Array:
    if len({cell.dtype for cell in cells}) > 1:
        # One by one: together, numpy would first turn the integers beside floats into floats.
        cells = [cast(cell, dtype, where) for cell in cells]
    try:
        stacked = np.stack(cells)
    except ValueError as error:
        raise InputMismatch(f"{where}: its cells are not arrays of one shape: {error}") from error
    return cast(stacked, dtype, where)


def _as_column(data: Any, where: str) -> pd.Series[Any] | None:
    """Return a column of pandas, polars or Arrow, which may hold what numpy has no dtype for."""
    is_pandas = type(data).__module__.partition(".")[0] == "pandas"
    if is_pandas and hasattr(data, "__array__") and data.ndim == 1:
        import pandas as pd

        return pd.Series(data)
    if is_pandas or not speaks_arrow(data):
        return None
    refuse_lazy(data, where)
    return read_column(data)
