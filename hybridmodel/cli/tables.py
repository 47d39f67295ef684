"""Tables in files: read in batches, written in batches, and never half-written.

CSV is UTF-8 with a header. Parquet keeps types, lists in cells, and an index that is not a column.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from hybridmodel.exceptions import ConfigurationError, InputMismatch, MissingDependency
from hybridmodel.tensors import ModelSpec

if TYPE_CHECKING:
    import pandas as pd

Write = Callable[["pd.DataFrame"], None]

SUFFIXES = (".csv", ".parquet")

_MISSING = ["", "NA", "N/A", "NaN", "nan", "NULL", "null", "None"]


def check_suffix(path: Path) -> None:
    """Refuse a file whose name does not say its format.

    Raises
    ------
    ConfigurationError
        If the name ends with none of `SUFFIXES`.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigurationError(
            f"{path}: a name that ends with {' or '.join(SUFFIXES)} was expected"
        )


def can_be_split(spec: ModelSpec) -> bool:
    """Tell whether a model answers each row by itself, so that rows may go in batches."""
    return all(tensor.batched for tensor in (*spec.inputs, *spec.outputs))


def count_rows(path: Path) -> int | None:
    """Return the rows of a file that says so; None for CSV.

    Raises
    ------
    InputMismatch
        If it cannot be read.
    """
    if path.suffix.lower() == ".csv":
        return None
    with path.open("rb") as file, _readable(path):
        return int(_parquet().ParquetFile(file).metadata.num_rows)


def read(path: Path, spec: ModelSpec, batch_rows: int) -> Iterator[pd.DataFrame]:
    """Yield a file's rows in order, as frames for a model.

    Parameters
    ----------
    path : Path
        A .csv or .parquet file.
    spec : ModelSpec
        The model: its string inputs are read as text, even where they look like numbers, and
        without batched inputs and outputs it gets all rows at once.
    batch_rows : int
        Rows of a frame, at most.

    Yields
    ------
    DataFrame
        At least one, which for a file without rows is empty.

    Raises
    ------
    InputMismatch
        If the file cannot be read.
    """
    size = batch_rows if can_be_split(spec) else None
    with path.open("rb") as file:
        if path.suffix.lower() == ".csv":
            yield from _read_csv(file, path, size, _text_options(spec))
        else:
            yield from _read_parquet(file, path, size)


def take_labels(frame: pd.DataFrame, labels: str | None, path: Path) -> pd.Series[Any] | None:
    """Take the column of labels out of a frame; None where no column is named.

    Raises
    ------
    ConfigurationError
        If there is no such column.
    """
    if labels is None:
        return None
    if labels not in frame:
        names = ", ".join(map(repr, frame.columns))
        raise ConfigurationError(f"{path}: has no column {labels!r}; it has {names}")
    return frame.pop(labels)


@contextmanager
def writing(target: Path | None) -> Iterator[Write]:
    """Give a function that appends frames to a file, which appears complete or not at all.

    Parameters
    ----------
    target : Path or None
        A .csv or .parquet file, replaced at the end if it exists; None for CSV on stdout.

    Yields
    ------
    callable
        Takes a DataFrame, of the same columns each time.

    Raises
    ------
    ConfigurationError
        If the target cannot be replaced, or a frame does not fit the format.
    """
    if target is None:
        yield _csv_writer(sys.stdout)
        sys.stdout.flush()
        return
    with replacing(target) as part:
        if target.suffix.lower() == ".csv":
            with part.open("x", encoding="utf-8", newline="") as text:
                yield _csv_writer(text)
        else:
            with part.open("xb") as file, _parquet_writer(file) as write:
                yield write


