"""Refuses rows of CSV with fewer fields than the header, such as the last of a truncated file.

The reader would fill them with missing values, and the model would answer them.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from hybridmodel.batch.formats import InputFile, Reading
from hybridmodel.batch.formats.csv_text import records_of
from hybridmodel.exceptions import InputMismatch


def refused(
    batches: Iterable[Any], file: InputFile, reading: Reading, start_row: int
) -> Iterator[Any]:
    """Pass on the record batches of a CSV file, and refuse short rows.

    Only rows without a last value can be short; the file is read beside the batches from the first
    of them on. Raises `InputMismatch` if a row is short; says on which line.
    """
    row, beside = start_row, None
    for batch in batches:
        for at in _without_last_value(batch):
            beside = beside or _Beside(file, reading)
            beside.check(row + at)
        row += batch.num_rows
        yield batch


class _Beside:
    """A second reader of the file, which reads as far as rows are checked."""

    def __init__(self, file: InputFile, reading: Reading) -> None:
        self._name = file.name
        self._records = _fields(file, reading)
        _, self._expected = next(self._records, (0, 0))
        self._next = 0

    def check(self, row: int) -> None:
        """Refuse a short row; rows are checked in order."""
        line, fields = next(islice(self._records, row - self._next, None), (0, self._expected))
        self._next = row + 1
        if fields < self._expected:
            raise InputMismatch(
                f"{self._name}, line {line} (row {row}, from 0): has {fields} fields, where the "
                f"header has {self._expected}"
            )


def _without_last_value(batch: Any) -> list[int]:
    if batch.num_columns < 2 or not batch.column(batch.num_columns - 1).null_count:
        return []
    missing = batch.column(batch.num_columns - 1).is_null().to_numpy(zero_copy_only=False)
    return [int(at) for at in missing.nonzero()[0]]


def _fields(file: InputFile, reading: Reading) -> Iterator[tuple[int, int]]:
    try:
        with file.opened() as opened:
            yield from records_of(opened, file.name, reading)
    except (csv.Error, UnicodeDecodeError):
        return  # The reader itself gives a better error.
