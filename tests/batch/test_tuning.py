"""What a job is made fast with: sessions, workers, rows at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hybridmodel import HybridOnnxModel, TritonEndpoint
from hybridmodel.batch import tuning
from hybridmodel.batch.tuning import BATCH_ROWS, Tuning, tuned
from hybridmodel.routing.resolver import LOCAL_POLICY, REMOTE_POLICY
from tests.support import models


class Clock:
    """A clock by which each trial takes so long for each of its first two numbers of rows."""

    def __init__(self, *spent_s: float) -> None:
        self._spent = spent_s
        self._calls = 0
        self._now = 0.0

    def __call__(self) -> float:
        """Return the time; every second call ends a run."""
        if self._calls % 2:
            self._now += self._spent[min(self._calls // 6, len(self._spent) - 1)]
        self._calls += 1
        return self._now


def linear(**options: Any) -> HybridOnnxModel:
    """Make the model of four features."""
    return HybridOnnxModel(models.linear(), **options)


TRIALS: list[tuple[tuple[float, ...], int, bool]] = [
    ((0.0001, 0.0001), 1, True),  # 24 ns a row: reading is slower.
    ((0.0001, 4096 * 2.1e-6), 2, True),
    ((0.0001, 4096 * 9e-6), 4, True),  # No more workers than cores.
    ((64 * 1e-3, 64 * 0.25e-3), 4, True),  # All threads together are no better than four alone.
    ((64 * 1e-3, 64 * 0.1e-3), 1, False),  # All threads together are better.
]


@pytest.mark.parametrize(("spent_s", "workers", "is_lone"), TRIALS, ids=range(len(TRIALS)))
def test_a_trial_picks_workers(
    monkeypatch: pytest.MonkeyPatch, spent_s: tuple[float, ...], workers: int, is_lone: bool
) -> None:
    """Small models get one worker, others several of one thread, or one of all threads."""
    monkeypatch.setattr(tuning, "available_cores", lambda: 4)
    model = linear()
    found = tuned(model, LOCAL_POLICY, clock=Clock(*spent_s))
    assert (found.workers, found.batch_rows) == (workers, BATCH_ROWS)
    assert (found.model is not model) == is_lone
    options = found.model.local.session_options
    assert (options == tuning.ONE_THREAD) == is_lone


def test_what_is_given_stays() -> None:
    """Given workers and rows count, and a session with options of its own is kept."""
    assert tuned(linear(), LOCAL_POLICY, workers=7, batch_rows=5)[1:] == (7, 5)
    own = linear(session_options={"intra_op_num_threads": 2})
    assert tuned(own, LOCAL_POLICY).model is own


def test_models_that_cannot_be_tried() -> None:
    """A model that refuses zeros, or whose rows are of unknown shape, is not tried."""
    wide = HybridOnnxModel(models.identity("FP32", ("N", "K")))
    assert tuned(wide, LOCAL_POLICY)[1:] == (1, BATCH_ROWS)
    named = HybridOnnxModel(models.identity("FP32", ("N", "K")), feature_names=["a"])
    assert tuned(named, LOCAL_POLICY).workers >= 1
    assert tuned(HybridOnnxModel(models.strings()), LOCAL_POLICY).workers >= 1
    assert tuned(HybridOnnxModel(models.mean()), LOCAL_POLICY).workers >= 1


@pytest.mark.parametrize(("limit", "rows"), [(100, 100), (None, 2048)])
def test_requests_are_full(limit: int | None, rows: int) -> None:
    """On the remote route each worker has a request, as full as the endpoint takes it."""
    endpoint = TritonEndpoint(
        uri="http://127.0.0.1:9", model_name="m", max_batch_size=limit, max_in_flight=5
    )
    model = linear(endpoint=endpoint)
    assert tuned(model, REMOTE_POLICY) == Tuning(model, 5, rows)


def test_the_session_of_a_job_shares_the_rest() -> None:
    """The copy answers the same, with the endpoint's client and the counts of the original."""
    endpoint = TritonEndpoint(uri="http://127.0.0.1:9", model_name="m")
    model = linear(endpoint=endpoint, credential=lambda: "secret")
    other = model.with_session_options(tuning.ONE_THREAD)
    rows = np.ones((3, 4), np.float32)
    assert np.array_equal(other.predict(rows), model.predict(rows))
    assert other.client is model.client
    assert model.stats()["local.rows"] == 6
