"""The rows of all inputs in pieces, from where a job stands; each knows where it comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from hybridmodel.batch.formats import InputFile
from hybridmodel.batch.parts import WHOLE, Position, cut
from hybridmodel.batch.pipeline import Piece

Read = Callable[[InputFile, int, int], Iterator[Any]]
"""Takes a file, its first row that is wanted, and the rows of a batch."""

_READ_ROWS = 1 << 15


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of a file."""

    batch: Any
    file: InputFile
    start: int

    @property
    def num_rows(self) -> int:
        """How many rows there are."""
        return int(self.batch.num_rows)


@dataclass(slots=True, kw_only=True)
class Pieces:
    """The rows that have no part yet, in order."""

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
            for at, batch in self._cut(first, batches, part):
                self.starts.setdefault(at, (number, row))
                yield Piece(at, Rows(batch, self.files[number], row))
                row += batch.num_rows
                part = at + 1
        if part == 0 and empty is not None:
            # Without any row there is a part nevertheless: it has the columns.
            self.starts[0] = (0, 0)
            yield Piece(0, empty)

    def _batches(self, number: int, start: int) -> Iterator[Any]:
        # Texts have the types of what is read together, which must not change when a job goes on.
        rows = self.part_rows
        if rows < WHOLE:
            rows = max(1, min(_READ_ROWS, rows // 8))
        return self.read(self.files[number], start, rows)

    def _cut(self, first: Any, batches: Iterator[Any], part: int) -> Iterator[tuple[int, Any]]:
        def all_of_them() -> Iterator[Any]:
            yield first
            yield from batches

        return cut(all_of_them(), part=part, part_rows=self.part_rows, batch_rows=self.batch_rows)
