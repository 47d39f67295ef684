"""The comparison of two sides: what it counts, what it keeps, and that it stays small."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridmodel.compare.comparison import SHOWN, Comparison, ComparisonSummary
from hybridmodel.compare.latencies import KEPT, Latencies
from hybridmodel.data.tensors import ModelSpec, TensorSpec
from hybridmodel.exceptions import ConfigurationError
from tests.support.strategies import law

Array = np.ndarray[Any, Any]

LABEL = TensorSpec("label", "INT64", (-1,), batched=True)
TABLE = TensorSpec("probabilities", "FP32", (-1, 3), batched=True)
NUMBER = TensorSpec("y", "FP32", (-1, 1), batched=True)
TEXT = TensorSpec("text", "BYTES", (-1,), batched=True)
SCALAR = TensorSpec("mean", "FP64", ())


def spec(*outputs: TensorSpec) -> ModelSpec:
    """Describe a model by its outputs."""
    return ModelSpec((TensorSpec("x", "FP32", (-1, 2), batched=True),), outputs)


def one_hot(classes: Any) -> Array:
    """Make a table whose most probable classes are these."""
    return np.eye(3, dtype=np.float32)[np.asarray(classes)]


def numbers(values: Any) -> Array:
    """Make a column of floats."""
    return np.asarray(values, np.float32).reshape(-1, 1)


def compared(outputs: tuple[TensorSpec, ...], local: Any, azure: Any, **how: Any) -> Any:
    """Compare one call; return which rows disagree, and the summary."""
    comparison = Comparison(spec(*outputs), **how)
    disagree = comparison.add(local, azure, rows=len(next(iter(local.values()))))
    return disagree.tolist(), comparison.summary()


@pytest.mark.parametrize(
    ("outputs", "how", "local", "azure", "disagree"),
    [
        pytest.param(
            (LABEL, TABLE),
            {},
            {"label": np.array([0, 1, 2]), "probabilities": one_hot([0, 0, 0])},
            {"label": np.array([0, 2, 2]), "probabilities": one_hot([1, 1, 1])},
            [False, True, False],
            id="the class that an output names, whatever the probabilities are",
        ),
        pytest.param(
            (TABLE,),
            {},
            {"probabilities": one_hot([0, 1, 2]) * np.float32(0.9)},
            {"probabilities": one_hot([0, 1, 1])},
            [False, False, True],
            id="the most probable class",
        ),
        pytest.param(
            (TEXT,),
            {},
            {"text": np.array(["a", "b"], object)},
            {"text": np.array(["a", "c"], object)},
            [False, True],
            id="texts",
        ),
        pytest.param(
            (NUMBER,),
            {},
            {"y": numbers([1, 1, 1, np.nan, np.nan, np.inf])},
            {"y": numbers([1.00001, 1.1, np.nan, np.nan, 1, np.inf])},
            [False, True, True, False, True, False],
            id="numbers, nearly the same",
        ),
        pytest.param(
            (NUMBER,),
            {"tolerance": 0.5},
            {"y": numbers([1, 1, 1, np.nan])},
            {"y": numbers([1.5, 1.6, 0.5, np.nan])},
            [False, True, False, True],
            id="numbers within a tolerance, where what is no number is near to nothing",
        ),
        pytest.param(
            (LABEL, NUMBER),
            {"answer": "y", "tolerance": 0.5},
            {"label": np.array([0, 1]), "y": numbers([1, 1])},
            {"label": np.array([1, 1]), "y": numbers([1, 2])},
            [False, True],
            id="the output that was named",
        ),
        pytest.param(
            (LABEL, TEXT),
            {},
            {"label": np.array([0, 1, 2]), "text": np.array(["a", "b", "c"], object)},
            {"label": np.array([0, 2, 2]), "text": np.array(["a", "b", "d"], object)},
            [False, True, True],
            id="all values, where two outputs may be the class",
        ),
        pytest.param(
            (LABEL, TABLE),
            {},
            {"probabilities": one_hot([0, 1]) * np.float32(0.9)},
            {"probabilities": one_hot([0, 1])},
            [True, True],
            id="all values, where the class is not among the outputs",
        ),
        pytest.param(
            (NUMBER, SCALAR),
            {},
            {"y": numbers([1, 2]), "mean": np.array(1.5)},
            {"y": numbers([1, 2]), "mean": np.array(2.5)},
            [True, True],
            id="a value that counts for all rows",
        ),
        pytest.param(
            (TensorSpec("v", "FP32", (-1, -1), batched=True),),
            {},
            {"v": np.zeros((2, 3), np.float32)},
            {"v": np.zeros((2, 4), np.float32)},
            [True, True],
            id="another shape",
        ),
    ],
)
def test_what_agreeing_means(
    outputs: tuple[TensorSpec, ...], how: Any, local: Any, azure: Any, disagree: list[bool]
) -> None:
    """Sides agree by class where the model names one, else by tolerance, else by every value."""
    found, summary = compared(outputs, local, azure, **how)
    assert found == disagree
    assert (summary.rows, summary.agreed) == (len(disagree), disagree.count(False))
    assert summary.agreement == summary.agreed / summary.rows
    low, high = summary.agreement_interval()
    assert low <= summary.agreement <= high


@pytest.mark.parametrize(
    ("outputs", "how", "words"),
    [
        ((LABEL, TABLE), {}, "class 'label'"),
        ((TABLE,), {}, "the most probable class of 'probabilities'"),
        ((NUMBER,), {"tolerance": 0.25}, "'y' within 0.25"),
        ((NUMBER,), {}, "every value, floats within 1e-06 + 0.0001 of the local one"),
    ],
)
def test_the_summary_says_what_agreeing_means(outputs: Any, how: Any, words: str) -> None:
    """What had to be the same stands in the summary."""
    assert Comparison(spec(*outputs), **how).summary().agree_by == words


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"answer": "z"}, "no output 'z'"),
        ({"answer": "y"}, "names no class"),
        ({"tolerance": -1}, "from 0 up"),
        ({"tolerance": 0.1, "answer": "probabilities"}, "not one number for each row"),
    ],
)
def test_an_answer_that_cannot_be_compared_is_refused(how: Any, said: str) -> None:
    """What the caller names and the model cannot give is an error when the comparison is made."""
    with pytest.raises(ConfigurationError, match=said):
        Comparison(spec(NUMBER, TABLE), **how)


def test_distances() -> None:
    """For numbers the largest and mean distances are told; there are none for other outputs."""
    local = {"y": numbers([1, 2, np.nan]), "text": np.array(["a", "b", "c"], object)}
    azure = {"y": numbers([1.5, 0, 7]), "text": np.array(["a", "x", "c"], object)}
    by_name = {item.name: item for item in compared((NUMBER, TEXT), local, azure)[1].outputs}
    y, text = by_name["y"], by_name["text"]
    assert (y.rows, y.differing_rows, y.max_abs_diff, y.mean_abs_diff) == (3, 3, 2.0, 1.25)
    assert (text.differing_rows, text.max_abs_diff, text.mean_abs_diff) == (1, None, None)


def test_integers_are_compared_exactly() -> None:
    """Integers that differ by one differ, however large they are."""
    count = TensorSpec("count", "INT64", (-1, 2), batched=True)
    local = {"count": np.full((1, 2), 2**60)}
    azure = {"count": np.full((1, 2), 2**60 + 1)}
    assert compared((count,), local, azure)[0] == [True]


def test_pairs_of_classes() -> None:
    """Rows are counted by both classes, the most frequent pair first."""
    local, azure = {"label": np.array([0, 0, 0, 1])}, {"label": np.array([0, 1, 1, 1])}
    assert compared((LABEL,), local, azure)[1].pairs == ((0, 1, 2), (0, 0, 1), (1, 1, 1))


@st.composite
def cut(draw: st.DrawFn) -> tuple[Array, Array, list[int]]:
    """Draw classes of both sides, and where to cut them into calls."""
    rows = draw(st.integers(0, 80))
    classes = st.lists(st.integers(0, 2), min_size=rows, max_size=rows)
    ends = draw(st.lists(st.integers(0, rows), max_size=6))
    return np.array(draw(classes)), np.array(draw(classes)), sorted({0, rows, *ends})


@law
@given(cut())
def test_calls_do_not_matter(drawn: tuple[Array, Array, list[int]]) -> None:
    """However rows are cut into calls, the same is found; only the calls are others."""
    local, azure, ends = drawn
    outputs = (LABEL, NUMBER)

    def found(ends: list[int]) -> tuple[ComparisonSummary, list[bool]]:
        comparison, disagree = Comparison(spec(*outputs)), []
        for start, end in pairwise(ends):
            one, other = (
                {"label": side[start:end], "y": numbers(side[start:end])} for side in (local, azure)
            )
            index = pd.RangeIndex(len(local))[start:end]
            disagree += comparison.add(one, other, rows=end - start, index=index).tolist()
        return comparison.summary(), disagree

    (whole, at_once), (parts, piecewise) = found([0, len(local)]), found(ends)
    assert at_once == piecewise == (local != azure).tolist()
    for name in ("rows", "agreed", "first", "last"):
        assert getattr(whole, name) == getattr(parts, name)
    assert set(whole.pairs) == set(parts.pairs)
    assert sum(count for *_, count in whole.pairs) == whole.rows
    for one, other in zip(whole.outputs, parts.outputs, strict=False):
        assert one.differing_rows == other.differing_rows
        assert one.max_abs_diff == other.max_abs_diff
        assert one.mean_abs_diff == pytest.approx(other.mean_abs_diff)


def test_first_and_last_rows_are_kept() -> None:
    """Of rows that disagree, the first and the last are kept, with labels and both answers."""
    comparison = Comparison(spec(LABEL))
    for start in (0, 100):
        azure = np.zeros(100, np.int64)
        local = np.ones(100, np.int64)
        local[0] = 0
        index = pd.Index([f"row {start + place}" for place in range(100)])
        comparison.add({"label": local}, {"label": azure}, rows=100, index=index)
    summary = comparison.summary()
    assert [item.position for item in summary.first] == list(range(1, 1 + SHOWN))
    assert [item.position for item in summary.last] == list(range(200 - SHOWN, 200))
    row = summary.last[-1]
    assert (row.label, row.local, row.azure) == ("row 199", {"label": 1}, {"label": 0})


def test_a_call_without_rows_is_one_row() -> None:
    """Where nothing counts rows, a call is one row."""
    comparison = Comparison(spec(SCALAR))
    comparison.add({"mean": np.array(1.0)}, {"mean": np.array(2.0)})
    comparison.add({"mean": np.array(1.0)}, {"mean": np.array(1.0)})
    summary = comparison.summary()
    assert (summary.calls, summary.rows, summary.agreed) == (2, 2, 1)
    assert summary.first[0].local == {"mean": 1.0}


def test_memory_is_bounded() -> None:
    """Whatever runs through, what is kept of it stays small."""
    wide = TensorSpec("wide", "FP32", (-1, -1), batched=True)
    comparison = Comparison(spec(TEXT, wide))
    for call in range(40):
        texts = np.array([f"{call} {row}" + "x" * 10_000 for row in range(50)], object)
        table = np.full((50, 2_000), call, np.float32)
        seconds = call / 10
        comparison.add(
            {"text": texts, "wide": table},
            {"text": texts[::-1].copy(), "wide": -table},
            rows=50,
            local_s=seconds,
            azure_s=seconds,
        )
    stored = json.dumps(comparison.summary().to_dict(), allow_nan=False)
    assert len(stored) < 1_000_000
    assert len(comparison.summary().pairs) <= 1000
    assert comparison.summary().rows == 2000


def test_the_summary_is_json() -> None:
    """A summary with all kinds of values and labels in it is JSON, and what is missing is null."""
    half = TensorSpec("half", "FP16", (-1, 2), batched=True)
    comparison = Comparison(spec(half, TEXT))
    index = pd.MultiIndex.from_tuples([(1, pd.Timestamp("2024-01-01")), (2, None)])
    comparison.add(
        {"half": np.array([[1, 1], [0.1, np.nan]], np.float16), "text": np.array(["a", "b"], "O")},
        {"half": np.array([[1, 2], [0.2, np.inf]], np.float16), "text": np.array(["a", "ü"], "O")},
        rows=2,
        index=index,
        local_s=0.5,
    )
    stored = json.loads(json.dumps(comparison.summary().to_dict(), allow_nan=False))
    assert stored["first"][0]["local"]["half"] == [0.1, "nan"]
    assert stored["first"][0]["azure"] == {"half": [0.2, "inf"], "text": "ü"}
    assert stored["latency"]["local"]["p50_s"] == 0.5
    assert "azure" not in stored["latency"]
    assert stored["agreement"] == 0.5


def test_an_empty_comparison() -> None:
    """Before anything was compared, nothing is claimed."""
    comparison = Comparison(spec(LABEL))
    summary = comparison.summary()
    assert summary.agreement is None
    assert summary.agreement_interval() == (0.0, 1.0)
    assert comparison.counts() == {}
    assert summary.latency == {}


def test_counts() -> None:
    """What was not compared is counted by why."""
    comparison = Comparison(spec(LABEL))
    comparison.add_shed()
    for error in ("EndpointTimeout", "EndpointTimeout", "RateLimited"):
        comparison.add_failure(error)
    assert comparison.counts() == {
        "shed": 1,
        "failed": 3,
        "failed.EndpointTimeout": 2,
        "failed.RateLimited": 1,
    }
    assert comparison.summary().failures == {"EndpointTimeout": 2, "RateLimited": 1}


def test_threads_lose_nothing() -> None:
    """Many threads that add at the same time are all counted."""
    comparison = Comparison(spec(LABEL))
    local, azure = {"label": np.array([0, 1])}, {"label": np.array([0, 2])}

    def add() -> None:
        for _ in range(100):
            comparison.add(local, azure, rows=2, local_s=0.001)

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert comparison.counts() == {"calls": 800, "rows": 1600, "agreed": 800}
    assert comparison.summary().latency["local"].calls == 800


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_begins_anew() -> None:
    """A child that was forked while the lock was held can use its comparison, which is empty."""
    comparison = Comparison(spec(LABEL))
    comparison.add({"label": np.array([0])}, {"label": np.array([0])}, rows=1)
    with comparison._lock:
        child = multiprocessing.get_context("fork").Process(target=_is_empty, args=(comparison,))
        child.start()
    child.join(20)
    hangs = child.is_alive()
    child.kill()
    child.join()
    assert not hangs
    assert child.exitcode == 0


def _is_empty(comparison: Comparison) -> None:
    assert comparison.counts() == {}


def test_latencies_of_few_calls_are_exact() -> None:
    """While all durations are kept, the quantiles are those of all."""
    latencies = Latencies()
    assert latencies.summary() is None
    for milliseconds in range(101):
        latencies.add(milliseconds / 1e3)
    summary = latencies.summary()
    assert summary is not None
    assert (summary.calls, summary.max_s) == (101, 0.1)
    assert (summary.p50_s, summary.p95_s, summary.p99_s) == pytest.approx((0.050, 0.095, 0.099))


def test_latencies_of_many_calls_are_those_of_the_last() -> None:
    """Percentiles are those of the last calls; count and maximum are of all."""
    latencies = Latencies()
    latencies.add(1e6)
    for call in range(20_000):
        latencies.add(float(call))
    summary = latencies.summary()
    assert summary is not None
    assert (summary.calls, summary.max_s) == (20_001, 1e6)
    assert list(latencies.last_s) == list(range(20_000 - KEPT, 20_000))
    assert summary.p50_s == pytest.approx(20_000 - KEPT / 2 - 0.5)
