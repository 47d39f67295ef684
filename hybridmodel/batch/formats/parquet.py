"""Parquet: types, lists in cells, and an index that is not a column, in batches of rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

from hybridmodel.batch.formats.arrow_ipc import empty
from hybridmodel.batch.formats.files import READ_BYTES
from hybridmodel.batch.formats.frames import is_text
from hybridmodel.batch.formats.pandas_index import Numbering
from hybridmodel.batch.formats.unreadable import readable
from hybridmodel.checks import needed_for

_GROUP_ROWS, _GROUP_BYTES = 1 << 17, 1 << 24
"""Of a row group that is written: it ends at either."""
_BATCH_BYTES, _FEWEST_ROWS, _TEXT_BYTES = 1 << 23, 256, 32
"""The most bytes and the fewest rows of a batch that is read; the bytes assumed for a text."""
_ALL_ROWS = 1 << 31
"""More than any batch has."""


def count_rows(file: IO[bytes], name: str) -> int:
    """Return the rows of a file."""
    with readable(name, "parquet"):
        return int(_parquet().ParquetFile(file).metadata.num_rows)


def read(file: IO[bytes], name: str, *, rows: int, start_row: int = 0) -> Iterator[Any]:
    """Yield record batches of at most `rows`, at least one, which may be empty."""
    with readable(name, "parquet"):
        # Buffers of a fixed size, so that memory does not grow with the row groups.
        parquet = _parquet().ParquetFile(file, pre_buffer=False, buffer_size=READ_BYTES)
        numbering = Numbering(parquet.schema_arrow, parquet.metadata.num_rows)
        groups, skipped = _groups_from(parquet.metadata, start_row)
        size = _narrow_enough(rows, parquet.schema_arrow)
        batches = parquet.iter_batches(batch_size=size, row_groups=groups, use_threads=False)
    row = skipped
    if start_row >= parquet.metadata.num_rows:
        yield numbering.added(empty(parquet.schema_arrow), 0)
        return
    while True:
        with readable(name, "parquet"):
            batch = next(batches, None)
        if batch is None:
            return
        behind = row + batch.num_rows
        if behind > start_row:
            kept = batch.slice(max(0, start_row - row))
            yield numbering.added(kept, behind - kept.num_rows)
        row = behind


class GroupedWriter:
    """Append batches to a file, many of them to each row group."""

    def __init__(self, sink: IO[bytes], schema: Any) -> None:
        # Floats rarely repeat: a dictionary of them costs time and space.
        texts = [field.name for field in schema if is_text(field.type)]
        self._writer = _parquet().ParquetWriter(
            sink, schema, compression="zstd", compression_level=1, use_dictionary=texts
        )
        self._waiting: list[Any] = []
        self._rows = self._bytes = 0

    def write_batch(self, batch: Any) -> None:
        """Append a batch."""
        self._waiting.append(batch)
        self._rows += batch.num_rows
        self._bytes += batch.nbytes
        if self._rows >= _GROUP_ROWS or self._bytes >= _GROUP_BYTES:
            self._write_group()

    def close(self) -> None:
        """Write what ends the file."""
        self._write_group()
        self._writer.close()

    def _write_group(self) -> None:
        import pyarrow as pa

        if self._waiting:
            self._writer.write_table(pa.Table.from_batches(self._waiting))
        self._waiting, self._rows, self._bytes = [], 0, 0


def _narrow_enough(rows: int, schema: Any) -> int:
    """Return fewer rows where they are wide, unless all are wanted at once."""
    row_bytes = sum(_width_bytes(field.type) for field in schema)
    most = max(_FEWEST_ROWS, _BATCH_BYTES // max(1, row_bytes))
    return rows if rows >= _ALL_ROWS else min(rows, most)


def _width_bytes(kind: Any) -> int:
    try:
        return max(1, int(kind.bit_width) // 8)
    except ValueError:  # Texts and lists, of any width.
        return _TEXT_BYTES


def _groups_from(metadata: Any, start_row: int) -> tuple[list[int], int]:
    """Return the row groups from a row on, and the rows before them."""
    skipped = 0
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group).num_rows
        if skipped + rows > start_row:
            return list(range(group, metadata.num_row_groups)), skipped
        skipped += rows
    return [], skipped


def _parquet() -> Any:
    with needed_for("a parquet file"):
        import pyarrow.parquet
    return pyarrow.parquet
