"""How much passes in a second: bytes wait for their turn, requests are refused. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

_TOLERATED_S = 0.01
"""Shorter delays are carried over to the next bytes: no timer is that fine."""


class Bandwidth:
    """One direction of an endpoint's bandwidth."""

    def __init__(self, bytes_per_s: float, clock: Callable[[], float]) -> None:
        self._bytes_per_s, self._clock = bytes_per_s, clock
        self._free_at = clock()

    def delay_s(self, size_bytes: int) -> float:
        """Note bytes that pass next, and return how long they wait; 0 below what can be timed."""
        now = self._clock()
        self._free_at = max(now, self._free_at) + size_bytes / self._bytes_per_s
        delay_s = self._free_at - now
        return delay_s if delay_s > _TOLERATED_S else 0.0


class Rate:
    """Takes so many in any second; what it refuses does not count."""

    def __init__(self, most_per_s: int, clock: Callable[[], float]) -> None:
        self._most_per_s, self._clock = most_per_s, clock
        self._taken: deque[float] = deque(maxlen=most_per_s)

    def takes(self) -> bool:
        """Count one more; return whether it is taken."""
        now, taken = self._clock(), self._taken
        if len(taken) == self._most_per_s and now - taken[0] <= 1.0:
            return False
        taken.append(now)
        return True
