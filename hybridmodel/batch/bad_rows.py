"""Finds the rows that `predict` refuses by halving, and keeps a bounded number of them apart."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from hybridmodel.batch.formats.frames import is_text
from hybridmodel.batch.parts import joined
from hybridmodel.batch.pieces import Rows
from hybridmodel.batch.pipeline import Score
from hybridmodel.batch.summary import Counts
from hybridmodel.checks import shown
from hybridmodel.exceptions import ConfigurationError, InputMismatch

_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")


@dataclass(frozen=True, slots=True, kw_only=True)
class BadRow:
    """A row that `predict` refuses, with the reason; rows of a file are counted from 0."""

    file: str
    row: int
    reason: str
    values: dict[str, Any]

    def line(self) -> bytes:
        """Return it as a JSON line."""
        return json.dumps(_plain(asdict(self)), ensure_ascii=False, default=str).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class Sifted:
    """The answers of the good rows of a batch, and its bad rows, both in order."""

    batch: Any
    bad: tuple[BadRow, ...] = ()


@dataclass(frozen=True, slots=True)
class Allowance:
    """How many bad rows a job may have: a number, or if that is None a share from 0 to 1."""

    rows: int | None = 0
    share: float = 0.0

    @classmethod
    def of(cls, max_errors: Any) -> Allowance:
        """Read ``max_errors``: a number of rows, or a share of them such as ``"1.5%"``.

        Raises `ConfigurationError` if it is neither.
        """
        if type(max_errors) is int and max_errors >= 0:
            return cls(max_errors)
        if isinstance(max_errors, str):
            if max_errors.isascii() and max_errors.isdigit():
                return cls(int(max_errors))
            match = _PERCENT.fullmatch(max_errors)
            if match and float(match[1]) <= 100:
                return cls(None, float(match[1]) / 100)
        raise ConfigurationError(
            f"max_errors is a number of rows, or a share of them such as '1%'; got "
            f"{shown(max_errors)}"
        )

    def __str__(self) -> str:
        return str(self.rows) if self.rows is not None else f"{100 * self.share:g}%"

    def is_exceeded(self, errors: int, rows: int) -> bool:
        """Tell whether `errors` bad rows are too many for a job of `rows` rows."""
        most = self.share * rows if self.rows is None else self.rows
        return errors > most


@dataclass(frozen=True, slots=True, kw_only=True)
class Sifter:
    """Scores rows, and keeps up to `most` bad rows apart.

    None is no bound; with -1 the first bad row is an error. `mend` turns text in CSV into numbers,
    and returns the reason for each row where that fails.
    """

    score: Score
    locate: Callable[[InputMismatch, Rows], InputMismatch]
    mend: Callable[[Rows], tuple[Any, dict[int, str]]] | None = None
    most: int | None = -1

    def __call__(self, rows: Rows) -> tuple[Sifted, Counts]:
        """Return the scored rows and the bad ones.

        Raises `InputMismatch` if there are too many bad rows, or if a column as a whole does not
        fit.
        """
        try:
            answer, counts = self.score(rows.batch)
        except InputMismatch as error:
            if self.most == -1:
                raise self.locate(error, rows) from error
            return self._sifted(rows, error)
        except ConfigurationError as error:  # Such as a column that is to be kept.
            raise ConfigurationError(f"{rows.file.name}: {error}") from error
        return Sifted(answer), counts

    def _sifted(self, rows: Rows, error: InputMismatch) -> tuple[Sifted, Counts]:
        import pyarrow as pa

        batch, reasons = (rows.batch, {}) if self.mend is None else self.mend(rows)
        try:
            empty, _ = self.score(batch.slice(0, 0))
        except InputMismatch:
            # A column is missing or has a type that does not fit: no single row is the cause.
            raise self.locate(error, rows) from error
        left = [at for at in range(batch.num_rows) if at not in reasons]
        answers, counts = [], Counts()
        good = batch.take(pa.array(left, pa.int64())) if reasons else batch
        for found, at in self._halved(good, 0):
            if isinstance(found, str):
                reasons[left[at]] = found
                self._check(len(reasons), error, rows)
            else:
                answers.append(found[0])
                counts += found[1]
        self._check(len(reasons), error, rows)
        counts += Counts(rows=len(reasons), errors=len(reasons))
        answer = joined(answers) if answers else empty
        return Sifted(answer, tuple(_bad_rows(rows, reasons))), counts

    def _check(self, bad: int, error: InputMismatch, rows: Rows) -> None:
        if self.most is not None and bad > self.most:
            raise self.locate(error, rows) from error

    def _halved(self, batch: Any, start: int) -> Iterator[tuple[str | tuple[Any, Counts], int]]:
        """Yield the answers of runs of good rows and the reasons of bad ones, each with its row."""
        if not batch.num_rows:
            return
        try:
            yield self.score(batch), start
        except InputMismatch as error:
            if batch.num_rows == 1:
                yield str(error), start
                return
            middle = batch.num_rows // 2
            yield from self._halved(batch.slice(0, middle), start)
            yield from self._halved(batch.slice(middle), start + middle)


def numbers_mended(
    batch: Any, names: Iterable[str], decimal: str = "."
) -> tuple[Any, dict[int, str]]:
    """Convert text to numbers, as CSV or JSON lines would be read without their bad cells.

    Returns the batch, with nulls in bad rows, and the reason for each bad row.
    """
    import pandas as pd
    import pyarrow as pa

    columns: list[Any] = list(batch.columns)
    reasons: dict[int, str] = {}
    for at, name in enumerate(batch.schema.names):
        if name not in names or not is_text(batch.schema.field(at).type):
            continue
        texts = batch.column(at).to_pandas().astype(object)
        plain = texts if decimal == "." else texts.str.replace(decimal, ".", regex=False)
        numbers = pd.to_numeric(plain, errors="coerce")
        for row in (numbers.isna() & texts.notna()).to_numpy().nonzero()[0]:
            told = f"column {name!r}: {shown(texts.iloc[row])} is not a number"
            reasons.setdefault(int(row), told)
        columns[at] = pa.Array.from_pandas(numbers)
    return pa.RecordBatch.from_arrays(columns, batch.schema.names), reasons


def _bad_rows(rows: Rows, reasons: Mapping[int, str]) -> Iterator[BadRow]:
    for at in sorted(reasons):
        (values,) = rows.batch.slice(at, 1).to_pylist()
        yield BadRow(file=rows.file.name, row=rows.start + at, reason=reasons[at], values=values)


def _plain(value: Any) -> Any:
    """Return a value in JSON's types: NaN and infinity as text, and bytes in hexadecimal."""
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and (value != value or value in (float("inf"), -float("inf"))):
        return str(value)
    return value
