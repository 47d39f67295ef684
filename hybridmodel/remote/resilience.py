"""How long a call may take. No I/O; the clock is injected."""

from __future__ import annotations

import time
from collections.abc import Callable

from hybridmodel.exceptions import EndpointTimeout


class Deadline:
    """The moment at which a call must have ended, whatever it is doing.

    Parameters
    ----------
    timeout_s : float
        Time from now, in seconds.
    clock : callable, default=time.monotonic
        Tells the time in seconds.
    """

    def __init__(self, timeout_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.timeout_s = timeout_s
        self._clock = clock
        self._end = clock() + timeout_s

    def remaining_s(self) -> float:
        """Return the seconds left, 0.0 once it has passed."""
        return max(0.0, self._end - self._clock())

    def check(self, doing: str) -> float:
        """Return the seconds left.

        Raises
        ------
        EndpointTimeout
            If none are; `doing` says what was going on.
        """
        left = self._end - self._clock()
        if left <= 0:
            raise EndpointTimeout(f"the deadline of {self.timeout_s:g} s passed while {doing}")
        return left
