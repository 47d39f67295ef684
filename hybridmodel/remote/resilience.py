"""How long a call may take. No I/O: the clock is injected."""

from __future__ import annotations

import time
from collections.abc import Callable

from hybridmodel.exceptions import EndpointTimeout

Clock = Callable[[], float]
"""Tells the time in seconds."""

LONGEST_WAIT_S = 0.25
"""No single wait takes longer, so that a call that was given up notices it soon."""


class Deadline:
    """The moment at which a call must have ended, whatever it is doing.

    It is `timeout_s` from now by its clock; `given_up` says that the caller has ended it.
    """

    _parts: tuple[Deadline, ...] = ()

    def __init__(self, timeout_s: float, clock: Clock = time.monotonic) -> None:
        self.timeout_s = timeout_s
        self.clock = clock
        self._end = clock() + timeout_s
        self.given_up = False

    def part(self, share: float = 1.0) -> Deadline:
        """Return one with a share of the time left, that ends with this one or by itself."""
        part = Deadline(self.timeout_s, self.clock)
        # Before it is looked at when this one ends: that may happen meanwhile.
        self._parts = (*self._parts, part)
        part._end, part.given_up = self._end, self.given_up
        if share < 1:
            part.timeout_s = share * self.remaining_s()
            part._end = self.clock() + part.timeout_s
        return part

    def another(self) -> Deadline:
        """Return one that passes at the same moment, but does not end with this one."""
        other = Deadline(self.timeout_s, self.clock)
        other._end = self._end
        return other

    def end(self) -> None:
        """Let it pass now: what goes on with it stops at its next step."""
        self._end = self.clock()
        self.given_up = True
        for part in self._parts:
            part.end()

    def run_out(self) -> None:
        """Let it pass now, as if no more time had been given."""
        now = self.clock()
        self.timeout_s -= max(0.0, self._end - now)
        self._end = now
        for part in self._parts:
            part.run_out()

    def remaining_s(self) -> float:
        """Return the seconds left, 0.0 once it has passed."""
        return max(0.0, self._end - self.clock())

    def over_s(self) -> float:
        """Return for how many seconds it has been over, 0.0 before."""
        return max(0.0, self.clock() - self._end)

    def check(self, doing: str) -> float:
        """Return the seconds left, or raise an `EndpointTimeout` that tells what was going on."""
        left = self._end - self.clock()
        if left <= 0:
            raise EndpointTimeout(f"the deadline of {self.timeout_s:g} s passed while {doing}")
        return left
