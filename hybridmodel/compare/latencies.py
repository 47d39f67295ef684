"""How long calls took: a sample of bounded size, and what it says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_KEPT = 1024
_SEED = 0


@dataclass(frozen=True)
class Latency:
    """How long the calls of one side took.

    Attributes
    ----------
    calls : int
        All of them.
    p50_s, p95_s, p99_s : float
        Of a sample: half, 95 % and 99 % of the calls took at most so long.
    max_s : float
        Of all calls.
    """

    calls: int
    p50_s: float
    p95_s: float
    p99_s: float
    max_s: float


class Latencies:
    """A stream of durations, of which a sample is kept; not safe to share between threads.

    Each has the same chance to be in the sample: algorithm R of J. S. Vitter, "Random Sampling
    with a Reservoir", ACM Transactions on Mathematical Software 11 (1985).
    """

    def __init__(self) -> None:
        self._kept: list[float] = []
        self._calls = 0
        self._longest_s = 0.0
        self._random = np.random.default_rng(_SEED)

    def add(self, duration_s: float) -> None:
        """Take in how long one call took, in seconds."""
        self._calls += 1
        self._longest_s = max(self._longest_s, duration_s)
        if len(self._kept) < _KEPT:
            self._kept.append(duration_s)
            return
        place = int(self._random.integers(self._calls))
        if place < _KEPT:
            self._kept[place] = duration_s

    def sample(self) -> tuple[float, ...]:
        """Return the durations that were kept, in seconds."""
        return tuple(self._kept)

    def summary(self) -> Latency | None:
        """Return what is known, None before the first call."""
        if not self._kept:
            return None
        p50_s, p95_s, p99_s = np.quantile(self._kept, (0.5, 0.95, 0.99)).tolist()
        return Latency(self._calls, p50_s, p95_s, p99_s, self._longest_s)
