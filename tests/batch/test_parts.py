"""Parts and the batches in them do not depend on how rows are read."""

from __future__ import annotations

import itertools

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridmodel.batch.durable import Written
from hybridmodel.batch.parts import PART_ROWS, PartRecord, Position, cut, rows_of_part
from hybridmodel.batch.summary import Counts
from hybridmodel.data.tensors import ModelSpec, TensorSpec
from hybridmodel.exceptions import ConfigurationError

RECORD = PartRecord(
    number=3,
    file=1,
    row=64,
    counts=Counts(rows=32, local=30, remote=1, errors=1),
    written=Written(10, "00000000"),
)


def batch(start: int, rows: int) -> pa.RecordBatch:
    """Make rows that are numbered."""
    return pa.record_batch({"row": pa.array(range(start, start + rows), pa.int64())})


def batches_of(sizes: list[int]) -> list[pa.RecordBatch]:
    """Make batches of so many rows, numbered throughout."""
    starts = itertools.accumulate(sizes, initial=0)
    return [batch(start, size) for start, size in zip(starts, sizes, strict=False)]


def numbers(pieces: list[tuple[int, pa.RecordBatch]]) -> list[tuple[int, list[int]]]:
    """Return the rows of each piece, with the number of its part."""
    return [(part, piece.column(0).to_pylist()) for part, piece in pieces]


@given(st.lists(st.integers(0, 40), max_size=8), st.integers(1, 40), st.integers(1, 50))
def test_how_rows_are_read_does_not_matter(
    sizes: list[int], part_rows: int, batch_rows: int
) -> None:
    """The same rows give the same pieces, in whatever batches they come."""
    options = {"part": 5, "part_rows": part_rows, "batch_rows": batch_rows}
    rows = sum(sizes)
    found = numbers(list(cut(batches_of(sizes), **options)))
    assert found == numbers(list(cut([batch(0, rows)], **options)))
    assert [row for _, piece in found for row in piece] == list(range(rows))
    for part, piece in found:
        assert 0 < len(piece) <= batch_rows
        assert {5 + row // part_rows for row in piece} == {part}
        assert piece[0] % part_rows % batch_rows == 0


@given(st.integers(1, 200), st.integers(1, 40), st.integers(1, 50), st.data())
def test_a_job_that_goes_on_has_the_same_pieces(
    rows: int, part_rows: int, batch_rows: int, data: st.DataObject
) -> None:
    """From any part on, the pieces are those of a job that began at the first."""
    sizes = {"part_rows": part_rows, "batch_rows": batch_rows}
    part = data.draw(st.integers(0, (rows - 1) // part_rows))
    start = part * part_rows
    later = cut([batch(start, rows - start)], part=part, **sizes)
    whole = numbers(list(cut([batch(0, rows)], part=0, **sizes)))
    assert numbers(list(later)) == [piece for piece in whole if piece[0] >= part]


def test_columns_that_change_their_type() -> None:
    """Rows of different types are not put together, and keep their parts."""
    texts = pa.record_batch({"row": ["a", "b", "c"]})
    found = list(cut([batch(0, 2), texts], part=0, part_rows=4, batch_rows=10))
    assert numbers(found) == [(0, [0, 1]), (0, ["a", "b"]), (1, ["c"])]


@pytest.mark.parametrize(
    ("shape", "rows"),
    [
        ((-1, 30), PART_ROWS),
        ((-1, 256), PART_ROWS),
        ((-1, 257), PART_ROWS // 2),
        ((-1, 3, 224, 224), 256),
        ((-1, -1), PART_ROWS),
        ((-1,), PART_ROWS),
    ],
)
def test_parts_of_large_rows_have_fewer(shape: tuple[int, ...], rows: int) -> None:
    """A part has 262,144 rows, or as many as make 256 MiB of what the model takes."""
    tensor = TensorSpec("x", "FP32", shape, batched=True)
    assert rows_of_part(ModelSpec((tensor,), (tensor,))) == rows


def test_a_record_is_read_as_it_was_stored() -> None:
    """What the manifest says of a part is what was done."""
    bad = PartRecord(
        **{**{name: getattr(RECORD, name) for name in RECORD.__slots__}, "bad": Written(1, "")}
    )
    for record in (RECORD, bad):
        assert PartRecord.from_dict(record.to_dict()) == record
    assert Position(part=3, file=0, row=9).behind(RECORD) == Position(part=4, file=1, row=96)


@pytest.mark.parametrize(
    "changed",
    [
        {"number": -1},
        {"row": "0"},
        {"written": None},
        {"counts": None},
        {"counts": {"rows": 1.5}},
        {"counts": {"rows": 2, "local": 1}},
        {"counts": {"rows": True, "local": True}},
        {"counts": {"rows": 1, "local": 2, "errors": -1}},
        {"counts": {"path": "/etc/passwd"}},
    ],
    ids=str,
)
def test_records_of_parts_are_checked(changed: dict[str, object]) -> None:
    """A part whose record makes no sense is refused."""
    with pytest.raises(ConfigurationError):
        PartRecord.from_dict(RECORD.to_dict() | changed)
    with pytest.raises(ConfigurationError):
        PartRecord.from_dict({})
