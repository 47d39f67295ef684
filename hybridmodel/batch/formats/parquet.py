"""Parquet: types, lists in cells, and an index that is not a column, in batches of rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import IO, Any

from hybridmodel.batch.formats.files import READ_BYTES
from hybridmodel.batch.formats.unreadable import readable
from hybridmodel.checks import needed_for

_PANDAS = b"pandas"


def count_rows(file: IO[bytes], name: str) -> int:
    """Return the rows of a file."""
    with readable(name, "parquet"):
        return int(_parquet().ParquetFile(file).metadata.num_rows)


def read(file: IO[bytes], name: str, *, rows: int, start_row: int = 0) -> Iterator[Any]:
    """Yield record batches of at most `rows`, at least one, which may be empty."""
    with readable(name, "parquet"):
        # Buffers of a fixed size, so that memory does not grow with the row groups.
        parquet = _parquet().ParquetFile(file, pre_buffer=False, buffer_size=READ_BYTES)
        numbering = _Numbering(parquet.schema_arrow, parquet.metadata.num_rows)
        groups, skipped = _groups_from(parquet.metadata, start_row)
        batches = parquet.iter_batches(batch_size=rows, row_groups=groups, use_threads=False)
    row = skipped
    if start_row >= parquet.metadata.num_rows:
        yield numbering.added(_empty(parquet.schema_arrow), 0)
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


def _empty(schema: Any) -> Any:
    import pyarrow as pa

    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)


class _Numbering:
    """The evenly spaced index that pandas stores as a rule, made a column where it has a name."""

    def __init__(self, schema: Any, rows: int) -> None:
        stored = json.loads((schema.metadata or {}).get(_PANDAS, b"{}"))
        rules = stored.get("index_columns", [])
        self._rule: dict[str, Any] | None = None
        if len(rules) == 1 and isinstance(rules[0], dict):
            rule = rules[0]
            span = range(rule["start"], rule["stop"], rule["step"])
            if rule["name"] is not None and len(span) == rows:
                self._rule = rule
        self._stored = stored

    def added(self, batch: Any, start: int) -> Any:
        """Return a batch, `start` rows behind the first, with that index as its first column."""
        if self._rule is None:
            return batch
        import numpy as np
        import pyarrow as pa

        rule = self._rule
        first = rule["start"] + start * rule["step"]
        values = first + rule["step"] * np.arange(batch.num_rows, dtype=np.int64)
        described = {
            "name": rule["name"],
            "field_name": rule["name"],
            "pandas_type": "int64",
            "numpy_type": "int64",
            "metadata": None,
        }
        stored = {
            **self._stored,
            "index_columns": [rule["name"]],
            "columns": [*self._stored.get("columns", []), described],
        }
        metadata = {**(batch.schema.metadata or {}), _PANDAS: json.dumps(stored).encode()}
        schema = pa.schema([pa.field(rule["name"], pa.int64()), *batch.schema], metadata=metadata)
        return pa.RecordBatch.from_arrays([pa.array(values), *batch.columns], schema=schema)


def _parquet() -> Any:
    with needed_for("a parquet file"):
        import pyarrow.parquet
    return pyarrow.parquet
