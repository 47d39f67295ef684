"""Answers that came for some rows are put into their places, whatever their types."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridmodel import SpecMismatch
from hybridmodel.answer import PROVENANCE
from hybridmodel.batch.placing import Queue, placed, with_provenance

COLUMNS: dict[str, Any] = {
    "label": lambda row: f"label {row}",
    "number": lambda row: row,
    "share": lambda row: row / 3,
    "flag": lambda row: row % 2 == 0,
    "vector": lambda row: [float(row), 1.0],
}


def batch_of(rows: Any, **before: Any) -> Any:
    """Make a record batch with all types."""
    made = {name: [make(row) for row in rows] for name, make in COLUMNS.items()}
    types = [pa.string(), pa.int64(), pa.float64(), pa.bool_(), pa.list_(pa.float64())]
    arrays = [pa.array(values, kind) for values, kind in zip(made.values(), types, strict=True)]
    return pa.RecordBatch.from_arrays(
        [*map(pa.array, before.values()), *arrays], [*before, *COLUMNS]
    )


@given(mask=st.lists(st.booleans(), min_size=1, max_size=30), sizes=st.integers(1, 7))
def test_each_answer_finds_its_row(mask: list[bool], sizes: int) -> None:
    """Kept columns and all other rows stay as they were."""
    rows, gone = np.array(mask), int(sum(mask))
    local = batch_of(range(len(mask)), kept=[f"kept {row}" for row in range(len(mask))])
    answers = batch_of(range(100, 100 + gone + 3))
    queue = Queue(answers.slice(at, sizes) for at in range(0, answers.num_rows, sizes))
    found = placed(local, rows, queue.take(gone)).to_pylist() if gone else local.to_pylist()
    expected, given = local.to_pylist(), iter(answers.to_pylist())
    for at in np.flatnonzero(rows):
        expected[at] |= next(given)
    assert found == expected
    assert queue.take(3).to_pylist() == list(given)


def test_the_provenance_of_a_row_changes_with_its_answer() -> None:
    """Its score stays, which the local model gave."""
    local = batch_of(range(3))
    told = [pa.array(["local"] * 3), pa.array([0.5, 0.1, 0.9]), pa.array(["surer"] * 3)]
    names = [*local.schema.names, *PROVENANCE]
    local = pa.RecordBatch.from_arrays([*local.columns, *told], names)
    rows = np.array([False, True, False])
    made = placed(local, rows, pa.Table.from_batches([batch_of([7])]))
    made = with_provenance(made, rows, route="azure", reason="least sure")
    assert made["number"].to_pylist() == [0, 7, 2]
    assert made["route"].to_pylist() == ["local", "azure", "local"]
    assert made["score"].to_pylist() == [0.5, 0.1, 0.9]
    assert made["reason"].to_pylist() == ["surer", "least sure", "surer"]


def test_answers_that_do_not_fit_are_refused() -> None:
    """Other columns than the local model's, of several kinds, or too few rows."""
    local, rows = batch_of(range(2)), np.array([True, False])
    others = pa.table({"label": ["a"], "score": [0.5]})
    with pytest.raises(SpecMismatch, match=r"makes the columns \['label', 'score'\]"):
        placed(local, rows, others)
    unlike = [pa.record_batch({"a": [1]}), pa.record_batch({"b": [1]})]
    with pytest.raises(SpecMismatch, match="do not fit together"):
        Queue(unlike).take(2)
    with pytest.raises(SpecMismatch, match="the answers for 1 rows are missing"):
        Queue([batch_of([1])]).take(2)
