"""What becomes of the requests of a test, and when, by a time of its own."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass

from hybridmodel.checks import shown
from hybridmodel.exceptions import ConfigurationError, EndpointTimeout, EndpointUnavailable
from hybridmodel.remote.http.connection import Reply
from hybridmodel.remote.resilience import Deadline

TICK_S = 0.001

_ROUNDING_S = 1e-6
"""An answer after exactly the time that there is comes too late, whatever floats make of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What becomes of a request after so many seconds: a reply, or with None the answer."""

    reply: Reply | None = None
    seconds: float = 0.0
    connects: bool = True


_ANSWERED = Event()


class FakeTime:
    """Seconds that pass only when somebody waits; one time for all threads."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._lock = threading.Lock()

    def now(self) -> float:
        """Return the seconds that have passed."""
        return self._seconds

    def sleep(self, seconds: float) -> None:
        """Let seconds pass."""
        with self._lock:
            self._seconds += seconds


class Script:
    """The events of the next requests, and the one that holds after them."""

    def __init__(self, clock: FakeTime) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self.recover()

    def recover(self) -> None:
        """Forget all events, so that requests are answered."""
        with self._lock:
            self._next: deque[Event] = deque()
            self._lasting = _ANSWERED

    def plan(self, event: Event, times: int | None) -> None:
        """Add an event for so many requests, or with None for all later ones."""
        if times is not None and (type(times) is not int or times < 1):
            raise ConfigurationError(f"times is a whole number from 1, not {shown(times)}")
        with self._lock:
            if times is None:
                self._lasting = event
            else:
                self._next.extend([event] * times)

    def play(self, deadline: Deadline, *, counts: bool) -> Reply | None:
        """Let the next event happen: return its reply, or raise; `counts` says if it is over."""
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
        """Let seconds pass, but no more than there are, and tell whether there were enough."""
        if deadline.clock == self._clock.now:
            left_s = deadline.remaining_s()
            self._clock.sleep(min(seconds, left_s))
            return seconds >= left_s - _ROUNDING_S
        # The thread that waits for a hedged request knows the real time only.
        until = time.monotonic() + seconds
        while deadline.remaining_s() and time.monotonic() < until:
            time.sleep(TICK_S)
        return not deadline.remaining_s()
