"""The rows of all inputs from a position on, in pieces that know their place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from hybridmodel.batch.formats import InputFile
from hybridmodel.batch.parts import WHOLE, Position, cut
from hybridmodel.batch.pipeline import Piece

Read = Callable[[InputFile, int, int], Iterator[Any]]
"""Takes a file, the first row to read, and the rows of a batch."""

_READ_ROWS = 1 << 15


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of a file; `start` counts the rows of the file before them."""

    batch: Any
    file: InputFile
    start: int

    @property
    def num_rows(self) -> int:
        """How many rows there are."""
        return int(self.batch.num_rows)


@dataclass(slots=True, kw_only=True)
class Pieces:
    """The rows that have no part yet, in order.

    `starts` has the file and row at which each part begins; whoever finishes a part removes it.
    """

    files: Sequence[InputFile]
    position: Position
    part_rows: int
    batch_rows: int
    read: Read
    starts: dict[int, tuple[int, int]] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Piece]:
        part, empty = self.position.part, None
        for number in range(self.position.file, len(self.files)):
            start = self.position.row if number == self.position.file else 0
            batches = self._batches(number, start)
            first = next(batches)
            empty = empty or Rows(first.slice(0, 0), self.files[number], 0)
            row = start
            for at, batch in self._cut(chain([first], batches), part):
                self.starts.setdefault(at, (number, row))
                yield Piece(at, Rows(batch, self.files[number], row))
                row += batch.num_rows
                part = at + 1
        if part == 0 and empty is not None:
            # If there are no rows, one empty part has the columns.
            self.starts[0] = (0, 0)
            yield Piece(0, empty)

    def _batches(self, number: int, start: int) -> Iterator[Any]:
        # The types of text depend on the rows read together, which must stay the same on resume.
        rows = self.part_rows
        if rows < WHOLE:
            rows = max(1, min(_READ_ROWS, rows // 8))
        return self.read(self.files[number], start, rows)

    def _cut(self, batches: Iterator[Any], part: int) -> Iterator[tuple[int, Any]]:
        return cut(batches, part=part, part_rows=self.part_rows, batch_rows=self.batch_rows)
