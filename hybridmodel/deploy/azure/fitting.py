"""Request settings and probes that fit each other, the model's size and its queue.

Three things must not contradict each other: how many requests the gateway lets through, how many
the server queues, and how long a busy or loading instance may be silent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hybridmodel.deploy.azure.limits import PENDING_PER_RUNNING
from hybridmodel.deploy.azure.records import Probe

_BYTES_LOADED_PER_S = 20_000_000
_LEAST_DELAY_S, _MOST_DELAY_S = 30, 600
_PERIOD_S, _LEAST_FAILURES = 10, 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Requests at a time, and the probe for being alive as for being ready."""

    concurrency: int
    probe: Probe


def fitted(
    *, concurrency: int | None, queue_size: int, request_timeout_s: float, model_bytes: int
) -> Fit:
    """Return settings that fit a server which queues `queue_size` requests.

    The gateway takes twice `concurrency`: with the default it answers 429 before the server's
    queue is full, which callers see as a failed model. Both probes wait for the model to load, and
    the one that restarts instances is patient for longer than a request may take.
    """
    delay_s = _LEAST_DELAY_S + model_bytes // _BYTES_LOADED_PER_S
    failures = max(_LEAST_FAILURES, math.ceil(request_timeout_s / _PERIOD_S) + 1)
    probe = Probe(
        initial_delay_s=min(delay_s, _MOST_DELAY_S),
        period_s=_PERIOD_S,
        failure_threshold=failures,
    )
    return Fit(concurrency=concurrency or max(1, queue_size // PENDING_PER_RUNNING), probe=probe)
