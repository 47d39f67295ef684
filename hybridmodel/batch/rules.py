"""How rows are read and answered, and how many bad rows are allowed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hybridmodel.batch import bad_cells, short_rows
from hybridmodel.batch.bad_rows import Allowance, Sifter, numbers_mended
from hybridmodel.batch.columns import split
from hybridmodel.batch.formats import ARROW, CSV, JSON_LINES, PARQUET, InputFile, Reading, read
from hybridmodel.batch.formats.frames import is_text
from hybridmodel.batch.pieces import Rows
from hybridmodel.batch.pipeline import Score
from hybridmodel.batch.scoring import Scorer
from hybridmodel.checks import shown
from hybridmodel.data.tensors import TensorSpec
from hybridmodel.exceptions import ConfigurationError, InputMismatch

FAIL, WRITE = "fail", "write"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How the rows of a job are read and answered; without an allowance no row may be bad."""

    scorer: Scorer
    reading: Reading
    allowance: Allowance | None = None

    @classmethod
    def of(
        cls, scorer: Scorer, reading: Reading | None, on_bad_rows: str, max_errors: int | str
    ) -> Rules:
        """Check arguments of `predict_files`, and make rules of them.

        Raises `ConfigurationError` if one is invalid.
        """
        allowance = Allowance.of(max_errors)
        if on_bad_rows not in (FAIL, WRITE):
            raise ConfigurationError(
                f"on_bad_rows is {FAIL!r} or {WRITE!r}, not {shown(on_bad_rows)}"
            )
        if reading is None:
            reading = Reading(as_text=scorer.columns.as_text(scorer.model))
        return cls(
            scorer=scorer,
            reading=reading,
            allowance=allowance if on_bad_rows == WRITE else None,
        )

    def read(self, file: InputFile, start_row: int, rows: int) -> Iterator[Any]:
        """Yield the record batches of a file, of at most `rows`."""
        batches = read(
            file,
            spec=self.scorer.model.spec,
            rows=rows,
            start_row=start_row,
            reading=self.reading,
        )
        if file.kind != CSV:
            return batches
        return short_rows.refused(batches, file, self.reading, start_row)

    def sifter(self, score: Score) -> Sifter:
        """Return a function that answers rows with `score`, and keeps bad rows apart if allowed."""
        if self.allowance is None:
            return Sifter(score=score, locate=self.located)
        return Sifter(score=score, locate=self.located, mend=self.mended, most=self.allowance.rows)

    def mended(self, rows: Rows) -> tuple[Any, dict[int, str]]:
        """Convert text to numbers, as `numbers_mended`; refuse columns that cannot fit.

        Raises `InputMismatch` if the type of a column fits no row.
        """
        model = self.scorer.model
        features, _ = split(rows.batch, self.scorer.columns, model, rows.file.name)
        inputs = {tensor.name: tensor for tensor in model.inputs}
        if len(inputs) == 1:
            inputs = dict.fromkeys(features.schema.names, model.inputs[0])
        numbers = [name for name, tensor in inputs.items() if _is_number(tensor)]
        if rows.file.kind == CSV:
            return numbers_mended(rows.batch, numbers, self.reading.decimal)
        if rows.file.kind == JSON_LINES:
            return numbers_mended(rows.batch, numbers)
        if rows.file.kind in (PARQUET, ARROW):
            _check_types(rows, numbers)
        return rows.batch, {}

    def located(self, error: InputMismatch, rows: Rows) -> InputMismatch:
        """Return an error about rows with the place of the cell in the file."""
        model = self.scorer.model
        try:
            features, _ = split(rows.batch, self.scorer.columns, model, rows.file.name)
        except ConfigurationError:
            return error
        return bad_cells.located(
            error,
            features,
            model.spec,
            model.feature_names,
            file=rows.file,
            start=rows.start,
            reading=self.reading,
        )


def _check_types(rows: Rows, numbers: list[str]) -> None:
    """Refuse typed columns in which every row would be bad."""
    from pyarrow import types

    for field in rows.batch.schema:
        foreign = (
            is_text(field.type)
            or types.is_binary(field.type)
            or types.is_temporal(field.type)
            or types.is_dictionary(field.type)
        )
        if foreign and field.name in numbers:
            raise InputMismatch(
                f"{rows.file.name}: column {field.name!r} is {field.type}, where numbers are "
                "expected"
            )


def _is_number(tensor: TensorSpec) -> bool:
    return tensor.dtype.kind in "fiu"