def _read_csv(
    file: IO[bytes], path: Path, size: int | None, options: dict[str, Any]
) -> Iterator[pd.DataFrame]:
    import pandas as pd

    def advance(reader: Any) -> pd.DataFrame | None:
        with _readable(path, pd.errors.ParserWarning), warnings.catch_warnings():
            # Rows longer than the header: pandas would warn, and drop their last fields.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return next(reader, None)

    with _readable(path):
        # Without index_col=False, such rows would shift all columns by one.
        reader = pd.read_csv(
            file,
            index_col=False,
            low_memory=False,
            chunksize=size or sys.maxsize,
            **options,
        )
    while (frame := advance(reader)) is not None:
        yield frame


def _text_options(spec: ModelSpec) -> dict[str, Any]:
    text = [tensor.name for tensor in spec.inputs if tensor.datatype == "BYTES"]
    if not text:
        return {}
    if len(spec.inputs) == 1:
        return {"dtype": str, "keep_default_na": False}
    numbers = [name for name in spec.input_names if name not in text]
    return {
        "dtype": dict.fromkeys(text, str),
        "keep_default_na": False,
        "na_values": dict.fromkeys(numbers, _MISSING),
    }


def _read_parquet(file: IO[bytes], path: Path, size: int | None) -> Iterator[pd.DataFrame]:
    with _readable(path):
        parquet = _parquet().ParquetFile(file)
        rows = parquet.metadata.num_rows
        index = _numbering(parquet.schema_arrow)
        batches = parquet.iter_batches(batch_size=size or max(rows, 1))
    if rows == 0:
        yield parquet.schema_arrow.empty_table().to_pandas()
    start = 0
    while True:
        with _readable(path):
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
    import numpy as np
    import pandas as pd

    frame: pd.DataFrame = batch.to_pandas()
    for name, column in frame.items():
        if _holds_arrays(column) and column.iloc[0].dtype == object:
            cells = [np.array(cell) for cell in batch.column(name).to_pylist()]
            frame[name] = pd.Series(cells, frame.index, dtype=object)
    return frame


def _holds_arrays(column: pd.Series[Any]) -> bool:
    import numpy as np

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
def _readable(path: Path, *others: type[Exception]) -> Iterator[None]:
    kinds: tuple[type[Exception], ...] = (ValueError, NotImplementedError, *others)
    try:
        yield
    except kinds as error:
        kind = path.suffix.lower().lstrip(".")
        raise InputMismatch(f"{path}: cannot be read as {kind}: {error}") from error


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Give a path to write to, which becomes `target` at the end, or nothing does.

    Raises
    ------
    ConfigurationError
        If the target cannot be replaced.
    """
    target = Path(os.path.realpath(target))
    if target.exists() and not target.is_file():
        raise ConfigurationError(f"{target}: is there already, and is no file")
    if not target.parent.is_dir():
        raise ConfigurationError(f"{target}: there is no folder {target.parent}")
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _csv_writer(file: IO[str]) -> Write:
    is_first = True

    def write(frame: pd.DataFrame) -> None:
        nonlocal is_first
        _plain(frame).to_csv(file, index=False, header=is_first, lineterminator="\n")
        is_first = False

    return write


@contextmanager
def _parquet_writer(file: IO[bytes]) -> Iterator[Write]:
    parquet, writer = _parquet(), None
    import pyarrow as pa

    def write(frame: pd.DataFrame) -> None:
        nonlocal writer
        schema = None if writer is None else writer.schema
        try:
            table = pa.Table.from_pandas(_plain(frame), schema=schema, preserve_index=False)
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise ConfigurationError(f"cannot be written as parquet, try csv: {error}") from error
        writer = writer or parquet.ParquetWriter(file, table.schema)
        writer.write_table(table)

    try:
        yield write
    finally:
        if writer is not None:
            writer.close()


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Turn arrays in cells into lists, which both formats can write."""
    import numpy as np

    nested = {
        str(name): column.map(np.ndarray.tolist)
        for name, column in frame.items()
        if _holds_arrays(column)
    }
    return frame.assign(**nested) if nested else frame


def _parquet() -> Any:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise MissingDependency(
            "parquet files need pyarrow: pip install 'hybridmodel[cli]'"
        ) from error
    return pyarrow.parquet
