"""CSV: UTF-8 with a header, read and written in batches of rows."""

from __future__ import annotations

import csv
import io
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from hybridmodel.cli.source import Source, put_back
from hybridmodel.cli.unreadable import readable
from hybridmodel.data.tensors import ModelSpec

if TYPE_CHECKING:
    import pandas as pd

# What pandas takes for missing; it has no public name for them.
_MISSING = (
    " #N/A #N/A_N/A #NA -1.#IND -1.#QNAN -NaN -nan 1.#IND 1.#QNAN <NA> N/A NA NULL NaN None n/a nan"
    " null"
)
_MISSING_WORDS = [word.replace("_", " ") for word in _MISSING.split(" ")]
_SEPARATORS = ";\t|"
_HEADER_BYTES = 1 << 20


def read(
    file: IO[bytes], source: Source, spec: ModelSpec, size: int | None
) -> Iterator[pd.DataFrame]:
    """Yield the rows of a file in frames of at most `size`, at least one frame."""
    import pandas as pd

    def advance(reader: Any) -> pd.DataFrame | None:
        with readable(source.name, "csv", pd.errors.ParserWarning), warnings.catch_warnings():
            # Rows longer than the header: pandas would warn, and drop their last fields.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return next(reader, None)

    with readable(source.name, "csv"):
        header = _header(file)
        separator = separator_of(source, header)
        # Without index_col=False, rows longer than the header would shift all columns by one.
        reader = pd.read_csv(
            put_back(header, file),
            sep=separator,
            decimal=source.decimal,
            index_col=False,
            low_memory=False,
            chunksize=size or sys.maxsize,
            **_text_options(spec, source.id_columns, header, separator),
        )
    while (frame := advance(reader)) is not None:
        yield frame


def separator_of(source: Source, header: bytes) -> str:
    """Return the separator of fields: the given one, else the one in the header."""
    if source.separator is not None:
        return source.separator
    if Path(source.path.name.lower().removesuffix(".gz")).suffix == ".tsv":
        return "\t"
    # What is quoted belongs to a name.
    outside = b"".join(header.split(b'"')[::2]).decode("utf-8", "replace")
    if "," in outside:
        return ","
    return next((mark for mark in _SEPARATORS if mark in outside), ",")


def line_of(file: IO[bytes], source: Source, row: int) -> int | None:
    """Return the line, counted from 1, at which a row ends; None where that cannot be told."""
    header = _header(file)
    text = io.TextIOWrapper(put_back(header, file), "utf-8-sig", newline="")
    reader = csv.reader(text, delimiter=separator_of(source, header))
    records = (reader.line_num for fields in reader if fields)
    try:
        return next((line for at, line in enumerate(records) if at == row + 1), None)
    except (csv.Error, UnicodeDecodeError):
        return None


def _header(file: IO[bytes]) -> bytes:
    """Read the first line that is not blank, and those before it."""
    read = b""
    while line := file.readline(_HEADER_BYTES):
        read += line
        if line.strip():
            break
    return read


def _text_options(
    spec: ModelSpec, id_columns: tuple[str, ...], header: bytes, separator: str
) -> dict[str, Any]:
    """Keep text as it is written: that of string inputs, and that of columns for identifiers."""
    inputs = [tensor.name for tensor in spec.inputs if tensor.datatype == "BYTES"]
    if inputs and len(spec.inputs) == 1:
        return {"dtype": str, "keep_default_na": False}
    text = {*inputs, *id_columns}
    if not text:
        return {}
    import pandas as pd

    names = pd.read_csv(io.BytesIO(header), sep=separator, nrows=0, index_col=False).columns
    return {
        "dtype": dict.fromkeys(text, str),
        "keep_default_na": False,
        "na_values": {name: _MISSING_WORDS for name in names if name not in text},
    }
