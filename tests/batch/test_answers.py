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
from hybridmodel.batch.manifest import JOB, SCHEMA_VERSION, Entry, Manifest
from hybridmodel.batch.packing import Request
from hybridmodel.batch.store import LocalStore
from hybridmodel.batch.summary import Counts

PLAN = Plan(rows=10, size=4, request_rows=4)


class Killed(BaseException):
    """Stands for the end of the process."""


def run_in(folder: Path) -> Answers:
    """Return what a run finds in the folder of a job."""
    store = LocalStore(folder, Disk())
    manifest = Manifest(store)
    if not list(manifest.entries()):
        manifest.begin([Entry(JOB, {"schema_version": SCHEMA_VERSION})])
    return Answers(store, manifest, list(manifest.entries())[1:])


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
    run = run_in(tmp_path)
    run.begin(PLAN)
    run.get(first, answered)
    with pytest.raises(Killed):
        run.get(second, killed)
    run = run_in(tmp_path)
    assert run.begin(Plan.of(10, 5)) == PLAN
    assert run.first_missing == 1
    assert run.counts == Counts(rows=10, remote=10)
    with pytest.raises(Killed):
        run.get(second, killed)
    run = run_in(tmp_path)
    for request in (first, second, third):
        run.get(request, lambda request: (answered(request)[0], request.rows // 2))
    assert run.counts.resent == 2 * 4 + 2 + 1
    run = run_in(tmp_path)
    run.get(first, killed)
    assert run.counts.resent == 2 * 4 + 2 + 1
    together = pa.Table.from_batches(run.rows())
    assert together["y"].to_pylist() == [2.0 * row for row in range(10)]


def test_an_answer_that_was_damaged_is_asked_for_again(tmp_path: Path) -> None:
    """Files are held against what was written before one is opened, and their rows counted."""
    run = run_in(tmp_path)
    run.begin(PLAN)
    run.get(requests()[0], answered)
    (file,) = tmp_path.glob("answer-*")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    run = run_in(tmp_path)
    with pytest.raises(ConfigurationError, match=r"answer-00000000.arrow is not there"):
        run.read(0)
    run.get(requests()[0], answered)
    assert run.read(0)["y"].to_pylist() == [0.0, 2.0, 4.0, 6.0]
    assert run.counts.resent == 4


def test_an_answer_of_too_few_rows_is_refused(tmp_path: Path) -> None:
    """Rows are put in their places by counting, so none may be missing."""
    run = run_in(tmp_path)
    run.begin(PLAN)
    with pytest.raises(SpecMismatch, match="3 rows came for 4 rows"):
        run.get(requests()[0], lambda request: (answered(request)[0].slice(1), 0))


def test_a_plan_for_other_rows_is_refused(tmp_path: Path) -> None:
    """Nothing is mixed with the answers of another selection."""
    run_in(tmp_path).begin(PLAN)
    with pytest.raises(ConfigurationError, match="10 rows were to be sent, now 11"):
        run_in(tmp_path).begin(Plan.of(11, 4))
