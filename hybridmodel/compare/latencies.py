"""How long the last calls took."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

KEPT = 1024  # Calls of which the duration is kept.


@dataclass(frozen=True)
class Latency:
    """How long the calls of one route took.

    Attributes
    ----------
    calls : int
        All of them.
    p50_s, p95_s, p99_s : float
        Half, 95 % and 99 % of the last `KEPT` calls took at most so long.
    max_s : float
        Of all calls.
    """

    calls: int
    p50_s: float
    p95_s: float
    p99_s: float
    max_s: float


class Latencies:
    """Durations of one route's calls, in seconds; not safe to share between threads."""

    def __init__(self) -> None:
        self.last_s: deque[float] = deque(maxlen=KEPT)
        self._calls = 0
        self._longest_s = 0.0

    def add(self, duration_s: float) -> None:
        """Add one call."""
        self.last_s.append(duration_s)
        self._calls += 1
        self._longest_s = max(self._longest_s, duration_s)

    def summary(self) -> Latency | None:
        """Return count, percentiles and maximum; None before the first call."""
        if not self.last_s:
            return None
        p50_s, p95_s, p99_s = np.quantile(self.last_s, (0.5, 0.95, 0.99)).tolist()
        return Latency(self._calls, p50_s, p95_s, p99_s, self._longest_s)
