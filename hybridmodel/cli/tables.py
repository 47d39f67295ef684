"""Tables in files and streams, read and written in batches; a file appears complete or not at all.

CSV is UTF-8 with a header. JSON lines are objects with the same keys. Parquet keeps types, lists in
cells, and an index that is not a column.
"""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from hybridmodel.cli import columns, csv_tables, json_lines, parquet_tables
from hybridmodel.cli.replacing import replacing
from hybridmodel.cli.source import CSV, PARQUET, Source, format_of
from hybridmodel.data.tensors import ModelSpec

if TYPE_CHECKING:
    import pandas as pd

    from hybridmodel.model import HybridOnnxModel

Write = Callable[["pd.DataFrame"], None]


def can_be_split(spec: ModelSpec) -> bool:
    """Tell whether a model answers each row by itself, so that rows may go in batches."""
    return all(tensor.batched for tensor in (*spec.inputs, *spec.outputs))


def count_rows(source: Source) -> int | None:
    """Return the rows of a file that says so; None for all but Parquet."""
    if source.is_stream or format_of(source.path).kind != PARQUET:
        return None
    return parquet_tables.count_rows(source.path)


def read(
    source: Source, model: HybridOnnxModel, batch_rows: int, label: str | None = None
) -> Iterator[pd.DataFrame]:
    """Yield the rows of a table in order, as frames for a model; at least one, which may be empty.

    String inputs are read as text, even if they look like numbers. A model without batched inputs
    and outputs gets all rows at once. The column `label` stays although it is no feature.
    """
    for frame in read_raw(source, model.spec, batch_rows):
        yield columns.arranged(frame, source, model, label)


def read_raw(source: Source, spec: ModelSpec, batch_rows: int) -> Iterator[pd.DataFrame]:
    """Yield the rows as they stand in the table; see `read`."""
    size = batch_rows if can_be_split(spec) else None
    with source.opened() as (kind, file):
        if kind == CSV:
            yield from csv_tables.read(file, source, spec, size)
        elif kind == PARQUET:
            yield from parquet_tables.read(file, source.name, size)
        else:
            yield from json_lines.read(file, source, size)


def take_labels(frame: pd.DataFrame, labels: str | None, source: Source) -> pd.Series[Any] | None:
    """Take the column of labels out of a frame; None if no column is named."""
    if labels is None:
        return None
    columns.check_column(frame, labels, source, "--labels")
    return frame.pop(labels)


def line_of(source: Source, row: int) -> int | None:
    """Return the line of a file, counted from 1, on which a row stands; None where none does."""
    if source.is_stream or format_of(source.path).kind == PARQUET:
        return None
    with source.opened() as (kind, file):
        if kind == CSV:
            return csv_tables.line_of(file, source, row)
        return json_lines.line_of(file, row)


@contextmanager
def writing(target: Path | None) -> Iterator[Write]:
    """Yield a function that appends frames to a file, which appears complete or not at all.

    Without a target it writes CSV to stdout. All frames have the same columns.
    """
    if target is None:
        write = _csv_writer(sys.stdout)

        def write_out(frame: pd.DataFrame) -> None:
            write(frame)
            sys.stdout.flush()  # Whoever reads a pipe gets each batch as it is answered.

        yield write_out
        return
    written = format_of(target)
    with replacing(target) as part, ExitStack() as stack:
        if written.kind == PARQUET:
            file = stack.enter_context(part.open("xb"))
            yield stack.enter_context(parquet_tables.writer(file))
            return
        text = stack.enter_context(_text(part, zipped=written.zipped))
        if written.kind == CSV:
            yield _csv_writer(text, "\t" if ".tsv" in target.name.lower()[-7:] else ",")
        else:
            yield lambda frame: text.writelines(json_lines.lines(frame))


def _text(path: Path, *, zipped: bool) -> IO[str]:
    if zipped:
        return cast(IO[str], gzip.open(path, "xt", encoding="utf-8", newline=""))
    return path.open("x", encoding="utf-8", newline="")


def _csv_writer(file: IO[str], separator: str = ",") -> Write:
    is_first = True

    def write(frame: pd.DataFrame) -> None:
        nonlocal is_first
        parquet_tables.plain(frame).to_csv(
            file, sep=separator, index=False, header=is_first, lineterminator="\n"
        )
        is_first = False

    return write
