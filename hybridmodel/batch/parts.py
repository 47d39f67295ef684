"""Parts: ranges of the rows of a file, whose ends depend only on the file and the model.

They do not depend on the batch size, the number of workers or the route, so these may change when a
job goes on. Batches begin anew with each part: a row is always in a batch with the same rows, also
after an interruption, so its answer is the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

from hybridmodel.batch.durable import Written
from hybridmodel.batch.summary import Counts
from hybridmodel.data.tensors import ModelSpec, TensorSpec
from hybridmodel.exceptions import ConfigurationError

PART_ROWS = 1 << 18
"""Of a part, if rows are small."""
_PART_BYTES = 1 << 28
_FEWEST_ROWS = 1 << 8
WHOLE = 1 << 31
"""Rows of a part and of a batch, if a model must have all rows of a file at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """The next row without a part, and the number of its part; all are counted from 0."""

    part: int = 0
    file: int = 0
    row: int = 0

    def behind(self, record: PartRecord) -> Position:
        """Return the position after a part."""
        return Position(part=record.number + 1, file=record.file, row=record.row + record.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartRecord:
    """A finished part as the manifest has it; it begins at `row` of the input file `file`."""

    number: int
    file: int
    row: int
    counts: Counts
    written: Written
    bad: Written | None = None

    @property
    def rows(self) -> int:
        """The number of its rows, good and bad."""
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
        return asdict(self)


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
    """Return the rows of a part for a model: `PART_ROWS`, fewer if a row is large.

    A part has about 256 MiB at most, since parts of images would have many gigabytes.
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
    """Yield the rows of a file in batches, with the number of their part.

    Batches begin anew with each part, and none is empty.
    """
    waiting: list[Any] = []
    row = have = 0
    for batch in batches:
        if waiting and waiting[-1].schema != batch.schema:
            # In text formats, a column may change its type.
            yield part, joined(waiting)
            waiting, have, row = [], 0, row + have
        rest = batch
        while have + rest.num_rows >= (wanted := min(batch_rows, part_rows - row)):
            taken = wanted - have
            yield part, joined([*waiting, rest.slice(0, taken)])
            rest, waiting, have, row = rest.slice(taken), [], 0, row + wanted
            if row == part_rows:
                part, row = part + 1, 0
        if rest.num_rows:
            waiting.append(rest)
            have += rest.num_rows
    if waiting:
        yield part, joined(waiting)


def joined(batches: list[Any]) -> Any:
    """Return batches of one schema, at least one of which has rows, as one batch."""
    full = [batch for batch in batches if batch.num_rows]
    if len(full) == 1:
        return full[0]
    import pyarrow as pa

    if hasattr(pa, "concat_batches"):
        return pa.concat_batches(full)
    (joined,) = pa.Table.from_batches(full).combine_chunks().to_batches()
    return joined
