"""Answers to packed requests: kept as they come, and never asked for twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from hybridmodel import ConfigurationError, SpecMismatch
from hybridmodel.batch.answers import Answers, Plan
from hybridmodel.batch.durable import Disk
from hybridmodel.batch.packing import Request
from hybridmodel.batch.store import LocalStore
from hybridmodel.batch.summary import Counts

PLAN = Plan(rows=10, size=4)


class Killed(BaseException):
    """Stands for the end of the process."""


def store_in(folder: Path) -> LocalStore:
    """Return a store, as a run makes one."""
    return LocalStore(folder, Disk())


def requests() -> list[Request]:
    """Return the three requests of the plan."""
    feeds = np.arange(10.0)
    return [
        Request(number, {"x": feeds[4 * number : 4 * number + 4]}, PLAN.rows_of(number))
        for number in range(PLAN.requests)
    ]


def answered(request: Request) -> tuple[Any, int]:
    """Answer with the double."""
    return pa.record_batch({"y": 2 * request.feeds["x"]}), 0


def killed(request: Request) -> tuple[Any, int]:
    """End the run after the request was sent."""
    raise Killed


def test_a_killed_run_goes_on_and_counts_what_is_sent_again(tmp_path: Path) -> None:
    """Only what was under way is sent once more, however often a run is killed."""
    first, second, third = requests()
    run = Answers(store_in(tmp_path))
    run.begin(PLAN)
    run.get(first, answered)
    with pytest.raises(Killed):
        run.get(second, killed)
    run = Answers(store_in(tmp_path))
    assert run.begin(Plan(rows=10, size=5)) == PLAN
    assert run.first_missing == 1
    assert run.counts == Counts(rows=10, remote=10)
    with pytest.raises(Killed):
        run.get(second, killed)
    run = Answers(store_in(tmp_path))
    for request in (first, second, third):
        run.get(request, lambda request: (answered(request)[0], request.rows // 2))
    assert run.counts.resent == 2 * 4 + 2 + 1
    run = Answers(store_in(tmp_path))
    run.get(first, killed)
    assert run.counts.resent == 2 * 4 + 2 + 1
    together = pa.Table.from_batches(run.rows())
    assert together["y"].to_pylist() == [2.0 * row for row in range(10)]


def test_an_answer_that_was_damaged_is_not_used(tmp_path: Path) -> None:
    """The file is held against what was written before it is opened."""
    run = Answers(store_in(tmp_path))
    run.begin(PLAN)
    run.get(requests()[0], answered)
    (file,) = tmp_path.glob("answer-*")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(ConfigurationError, match="begin anew with --overwrite"):
        Answers(store_in(tmp_path)).read(0)
    with pytest.raises(ConfigurationError, match="not as it was written"):
        run.read(1)


def test_an_answer_of_too_few_rows_is_refused(tmp_path: Path) -> None:
    """Rows are put in their places by counting, so none may be missing."""
    run = Answers(store_in(tmp_path))
    run.begin(PLAN)
    with pytest.raises(SpecMismatch, match="3 rows came for 4 rows"):
        run.get(requests()[0], lambda request: (answered(request)[0].slice(1), 0))


def test_a_plan_for_other_rows_is_refused(tmp_path: Path) -> None:
    """Nothing is mixed with the answers of another selection."""
    Answers(store_in(tmp_path)).begin(PLAN)
    with pytest.raises(ConfigurationError, match="10 rows were to be sent, now 11"):
        Answers(store_in(tmp_path)).begin(Plan(rows=11, size=4))
