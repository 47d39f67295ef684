"""JSON lines: one object for each row, with the same keys in all."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from itertools import islice
from typing import IO, Any

from hybridmodel.batch.formats.unreadable import readable
from hybridmodel.exceptions import InputMismatch

Record = dict[str, Any]

_SHOWN = 80


def read(file: IO[bytes], name: str, *, rows: int, start_row: int = 0) -> Iterator[Any]:
    """Yield record batches of at most `rows`, at least one, which may be empty."""
    import pyarrow as pa

    records = _records(file, name)
    names: list[str] | None = None
    for record in islice(records, start_row):
        names = names or list(record)
    found = False
    while batch := list(islice(records, rows)):
        found, names = True, names or list(batch[0])
        columns = [_column([record[name] for record in batch]) for name in names]
        yield pa.RecordBatch.from_arrays(columns, names)
    if not found:
        yield pa.RecordBatch.from_arrays(
            [pa.array([], pa.float64()) for _ in names or ()], names or []
        )


def line_of(file: IO[bytes], row: int) -> int | None:
    """Return the line, counted from 1, on which a row stands."""
    filled = (number for number, line in enumerate(file, 1) if line.strip())
    return next((number for at, number in enumerate(filled) if at == row), None)


def lines(batch: Any) -> Iterator[str]:
    """Yield a line for each row of a batch; NaN, for which JSON has no number, becomes null."""
    columns = [_cells(column) for column in batch.columns]
    names = batch.schema.names
    for cells in zip(*columns, strict=True):
        record = dict(zip(names, cells, strict=True))
        yield json.dumps(record, ensure_ascii=False, allow_nan=False, default=str) + "\n"


class JsonLinesWriter:
    """Append batches to a file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write_batch(self, batch: Any) -> None:
        """Append a batch."""
        self._file.write("".join(lines(batch)).encode())


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


def _column(cells: list[Any]) -> Any:
    """Make a column of cells; null is a missing number, also if all are null."""
    import pyarrow as pa

    if all(cell is None for cell in cells):
        return pa.nulls(len(cells), pa.float64())
    try:
        return pa.array(cells)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError):
        # Kinds that Arrow has no column for together, none of which is one of numbers.
        texts = [
            cell if isinstance(cell, str) else None if cell is None else repr(cell)
            for cell in cells
        ]
        return pa.array([text and text.encode(errors="replace").decode() for text in texts])


def _cells(column: Any) -> list[Any]:
    """Return the cells of a column in JSON's types; floats keep their own precision."""
    import pyarrow as pa

    if pa.types.is_floating(column.type) and not pa.types.is_float64(column.type):
        values = column.to_numpy(zero_copy_only=False)
        return [_plain(float(text)) for text in map(str, values)]
    if _may_have_floats(column.type):
        return list(map(_plain, column.to_pylist()))
    return column.to_pylist()  # type: ignore[no-any-return]


def _may_have_floats(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_float64(kind) or pa.types.is_nested(kind))


def _plain(cell: Any) -> Any:
    """Return a cell in JSON's types; infinity is text, as null would pass for missing."""
    if isinstance(cell, float):
        return cell if math.isfinite(cell) else None if math.isnan(cell) else str(cell)
    if isinstance(cell, list):
        return [_plain(item) for item in cell]
    if isinstance(cell, dict):
        return {key: _plain(item) for key, item in cell.items()}
    return cell
