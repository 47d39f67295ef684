"""Rows that are answered as they come: from stdin, or to stdout."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from hybridmodel.batch.bad_cells import at_row, find
from hybridmodel.batch.columns import split
from hybridmodel.batch.formats.frames import frame_of
from hybridmodel.batch.pipeline import Piece, Scored, scored
from hybridmodel.batch.scoring import Scorer, can_be_split
from hybridmodel.cli import columns
from hybridmodel.cli.inputs import Inputs
from hybridmodel.exceptions import InputMismatch


def answered(scorer: Scorer, inputs: Inputs, batch_rows: int, workers: int) -> Iterator[Scored]:
    """Yield the answers for all rows in order; without any row, one without rows.

    Parameters
    ----------
    scorer : Scorer
        Answers.
    inputs : Inputs
        Read as the answers are taken.
    batch_rows : int
        Rows that are read and answered at a time; all together where the model needs them so.
    workers : int
        Threads that answer.

    Raises
    ------
    InputMismatch
        If a row does not fit; says where it stands, and what to do.
    Exception
        What reading and answering raise.
    """
    model = scorer.model
    reading = inputs.reading(scorer.columns.as_text(model))
    rows = batch_rows if can_be_split(model.spec) else sys.maxsize

    def pieces() -> Iterator[Piece]:
        last, start = 0, 0
        for number, batch in inputs.batches(model.spec, rows, reading):
            start = start if number == last else 0
            yield Piece(number, batch, start)
            last, start = number, start + batch.num_rows

    def explained(piece: Piece, error: InputMismatch) -> Exception:
        name = inputs.name(piece.part)
        features: Any = split(piece.batch, scorer.columns, model, name)[0]
        cell = find(frame_of(features), model.spec, model.feature_names)
        if cell is None:
            rows = f", rows from {piece.start}" if piece.start else ""
            return InputMismatch(f"{name}{rows}: {error}{_hint(scorer, inputs, features)}")
        row = piece.start + cell.row
        place = at_row(row, inputs.line_of(piece.part, row, reading))
        return InputMismatch(f"{name}, {place}, {cell}")

    return scored(pieces(), scorer, workers, explained)


def advice(error: InputMismatch, scorer: Scorer, inputs: Inputs) -> str:
    """Return what to do about an error about the columns of a file; empty about any other."""
    if "column names:" not in str(error) and "columns came" not in str(error):
        return ""
    model = scorer.model
    reading = inputs.reading(scorer.columns.as_text(model))
    _, batch = next(inputs.batches(model.spec, 1, reading))
    features, _ = split(batch, scorer.columns, model, inputs.name(0))
    return _hint(scorer, inputs, features)


def _hint(scorer: Scorer, inputs: Inputs, features: Any) -> str:
    return columns.hint(features.schema.names, scorer.model, inputs.separator, None, False)
