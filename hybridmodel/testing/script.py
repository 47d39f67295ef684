"""The events of a fake endpoint, in a time of its own."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass

from hybridmodel.checks import check_count
from hybridmodel.exceptions import EndpointTimeout, EndpointUnavailable
from hybridmodel.remote.http.connection import Reply
from hybridmodel.remote.resilience import Deadline

TICK_S = 0.001

_ROUNDING_S = 1e-6
"""An answer at exactly the deadline is late, whatever the rounding of floats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """The fate of a request after some seconds: a reply, or with None the answer."""

    reply: Reply | None = None
    seconds: float = 0.0
    connects: bool = True


class Script:
    """The events of the next requests and of all later ones, and the fake's time.

    Its seconds pass only when somebody waits; all threads share them.
    """

    def __init__(self) -> None:
        self._seconds = 0.0
        self._lock = threading.Lock()
        self.recover()

    def now(self) -> float:
        """Return the seconds that have passed."""
        return self._seconds

    def sleep(self, seconds: float) -> None:
        """Let seconds pass."""
        with self._lock:
            self._seconds += seconds

    def recover(self) -> None:
        """Forget all events, so that requests are answered."""
        with self._lock:
            self._next: deque[Event] = deque()
            self._lasting = Event()

    def plan(self, event: Event, times: int | None) -> None:
        """Add an event for a number of requests, or with None for all later ones."""
        with self._lock:
            if times is None:
                self._lasting = event
            else:
                self._next.extend([event] * check_count("times", times, 1, 2**31 - 1))

    def play(self, deadline: Deadline, *, counts: bool) -> Reply | None:
        """Return the next event's reply or raise its error; a request that counts uses it up."""
        with self._lock:
            event = self._next[0] if self._next else self._lasting
            if self._next and counts:
                self._next.popleft()
        deadline.check("waiting to connect")
        if not event.connects:
            raise EndpointUnavailable("no connection (the fake endpoint is disconnected)")
        if self._is_late(event.seconds, deadline):
            raise EndpointTimeout(f"no answer within the deadline of {deadline.timeout_s:g} s")
        return event.reply

    def _is_late(self, seconds: float, deadline: Deadline) -> bool:
        """Let seconds pass until the deadline at most, and tell whether they reach it."""
        if deadline.clock == self.now:
            left_s = deadline.remaining_s()
            self.sleep(min(seconds, left_s))
            return seconds >= left_s - _ROUNDING_S
        # The thread that waits for a hedged request uses real time.
        until = time.monotonic() + seconds
        while deadline.remaining_s() and time.monotonic() < until:
            time.sleep(TICK_S)
        return not deadline.remaining_s()
