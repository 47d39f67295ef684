"""Says where in a table the cell stands that a model cannot take, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hybridmodel.batch.bad_cells import at_row, find
from hybridmodel.cli import columns, tables
from hybridmodel.cli.source import Source
from hybridmodel.exceptions import InputMismatch

if TYPE_CHECKING:
    import pandas as pd

    from hybridmodel.model import HybridOnnxModel


@contextmanager
def explained(
    source: Source,
    model: HybridOnnxModel,
    frame: pd.DataFrame,
    start: int,
    *,
    label: str | None = None,
    labels: bool = False,
) -> Iterator[None]:
    """Add the place in the table to an `InputMismatch` that the block raises.

    `start` rows of the table come before `frame`. `labels` says whether the command has the option
    ``--labels``, and `label` what was passed to it.
    """
    try:
        yield
    except InputMismatch as error:
        cell = find(frame, model.spec, model.feature_names)
        if cell is not None:
            row = start + cell.row
            place = at_row(row, tables.line_of(source, row))
            raise InputMismatch(f"{source.name}, {place}, {cell}") from error
        rows = f", rows from {start}" if start else ""
        names = list(map(str, frame.columns))
        advice = columns.hint(names, model, source.separator, label, labels)
        raise InputMismatch(f"{source.name}{rows}: {error}{advice}") from error
