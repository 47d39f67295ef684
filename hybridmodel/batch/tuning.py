"""Chooses the session threads, the workers and the batch size of a job.

This does not change the answers, except for last digits if the number of session threads changes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hybridmodel.batch.packing import MOST_REQUEST_ROWS, request_rows
from hybridmodel.data.tensors import WILDCARD, Array, TensorSpec, size_of
from hybridmodel.exceptions import HybridModelError
from hybridmodel.routing.resolver import LOCAL_POLICY

if TYPE_CHECKING:
    from hybridmodel.model import HybridOnnxModel

Feeds = dict[str, Array]

BATCH_ROWS = 1 << 15
"""Of the local route: smaller batches cost time in Python, larger ones cost memory."""
ONE_THREAD = {
    "intra_op_num_threads": 1,
    "inter_op_num_threads": 1,
    "extra_session_config": {"session.intra_op.allow_spinning": "0"},
}
_FEW, _MANY = 64, 4096
"""Rows of a trial: many if the model answers a few too fast to measure."""
_RUNS = 3
_AT_ONCE_S = 0.002
_READ_S = 1.0e-6
"""About the time to read and write a row; a faster model needs no second worker."""
_HEAVY_S = 50e-6
"""From this time for a row on, a session with all threads is tried too."""
_CLEARLY = 0.9


class Tuning(NamedTuple):
    """The model with the session for a job, the threads that score, and the rows of a batch."""

    model: HybridOnnxModel
    workers: int
    batch_rows: int


def tuned(
    model: HybridOnnxModel,
    policy: Any,
    *,
    workers: int | None = None,
    batch_rows: int | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Tuning:
    """Choose the settings of a job by a short trial, unless they are given.

    A model that was made with ``session_options`` of its own keeps its session.
    """
    if policy is not LOCAL_POLICY and model.endpoint is not None:
        found = _for_endpoint(model)
    else:
        found = _for_session(model, workers, clock)
    chosen = found.workers if workers is None else workers
    return Tuning(found.model, chosen, batch_rows or found.batch_rows)


def _for_endpoint(model: HybridOnnxModel) -> Tuning:
    """Give each worker a request, as full as the endpoint accepts."""
    endpoint = model.client.endpoint
    feeds, told = _zeros(model, 1), endpoint.max_batch_size or MOST_REQUEST_ROWS
    rows = told if feeds is None else request_rows(told, size_of(feeds))
    return Tuning(model, endpoint.max_in_flight, rows)


def _for_session(model: HybridOnnxModel, workers: int | None, clock: Callable[[], float]) -> Tuning:
    given = model.local.session_options
    lone = model if given else model.with_session_options(ONE_THREAD)
    feeds = None if workers is not None else _zeros(model, _MANY)
    row_s = _row_s(lone, feeds, clock)
    if row_s is None:
        return Tuning(lone, 1, BATCH_ROWS)
    cores = available_cores()
    if row_s > _HEAVY_S and cores > 1 and given in (None, {}, ONE_THREAD):
        whole = model.with_session_options(None) if given else model
        if _is_clearly_faster(_row_s(whole, feeds, clock), row_s / cores):
            return Tuning(whole, 1, BATCH_ROWS)
    return Tuning(lone, max(1, min(cores, round(row_s / _READ_S))), BATCH_ROWS)


def _is_clearly_faster(found_s: float | None, other_s: float) -> bool:
    return found_s is not None and found_s < _CLEARLY * other_s


def _row_s(model: HybridOnnxModel, feeds: Feeds | None, clock: Callable[[], float]) -> float | None:
    """Return the seconds that a row takes; None without feeds, or if the model refuses them."""
    if feeds is None:
        return None
    rows, spent_s = _FEW, 0.0
    for _ in range(2):
        part = {name: array[:rows] for name, array in feeds.items()}
        try:
            # The best of some runs: the first prepares memory, and other processes disturb.
            spent_s = min(_spent_s(model, part, clock) for _ in range(_RUNS))
        except HybridModelError:
            return None
        if spent_s > _AT_ONCE_S or rows == _MANY:
            break
        rows = _MANY
    return spent_s / rows


def _spent_s(model: HybridOnnxModel, feeds: Feeds, clock: Callable[[], float]) -> float:
    started = clock()
    model.local.run(feeds, model.spec.output_names)
    return clock() - started


def _zeros(model: HybridOnnxModel, rows: int) -> Feeds | None:
    """Return rows of zeros and empty texts; None if the shape of a row is not known."""
    feeds: Feeds = {}
    for spec in model.inputs:
        shape = _row_shape(spec, model.feature_names)
        if shape is None:
            return None
        fill: Any = "" if spec.dtype.kind == "O" else 0
        feeds[spec.name] = np.full((rows, *shape), fill, spec.dtype)
    return feeds


def _row_shape(spec: TensorSpec, names: list[str] | None) -> tuple[int, ...] | None:
    if not spec.batched or spec.unranked:
        return None
    shape = spec.shape[1:]
    if shape == (WILDCARD,) and names is not None:
        return (len(names),)
    return None if WILDCARD in shape else shape


def available_cores() -> int:
    """Return how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # Not on every system.
        return os.cpu_count() or 1
