"""Tables in files and on stdin, read as frames in batches for the commands that take frames."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from hybridmodel.batch import formats
from hybridmodel.batch.columns import check_present
from hybridmodel.batch.formats.frames import frame_of
from hybridmodel.batch.scoring import can_be_split
from hybridmodel.cli import columns
from hybridmodel.cli.source import Source
from hybridmodel.data.tensors import ModelSpec

if TYPE_CHECKING:
    import pandas as pd

    from hybridmodel.model import HybridOnnxModel


def count_rows(source: Source) -> int | None:
    """Return the rows of a file that says so; None for all but Parquet."""
    return None if source.is_stream else formats.count_rows(source.file)


def read(
    source: Source, model: HybridOnnxModel, batch_rows: int, *beside: str | None
) -> Iterator[pd.DataFrame]:
    """Yield the rows of a table in order, as frames for a model; at least one, which may be empty.

    String inputs are read as text, even if they look like numbers. A model without batched inputs
    and outputs gets all rows at once. The columns `beside` stay although they are no features.
    """
    for frame in read_raw(source, model.spec, batch_rows):
        yield columns.arranged(frame, source, model, [name for name in beside if name])


def read_raw(source: Source, spec: ModelSpec, batch_rows: int) -> Iterator[pd.DataFrame]:
    """Yield the rows as they stand in the table; see `read`."""
    rows = batch_rows if can_be_split(spec) else sys.maxsize
    with source.opened() as (kind, file):
        batches = formats.read_from(
            file, kind, source.name, spec=spec, rows=rows, start_row=0, reading=source.reading
        )
        yield from map(frame_of, batches)


def take_labels(frame: pd.DataFrame, labels: str | None, source: Source) -> pd.Series[Any] | None:
    """Take the column of labels out of a frame; None if no column is named."""
    return None if labels is None else take(frame, labels, f"--labels: {source.name}")


def take(frame: pd.DataFrame, name: str, where: str) -> pd.Series[Any]:
    """Take a column out of a frame; raises `ConfigurationError` if there is none."""
    check_present([name], list(map(str, frame.columns)), where)
    return frame.pop(name)


def line_of(source: Source, row: int) -> int | None:
    """Return the line of a file, counted from 1, on which a row stands; None where none does."""
    return None if source.is_stream else formats.line_of(source.file, row, source.reading)
