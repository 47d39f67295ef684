"""Parquet: types, lists in cells, and an index that is not a column, in batches of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from hybridmodel.checks import needed_for
from hybridmodel.cli.unreadable import readable
from hybridmodel.exceptions import ConfigurationError

if TYPE_CHECKING:
    import pandas as pd


def count_rows(path: Path) -> int:
    """Return the rows of a file."""
    with path.open("rb") as file, readable(str(path), "parquet"):
        return int(_parquet().ParquetFile(file).metadata.num_rows)


def read(file: IO[bytes], name: str, size: int | None) -> Iterator[pd.DataFrame]:
    """Yield the rows of a file in frames of at most `size`, at least one frame."""
    with readable(name, "parquet"):
        parquet = _parquet().ParquetFile(file)
        rows = parquet.metadata.num_rows
        index = _numbering(parquet.schema_arrow)
        batches = parquet.iter_batches(batch_size=size or max(rows, 1))
    if rows == 0:
        yield parquet.schema_arrow.empty_table().to_pandas()
    start = 0
    while True:
        with readable(name, "parquet"):
            batch = next(batches, None)
            frame = None if batch is None else _frame(batch)
        if frame is None:
            return
        if index is not None and len(index) == rows:
            frame.index = index[start : start + len(frame)]
        start += len(frame)
        yield frame


def _frame(batch: Any) -> pd.DataFrame:
    """Make a frame with an array in each cell that holds nested lists, not arrays of arrays."""
    import pandas as pd

    frame: pd.DataFrame = batch.to_pandas()
    for name, column in frame.items():
        if _holds_arrays(column) and column.iloc[0].dtype == object:
            cells = [np.array(cell) for cell in batch.column(name).to_pylist()]
            frame[name] = pd.Series(cells, frame.index, dtype=object)
    return frame


def _holds_arrays(column: pd.Series[Any]) -> bool:
    return column.dtype == object and len(column) > 0 and isinstance(column.iloc[0], np.ndarray)


def _numbering(schema: Any) -> pd.RangeIndex | None:
    """Return the evenly spaced index that pandas stores as a rule, and a batch alone has lost."""
    import pandas as pd

    stored = (schema.pandas_metadata or {}).get("index_columns", [])
    if len(stored) != 1 or not isinstance(stored[0], dict):
        return None
    rule = stored[0]
    return pd.RangeIndex(rule["start"], rule["stop"], rule["step"], name=rule["name"])


@contextmanager
def writer(file: IO[bytes]) -> Iterator[Callable[[pd.DataFrame], None]]:
    """Yield a function that appends frames to a file; frames that do not fit are refused."""
    parquet, open_writer = _parquet(), None
    import pyarrow as pa

    def write(frame: pd.DataFrame) -> None:
        nonlocal open_writer
        schema = None if open_writer is None else open_writer.schema
        try:
            table = pa.Table.from_pandas(plain(frame), schema=schema, preserve_index=False)
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise ConfigurationError(f"cannot be written as parquet, try csv: {error}") from error
        open_writer = open_writer or parquet.ParquetWriter(file, table.schema)
        open_writer.write_table(table)

    try:
        yield write
    finally:
        if open_writer is not None:
            open_writer.close()


def plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Turn arrays in cells into lists, which both formats can write."""
    nested = {
        str(name): column.map(np.ndarray.tolist)
        for name, column in frame.items()
        if _holds_arrays(column)
    }
    return frame.assign(**nested) if nested else frame


def _parquet() -> Any:
    with needed_for("a parquet file"):
        import pyarrow.parquet
    return pyarrow.parquet
