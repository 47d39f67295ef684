"""Parquet: types, lists in cells, and an index that is not a column, in batches of rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

from hybridmodel.batch.formats.arrow_ipc import empty
from hybridmodel.batch.formats.files import READ_BYTES
from hybridmodel.batch.formats.pandas_index import Numbering
from hybridmodel.batch.formats.unreadable import readable
from hybridmodel.checks import needed_for


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
        batches = parquet.iter_batches(batch_size=rows, row_groups=groups, use_threads=False)
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


def open_writer(sink: IO[bytes], schema: Any) -> Any:
    """Return what appends batches of a schema to a file, with ``write_batch`` and ``close``."""
    import pyarrow as pa

    # Floats never repeat: a dictionary of them costs time and space.
    texts = [
        field.name
        for field in schema
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
    ]
    return _parquet().ParquetWriter(
        sink, schema, compression="zstd", compression_level=1, use_dictionary=texts
    )


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
