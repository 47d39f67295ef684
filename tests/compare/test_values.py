"""The comparison of one output, value by value."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridmodel.compare.comparison import Comparison
from hybridmodel.compare.values import SHOWN, plain
from hybridmodel.data.tensors import ModelSpec, TensorSpec

Array = np.ndarray[Any, Any]

ARRAYS = {
    "FP32": [0.0, 1.0, 1.00001, np.nan, np.inf, -np.inf],
    "INT64": [0, 1, 2**62],
    "BYTES": ["no", "yes"],
    "BOOL": [True, False],
}


def comparison_of(output: TensorSpec) -> Comparison:
    """Compare a model with one output, relatively only."""
    inputs = (TensorSpec("x", "FP32", (-1, 2), batched=True),)
    return Comparison(ModelSpec(inputs, (output,)), rtol=1e-4, atol=0.0)


@given(st.data(), st.sampled_from(sorted(ARRAYS)), st.integers(1, 30), st.integers(1, 7))
def test_batches_do_not_matter(data: st.DataObject, datatype: str, rows: int, size: int) -> None:
    """Comparing batch by batch finds what comparing at once does, and only what differs."""
    spec = TensorSpec("y", datatype, (-1, 2), True)
    cell = st.sampled_from(ARRAYS[datatype])
    values = st.lists(cell, min_size=2 * rows, max_size=2 * rows)
    one, two = (np.array(data.draw(values), spec.dtype).reshape(rows, 2) for _ in range(2))
    whole, parts = comparison_of(spec), comparison_of(spec)
    whole.add({"y": one}, {"y": two}, rows=rows)
    for start in range(0, rows, size):
        part = slice(start, start + size)
        parts.add({"y": one[part]}, {"y": two[part]}, rows=len(one[part]))
    assert parts.differences() == whole.differences()
    (found,), (other,) = whole.summary().outputs, parts.summary().outputs
    assert (found.rows, found.differing_rows) == (other.rows, other.differing_rows)
    assert (found.rows, found.max_abs_diff) == (rows, other.max_abs_diff)
    shown = whole.differences()["y"]
    json.dumps([(item.local, item.remote) for item in shown], allow_nan=False)
    differing = {item.row for item in shown}
    for row in range(rows):
        same = all(map(_same, one[row].tolist(), two[row].tolist()))
        assert same == (row not in differing) or len(differing) == SHOWN


def _same(one: Any, two: Any) -> bool:
    if isinstance(one, float):
        close = one == two or abs(one - two) <= 1e-4 * abs(one) < np.inf
        return close or (np.isnan(one) and np.isnan(two))
    return bool(one == two)


def test_outputs_of_other_shapes_differ() -> None:
    """Arrays that cannot be compared value by value are shown with their shapes."""
    comparison = comparison_of(TensorSpec("y", "FP32", (-1, -1)))
    comparison.add({"y": np.zeros((2, 3), np.float32)}, {"y": np.zeros((2, 4), np.float32)})
    (found,) = comparison.summary().outputs
    assert (found.rows, found.differing_rows, found.max_abs_diff) == (1, 1, None)
    (difference,) = comparison.differences()["y"]
    assert (difference.local, difference.remote) == ("[1, 2, 3]", "[1, 2, 4]")


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_labels_that_differ_are_shown(shape: tuple[int, ...]) -> None:
    """Strings are compared exactly, and a column of them has no position within a row."""
    comparison = comparison_of(TensorSpec("label", "BYTES", (-1, *shape[1:]), batched=True))
    long = "perhaps" * 100
    local = np.array(["no", "yes"], dtype=object).reshape(shape)
    remote = np.array(["no", long], dtype=object).reshape(shape)
    comparison.add({"label": local}, {"label": remote}, rows=2)
    (difference,) = comparison.differences()["label"]
    assert (difference.row, difference.position) == (1, ())
    assert (difference.local, difference.remote) == ("yes", long)


def test_a_value_within_a_row_has_its_position() -> None:
    """The first differing value of a row is found in all its dimensions, rows without any not."""
    comparison = comparison_of(TensorSpec("y", "INT64", (-1, 2, 3), batched=True))
    local = np.zeros((3, 2, 3), np.int64)
    remote = local.copy()
    remote[1, 1, 0] = remote[1, 1, 2] = 7
    comparison.add({"y": local}, {"y": remote}, rows=3)
    (difference,) = comparison.differences()["y"]
    assert (difference.row, difference.position, difference.remote) == (1, (1, 0), 7)


def test_plain_values_are_short() -> None:
    """Long arrays and texts keep their beginning; JSON has no name for NaN."""
    assert plain(np.arange(20)) == [*range(16), "…"]
    assert plain(np.array("x" * 300, object)) == "x" * 200 + "…"
    assert plain(np.float16(0.1)) == 0.1
    assert plain(float("nan")) == "nan"
    assert plain(None) is None
