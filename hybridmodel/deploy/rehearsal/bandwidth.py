"""How long bytes have to wait so that no more than some pass in a second. No I/O."""

from __future__ import annotations

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
