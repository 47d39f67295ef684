"""Which rows of a job go: the same as in one call of `predict` with all rows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hybridmodel.batch.choice import choice_of
from hybridmodel.batch.selection import Marker, find_cut
from hybridmodel.routing import Budget, Cascade
from hybridmodel.routing.choosing import RowChooser

Array = np.ndarray[Any, Any]

SCORES = st.lists(
    st.floats(0, 1) | st.sampled_from([math.nan, 0.5, math.nextafter(0.5, 0), 1e-300]), max_size=50
).map(lambda scores: np.array(scores, np.float64))


def chosen(policy: Budget | Cascade, scores: Array, size: int = 1) -> Array:
    """Return which rows a job sends, all in one block."""
    choice = choice_of(policy)
    blocks = [choice.numbers(scores)]
    assert blocks[0].dtype == np.float32
    count = choice.count(len(scores), size, lambda: blocks)
    return Marker(find_cut(lambda: blocks, count))(blocks[0])


@given(scores=SCORES, threshold=st.floats(0, 1) | st.just(0.5) | st.just(math.inf))
def test_a_threshold_is_exact(scores: Array, threshold: float) -> None:
    """Also for scores that float32 does not tell from it."""
    rows = chosen(Cascade(threshold=threshold), scores)
    np.testing.assert_array_equal(rows, ~(scores >= threshold))


@given(scores=SCORES, threshold=st.floats(0, 1), most=st.floats(0, 1))
def test_a_limit_takes_the_least_sure_of_the_doubtful_rows(
    scores: Array, threshold: float, most: float
) -> None:
    """It is one of all rows of the job."""
    rows = chosen(Cascade(threshold=threshold, max_escalation=most), scores)
    doubtful = ~(scores >= threshold)
    assert rows.sum() == min(doubtful.sum(), int(most * len(scores)))
    assert not (rows & ~doubtful).any()
    stored = np.nan_to_num(scores.astype(np.float32), nan=-1)
    assert stored[rows].max(initial=-1) <= stored[doubtful & ~rows].min(initial=2)


@given(scores=SCORES, share=st.floats(0, 1), size=st.integers(1, 9), cost=st.floats(0, 20))
def test_a_budget_takes_the_rows_that_one_call_takes(
    scores: Array, share: float, size: int, cost: float
) -> None:
    """Whatever the limit is."""
    limits: list[dict[str, Any]] = [
        {"share": share},
        {"rows": int(40 * share)},
        {"cost": cost, "cost_per_call": 1, "cost_per_row": 0.25},
    ]
    for limit in limits:
        policy = Budget(**limit)
        call = RowChooser(np.zeros).of_budget(policy, scores, False, size)
        np.testing.assert_array_equal(chosen(policy, scores, size), call.gone)
