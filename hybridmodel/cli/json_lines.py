"""JSON lines: one object for each row, with the same keys in all."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from itertools import islice
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from hybridmodel.cli.source import Source
from hybridmodel.cli.unreadable import readable
from hybridmodel.exceptions import InputMismatch

if TYPE_CHECKING:
    import pandas as pd

Record = dict[str, Any]

_SHOWN = 80


def read(file: IO[bytes], source: Source, size: int | None) -> Iterator[pd.DataFrame]:
    """Yield the rows of a file in frames of at most `size`, at least one frame."""
    import pandas as pd

    records = _records(file, source.name)
    names: list[str] | None = None
    while batch := list(islice(records, size)):
        names = names or list(batch[0])
        yield _frame(batch, names)
    if names is None:
        yield pd.DataFrame()


def line_of(file: IO[bytes], row: int) -> int | None:
    """Return the line, counted from 1, on which a row stands."""
    filled = (number for number, line in enumerate(file, 1) if line.strip())
    return next((number for at, number in enumerate(filled) if at == row), None)


def lines(frame: pd.DataFrame) -> Iterator[str]:
    """Yield a line for each row of a frame; NaN, for which JSON has no number, becomes null."""
    columns = [_cells(column) for _, column in frame.items()]
    names = [str(name) for name in frame.columns]
    for cells in zip(*columns, strict=True):
        record = dict(zip(names, cells, strict=True))
        yield json.dumps(record, ensure_ascii=False, allow_nan=False, default=str) + "\n"


def _records(file: IO[bytes], name: str) -> Iterator[Record]:
    keys: set[str] | None = None
    lines = enumerate(file, 1)
    while True:
        with readable(name, "json lines"):
            number, line = next(lines, (0, b""))
        if not number:
            return
        if line.strip():
            record = _record(line, f"{name}, line {number}")
            keys = keys or set(record)
            _check_keys(set(record), keys, f"{name}, line {number}")
            yield record


def _record(line: bytes, where: str) -> Record:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputMismatch(f"{where}: cannot be read as json: {error}"[:200]) from error
    if not isinstance(record, dict):
        shown = repr(record)[:_SHOWN]
        raise InputMismatch(f'{where}: an object such as {{"a": 1}} was expected, got {shown}')
    return record


def _check_keys(given: set[str], expected: set[str], where: str) -> None:
    for what, names in (("no", expected - given), ("an unexpected", given - expected)):
        if names:
            shown = ", ".join(map(repr, sorted(names)))[:_SHOWN]
            raise InputMismatch(f"{where}: has {what} {shown}; every line has the same keys")


def _frame(batch: list[Record], names: list[str]) -> pd.DataFrame:
    import pandas as pd

    # Column by column, so that null beside numbers is NaN, and alone as well.
    columns = {name: [record[name] for record in batch] for name in names}
    for name, cells in columns.items():
        if all(cell is None for cell in cells):
            columns[name] = [np.nan] * len(cells)
    return pd.DataFrame({name: pd.Series(cells) for name, cells in columns.items()})


def _cells(column: pd.Series[Any]) -> list[Any]:
    """Return the cells of a column in JSON's types; numpy's floats keep their own precision."""
    is_float = getattr(column.dtype, "kind", "") == "f"
    return [_plain(cell) for cell in (column.to_numpy() if is_float else column.to_numpy(object))]


def _plain(cell: Any) -> Any:
    """Return a cell in JSON's types; infinity is text, as null would pass for missing."""
    import pandas as pd

    if isinstance(cell, np.floating):
        cell = float(str(cell))
    if isinstance(cell, float):
        return cell if math.isfinite(cell) else None if math.isnan(cell) else str(cell)
    if isinstance(cell, np.ndarray):
        cell = cell.tolist()
    if isinstance(cell, list):
        return [_plain(item) for item in cell]
    if cell is pd.NA or cell is pd.NaT:
        return None
    return cell.item() if isinstance(cell, np.generic) else cell
