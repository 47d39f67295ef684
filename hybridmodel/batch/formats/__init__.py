"""Formats of tables: record batches are read from a start row, and appended to a file."""

from hybridmodel.batch.formats.files import InputFile, Reading
from hybridmodel.batch.formats.kinds import (
    ARROW,
    CSV,
    JSON_LINES,
    PARQUET,
    Format,
    find_format,
    format_of,
)
from hybridmodel.batch.formats.reader import count_rows, line_of, read, read_from, total_rows
from hybridmodel.batch.formats.writer import Writer

__all__ = [
    "ARROW",
    "CSV",
    "JSON_LINES",
    "PARQUET",
    "Format",
    "InputFile",
    "Reading",
    "Writer",
    "count_rows",
    "find_format",
    "format_of",
    "line_of",
    "read",
    "read_from",
    "total_rows",
]
