"""Writes the answers for some rows into their places among all rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from hybridmodel.answer import PROVENANCE
from hybridmodel.data.tensors import Array
from hybridmodel.exceptions import SpecMismatch


class Queue:
    """Rows of record batches of one schema, taken from the front, any number at a time."""

    def __init__(self, batches: Iterable[Any]) -> None:
        self._batches = iter(batches)
        self._first: Any = None

    def take(self, rows: int) -> Any:
        """Return the next rows as a table.

        Raises `SpecMismatch` if there are too few rows, or their columns differ.
        """
        import pyarrow as pa

        taken = list(self._taken(rows))
        try:
            return pa.Table.from_batches(taken)
        except (pa.ArrowInvalid, ValueError) as error:
            raise SpecMismatch(f"the endpoint's answers do not fit together: {error}") from None

    def _taken(self, rows: int) -> Iterator[Any]:
        while rows:
            if self._first is None or not self._first.num_rows:
                self._first = next(self._batches, None)
                if self._first is None:
                    raise SpecMismatch(f"the answers for {rows} rows are missing")
            some = self._first.slice(0, rows)
            self._first = self._first.slice(some.num_rows)
            rows -= some.num_rows
            yield some


def placed(batch: Any, rows: Array, answers: Any) -> Any:
    """Return a batch in which `rows` have the predictions of `answers`.

    Raises `SpecMismatch` if the answers have other columns than the predictions.
    """
    import pyarrow as pa

    names, count = batch.schema.names, answers.num_columns
    behind = len(names) - (len(PROVENANCE) if _has_provenance(names, answers) else 0)
    mine, theirs = names[behind - count : behind], answers.schema.names
    if mine != theirs:
        raise SpecMismatch(
            f"the endpoint's answer makes the columns {theirs}, the local model's {mine}"
        )
    arrays, order = list(batch.columns), _order(rows)
    for at, column in enumerate(answers.columns, behind - count):
        arrays[at] = _replaced(arrays[at], order, column)
    return pa.RecordBatch.from_arrays(arrays, schema=batch.schema)


def with_provenance(batch: Any, rows: Array, **texts: str) -> Any:
    """Return a batch in which some rows have another ``route`` or ``reason``."""
    import pyarrow as pa

    arrays, order = list(batch.columns), _order(rows)
    first = len(arrays) - len(PROVENANCE)
    for name, text in texts.items():
        at = first + PROVENANCE.index(name)
        others = pa.array([text] * int(np.count_nonzero(rows)), arrays[at].type)
        arrays[at] = _replaced(arrays[at], order, pa.chunked_array([others]))
    return pa.RecordBatch.from_arrays(arrays, schema=batch.schema)


def _has_provenance(names: list[str], answers: Any) -> bool:
    """Tell whether the last columns are provenance, and not predictions of the same names."""
    last = len(PROVENANCE)
    return tuple(names[-last:]) == PROVENANCE != tuple(answers.schema.names[-last:])


def _order(rows: Array) -> Array:
    """Return the index of each row in the batch followed by the answers."""
    order = np.arange(len(rows))
    order[rows] = len(rows) + np.arange(np.count_nonzero(rows))
    return order


def _replaced(column: Any, order: Array, others: Any) -> Any:
    import pyarrow as pa

    both = pa.chunked_array([column, *(chunk.cast(column.type) for chunk in others.chunks)])
    return both.combine_chunks().take(pa.array(order))
