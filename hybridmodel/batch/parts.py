"""Parts: ranges of the rows of a file, whose ends depend on nothing but the file.

Neither the size of batches nor the number of workers nor the route moves them, so a job may go on
with others. Batches are cut anew within each part: a row is in a batch with the same rows whether
the job was disturbed or not, which keeps its answer the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from hybridmodel.batch.durable import Written
from hybridmodel.batch.summary import Counts
from hybridmodel.data.tensors import ModelSpec, TensorSpec
from hybridmodel.exceptions import ConfigurationError

PART_ROWS = 1 << 18
"""Of a part, where rows are small."""
_PART_BYTES = 1 << 28
_FEWEST_ROWS = 1 << 8
WHOLE = 1 << 31
"""Rows of a part, and of a batch, where a model must have all rows of a file at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where a job stands: the next row that has no part yet."""

    part: int = 0
    file: int = 0
    row: int = 0

    def behind(self, record: PartRecord) -> Position:
        """Return where the job stands when a part is done."""
        return Position(part=record.number + 1, file=record.file, row=record.row + record.rows)

    def next_file(self) -> Position:
        """Return the beginning of the next file."""
        return replace(self, file=self.file + 1, row=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartRecord:
    """A part that is done, as the manifest has it."""

    number: int
    file: int
    row: int
    counts: Counts
    written: Written
    bad: Written | None = None

    @property
    def rows(self) -> int:
        """Rows of the input that it holds, good and bad."""
        return self.counts.rows

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> PartRecord:
        """Read what `to_dict` returned; raises `ConfigurationError` for anything else."""
        match stored:
            case {
                "number": int(number),
                "file": int(file),
                "row": int(row),
                "counts": counts,
                "written": written,
                "bad": bad,
            } if min(number, file, row) >= 0:
                return cls(
                    number=number,
                    file=file,
                    row=row,
                    counts=read_counts(counts),
                    written=Written.from_dict(written),
                    bad=None if bad is None else Written.from_dict(bad),
                )
        raise ConfigurationError("not the record of a part")

    def to_dict(self) -> dict[str, Any]:
        """Return it in JSON's types."""
        return {
            "number": self.number,
            "file": self.file,
            "row": self.row,
            "counts": self.counts.to_dict(),
            "written": self.written.to_dict(),
            "bad": None if self.bad is None else self.bad.to_dict(),
        }


def read_counts(stored: Any) -> Counts:
    """Read what `Counts.to_dict` returned; raises `ConfigurationError` for anything else."""
    try:
        counts = Counts(**stored)
    except TypeError as error:
        raise ConfigurationError("not counts of rows") from error
    numbers = counts.to_dict().values()
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ConfigurationError("not counts of rows")
    if counts.rows != counts.local + counts.remote + counts.errors:
        raise ConfigurationError("counts of rows do not add up")
    return counts


def rows_of_part(spec: ModelSpec) -> int:
    """Return the rows of a part for a model: `PART_ROWS`, fewer where a row is large.

    Rows of images would make parts of many gigabytes, so a part has about 256 MiB of what the
    model takes at the most.
    """
    rows = PART_ROWS
    row_bytes = sum(map(_row_bytes, spec.inputs))
    while rows > _FEWEST_ROWS and rows * row_bytes > _PART_BYTES:
        rows //= 2
    return rows


def _row_bytes(tensor: TensorSpec) -> int:
    sizes = [size if isinstance(size, int) and size > 0 else 1 for size in tensor.shape[1:]]
    return prod(sizes) * max(tensor.dtype.itemsize, 1)


def cut(
    batches: Iterable[Any], *, part: int, part_rows: int, batch_rows: int
) -> Iterator[tuple[int, Any]]:
    """Yield the rows of a file in batches that begin anew with each part, and the part's number."""
    waiting: list[Any] = []
    row = have = 0
    for batch in batches:
        if waiting and waiting[-1].schema != batch.schema:
            # Texts may have other types further down.
            yield part, _joined(waiting)
            waiting, have, row = [], 0, row + have
        rest = batch
        while have + rest.num_rows >= (wanted := min(batch_rows, part_rows - row)):
            taken = wanted - have
            yield part, _joined([*waiting, rest.slice(0, taken)])
            rest, waiting, have, row = rest.slice(taken), [], 0, row + wanted
            if row == part_rows:
                part, row = part + 1, 0
        if rest.num_rows:
            waiting.append(rest)
            have += rest.num_rows
    if waiting:
        yield part, _joined(waiting)


def _joined(batches: list[Any]) -> Any:
    full = [batch for batch in batches if batch.num_rows]
    if len(full) == 1:
        return full[0]
    import pyarrow as pa

    if hasattr(pa, "concat_batches"):
        return pa.concat_batches(full)
    (joined,) = pa.Table.from_batches(full).combine_chunks().to_batches()
    return joined
