"""`read`: the rows of a file in record batches, whatever its format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import IO, Any

from hybridmodel.batch.formats import arrow_ipc, csv_text, json_lines, parquet
from hybridmodel.batch.formats.files import InputFile, Reading
from hybridmodel.batch.formats.kinds import ARROW, CSV, JSON_LINES, PARQUET
from hybridmodel.data.tensors import ModelSpec


def read(
    file: InputFile,
    *,
    spec: ModelSpec,
    rows: int,
    start_row: int = 0,
    reading: Reading | None = None,
) -> Iterator[Any]:
    """Yield the rows of a file in order.

    Raises `OSError` if the file cannot be opened; `InputMismatch` if it cannot be read as what its
    name says; names the file.
    """
    with file.opened() as opened:
        part = {"rows": rows, "start_row": start_row}
        reading = reading or Reading()
        yield from read_from(opened, file.kind, file.name, spec=spec, reading=reading, **part)


def read_from(
    file: IO[bytes],
    kind: str,
    name: str,
    *,
    spec: ModelSpec,
    rows: int,
    start_row: int,
    reading: Reading,
) -> Iterator[Any]:
    """Yield the rows of an open file of a kind; see `read`."""
    part = {"rows": rows, "start_row": start_row}
    if kind == CSV:
        return csv_text.read(file, name, spec=spec, reading=reading, **part)
    by_kind = {PARQUET: parquet.read, ARROW: arrow_ipc.read, JSON_LINES: json_lines.read}
    return by_kind[kind](file, name, **part)


def count_rows(file: InputFile) -> int | None:
    """Return the rows of a file that says so without being read; None if it is not Parquet."""
    if file.kind != PARQUET:
        return None
    with file.opened() as opened:
        return parquet.count_rows(opened, file.name)


def total_rows(counts: Sequence[int | None]) -> int | None:
    """Return the rows of several files together; None if there is no file, or one does not say."""
    known = [count for count in counts if count is not None]
    return sum(known) if counts and len(known) == len(counts) else None


def line_of(file: InputFile, row: int, reading: Reading | None = None) -> int | None:
    """Return the line of a text, counted from 1, on which a row stands; None if it is not text."""
    if file.kind not in (CSV, JSON_LINES):
        return None
    with file.opened() as opened:
        if file.kind == CSV:
            return csv_text.line_of(opened, file.name, reading or Reading(), row)
        return json_lines.line_of(opened, row)
