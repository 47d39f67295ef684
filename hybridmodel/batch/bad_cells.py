"""Finds the cell of a table that a model cannot take, and tells its place."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from hybridmodel.batch.formats import CSV, InputFile, Reading, line_of, read
from hybridmodel.batch.formats.frames import frame_of
from hybridmodel.data.binding import Binding
from hybridmodel.data.casting import cast_column
from hybridmodel.data.inputs import from_column
from hybridmodel.data.tensors import ModelSpec, TensorSpec
from hybridmodel.exceptions import InputMismatch

if TYPE_CHECKING:
    import pandas as pd

Take = Callable[["pd.Series[Any]"], object]

_SHOWN = 60
_READ_ROWS = 1 << 15
_FLAGS = (True, False, "True", "False", "TRUE", "FALSE", "true", "false")


@dataclass(frozen=True, slots=True, kw_only=True)
class BadCell:
    """A value that does not fit its column; rows are counted from 0 within the frame."""

    row: int
    column: str
    value: str
    reason: str

    def __str__(self) -> str:
        known = self.value in self.reason
        return f"column {self.column!r}: {'' if known else f'{self.value} '}{self.reason}"


def find(
    frame: pd.DataFrame, spec: ModelSpec, feature_names: list[str] | None = None
) -> BadCell | None:
    """Return the first cell that does not fit; None if no single cell is the cause."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            Binding(spec, feature_names).bind(frame.iloc[:0])
        except InputMismatch:
            return None
        for column, tensor in _pairs(frame, spec):
            found = _in_column(column, tensor)
            if found is not None:
                return found
    return None


def located(
    error: InputMismatch,
    features: Any,
    spec: ModelSpec,
    feature_names: list[str] | None,
    *,
    file: InputFile,
    start: int,
    reading: Reading | None = None,
) -> InputMismatch:
    """Return an error about rows from `start` on, with the place of the cell that caused it."""
    cell = find(frame_of(features), spec, feature_names)
    if cell is None and file.kind == CSV:
        # One word turns all cells that are read with it into text, so it may come later.
        cell = _find_later(file, features.schema.names, spec, feature_names, start, reading)
    if cell is None:
        rows = f", rows from {start}" if start else ""
        return InputMismatch(f"{file.name}{rows}: {error}")
    row = start + cell.row
    return InputMismatch(f"{file.name}, {at_row(row, line_of(file, row, reading))}, {cell}")


def _find_later(
    file: InputFile,
    names: list[str],
    spec: ModelSpec,
    feature_names: list[str] | None,
    start: int,
    reading: Reading | None,
) -> BadCell | None:
    """Return the first cell that does not fit, among the rows that are read with row `start`."""
    row = 0
    batches = read(file, spec=spec, rows=_READ_ROWS, start_row=start, reading=reading)
    for batch in islice(batches, 2):
        cell = find(frame_of(batch.select(names)), spec, feature_names)
        if cell is not None:
            return replace(cell, row=row + cell.row)
        row += batch.num_rows
    return None


def at_row(row: int, line: int | None) -> str:
    """Tell the place of a row: rows are counted from 0, lines from 1."""
    return f"row {row}, counted from 0" if line is None else f"line {line} (row {row}, from 0)"


def shown(value: Any) -> str:
    """Return a value as text of bounded length without control characters."""
    value = value.item() if isinstance(value, np.generic) else value
    text = repr(value[: 2 * _SHOWN] if isinstance(value, str) else value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _pairs(frame: pd.DataFrame, spec: ModelSpec) -> Iterator[tuple[pd.Series[Any], TensorSpec]]:
    """Yield each column with the tensor that it feeds."""
    if len(spec.inputs) == 1:
        yield from ((frame.iloc[:, at], spec.inputs[0]) for at in range(frame.shape[1]))
    else:
        yield from ((frame[tensor.name], tensor) for tensor in spec.inputs)


def _in_column(column: pd.Series[Any], tensor: TensorSpec) -> BadCell | None:
    take = _taker(tensor)
    if _refusal(take, column) is None:
        return None
    found: tuple[int, str] | None
    if _is_text(column) and tensor.dtype.kind != "O":
        found = _first_text(column, tensor)
    else:
        found = None if _is_foreign(column) else _first_refused(take, column)
    if found is None:
        return None  # The whole column has another type: no single cell is the cause.
    row, reason = found
    name, value = str(column.name), shown(column.iloc[row])
    return BadCell(row=row, column=name, value=value, reason=reason)


def _is_text(column: pd.Series[Any]) -> bool:
    # Cells with lists and arrays have the dtype object too.
    plain = len(column) > 0 and not isinstance(column.iloc[0], (list, tuple, np.ndarray))
    return plain and getattr(column.dtype, "kind", "") == "O" and column.dtype.name != "category"


def _is_foreign(column: pd.Series[Any]) -> bool:
    """Tell whether a column has dates, complex numbers or categories, which never fit."""
    return getattr(column.dtype, "kind", "") in "mMc" or column.dtype.name == "category"


def _taker(tensor: TensorSpec) -> Take:
    if len(tensor.shape) == 2:
        return lambda column: cast_column(column, tensor.dtype, "")
    return lambda column: from_column(column, tensor, "")


def _refusal(take: Take, column: pd.Series[Any]) -> str | None:
    try:
        take(column)
    except InputMismatch as error:
        return str(error).removeprefix(": ").replace(" at position 0", "")
    return None


def _first_text(column: pd.Series[Any], tensor: TensorSpec) -> tuple[int, str] | None:
    """Return the first row whose cell is text that is neither a number nor a flag."""
    is_good = _is_flag if tensor.dtype.kind == "b" else _is_number
    row = next((row for row, cell in enumerate(column) if not is_good(cell)), None)
    return None if row is None else (row, _not_a(tensor, column.iloc[row]))


def _is_number(cell: Any) -> bool:
    if not isinstance(cell, str):
        return True
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def _is_flag(cell: Any) -> bool:
    return not isinstance(cell, str) or cell in _FLAGS


def _not_a(tensor: TensorSpec, cell: str) -> str:
    if tensor.dtype.kind == "b":
        return "is not a flag, which is True or False"
    decimal = re.fullmatch(r"\s*[+-]?\d+,\d+\s*", cell)
    return "is not a number" + ("; for a decimal comma say --decimal ," if decimal else "")


def _first_refused(take: Take, column: pd.Series[Any]) -> tuple[int, str]:
    """Halve the column until one row is left, and return it with the reason."""
    low, high = 0, len(column) - 1
    while low < high:
        middle = (low + high) // 2
        if _refusal(take, column.iloc[low : middle + 1]) is None:
            low = middle + 1
        else:
            high = middle
    reason = _refusal(take, column.iloc[low : low + 1])
    return low, f"does not fit: {reason}"
