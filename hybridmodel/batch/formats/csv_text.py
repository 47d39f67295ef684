"""CSV: UTF-8 with a header, read and written in batches of rows."""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, Any

from hybridmodel.batch.formats.files import Reading
from hybridmodel.batch.formats.frames import batch_of
from hybridmodel.batch.formats.streams import put_back
from hybridmodel.batch.formats.unreadable import readable
from hybridmodel.data.tensors import ModelSpec

if TYPE_CHECKING:
    import pandas as pd

# The words that pandas reads as missing; it has no public name for them.
_MISSING = (
    " #N/A #N/A_N/A #NA -1.#IND -1.#QNAN -NaN -nan 1.#IND 1.#QNAN <NA> N/A NA NULL NaN None n/a nan"
    " null"
)
_MISSING_WORDS = [word.replace("_", " ") for word in _MISSING.split(" ")]
_SEPARATORS = ";\t|"
_HEADER_BYTES = 1 << 20


def read(
    file: IO[bytes],
    name: str,
    *,
    spec: ModelSpec,
    rows: int,
    start_row: int = 0,
    reading: Reading,
) -> Iterator[Any]:
    """Yield record batches of at most `rows`, at least one, which may be empty.

    The rows before `start_row` are read in the same batches, so the inferred types do not depend on
    it.
    """
    row, found = 0, False
    for frame in _frames(file, name, spec, rows, reading):
        behind = row + len(frame)
        if behind > start_row or not (found or behind):
            found = True
            with readable(name, "csv"):
                batch = batch_of(frame.iloc[max(0, start_row - row) :])
            yield batch
        row = behind
    if not found:
        yield batch_of(frame.iloc[:0])


def separator_of(name: str, reading: Reading, header: bytes) -> str:
    """Return the separator of fields: the given one, else the one in the header."""
    if reading.separator is not None:
        return reading.separator
    if PurePosixPath(name.lower().removesuffix(".gz")).suffix == ".tsv":
        return "\t"
    # Quoted text belongs to a name.
    outside = b"".join(header.split(b'"')[::2]).decode("utf-8", "replace")
    if "," in outside:
        return ","
    return next((mark for mark in _SEPARATORS if mark in outside), ",")


def line_of(file: IO[bytes], name: str, reading: Reading, row: int) -> int | None:
    """Return the line, counted from 1, at which a row ends; None if that is not known."""
    records = records_of(file, name, reading)
    try:
        return next((line for at, (line, _) in enumerate(records) if at == row + 1), None)
    except (csv.Error, UnicodeDecodeError):
        return None


def records_of(file: IO[bytes], name: str, reading: Reading) -> Iterator[tuple[int, int]]:
    """Yield the line, counted from 1, at which each record ends, and the fields that it has.

    The header is the first. Raises `csv.Error` or `UnicodeDecodeError` if the text is malformed.
    """
    header = _header(file)
    text = io.TextIOWrapper(put_back(header, file), "utf-8-sig", newline="")
    reader = csv.reader(text, delimiter=separator_of(name, reading, header))
    return ((reader.line_num, len(fields)) for fields in reader if fields)


class CsvWriter:
    """Appends batches to a file that begins with a header."""

    def __init__(self, file: IO[bytes], names: list[str], separator: str, *, header: bool) -> None:
        self._file = file
        self._separator = separator
        if header:
            line = io.StringIO()
            csv.writer(line, delimiter=separator, lineterminator="\n").writerow(names)
            file.write(line.getvalue().encode())

    def write_batch(self, batch: Any) -> None:
        """Append a batch; lists in cells are written as Python writes them."""
        frame = _as_text(batch).to_pandas(integer_object_nulls=True)
        text = frame.to_csv(sep=self._separator, index=False, header=False, lineterminator="\n")
        self._file.write(text.encode())


def _as_text(batch: Any) -> Any:
    """Return a batch with lists as text, since pandas would print them as arrays."""
    import pyarrow as pa

    columns = [
        pa.array([None if cell is None else str(cell) for cell in column.to_pylist()], pa.string())
        if pa.types.is_nested(column.type)
        else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, batch.schema.names)


def _frames(
    file: IO[bytes], name: str, spec: ModelSpec, rows: int, reading: Reading
) -> Iterator[pd.DataFrame]:
    import pandas as pd

    def advance(reader: Any) -> pd.DataFrame | None:
        with readable(name, "csv", pd.errors.ParserWarning), warnings.catch_warnings():
            # Rows longer than the header: pandas would warn, and drop their last fields.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return next(reader, None)

    with readable(name, "csv"):
        header = _header(file)
        separator = separator_of(name, reading, header)
        # Without index_col=False, rows longer than the header would shift all columns by one.
        reader = pd.read_csv(
            put_back(header, file),
            sep=separator,
            decimal=reading.decimal,
            index_col=False,
            low_memory=False,
            chunksize=rows,
            **_text_options(spec, reading.as_text, header, separator),
        )
    while (frame := advance(reader)) is not None:
        yield frame


def _header(file: IO[bytes]) -> bytes:
    """Read the first line that is not blank, and those before it."""
    read = b""
    while line := file.readline(_HEADER_BYTES):
        read += line
        if line.strip():
            break
    return read


def _text_options(
    spec: ModelSpec, as_text: tuple[str, ...], header: bytes, separator: str
) -> dict[str, Any]:
    """Return the options that keep the text of string inputs and of identifiers unchanged."""
    inputs = [tensor.name for tensor in spec.inputs if tensor.datatype == "BYTES"]
    if inputs and len(spec.inputs) == 1:
        return {"dtype": str, "keep_default_na": False}
    text = {*inputs, *as_text}
    if not text:
        return {}
    import pandas as pd

    names = pd.read_csv(io.BytesIO(header), sep=separator, nrows=0, index_col=False).columns
    return {
        "dtype": dict.fromkeys(text, str),
        "keep_default_na": False,
        "na_values": {name: _MISSING_WORDS for name in names if name not in text},
    }
