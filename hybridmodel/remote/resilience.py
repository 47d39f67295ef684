"""How long a call may take, and whether and when it is tried again.

No I/O: clock and randomness are injected. `hybridmodel.remote.retrier` has the loop.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from hybridmodel.exceptions import EndpointError, EndpointTimeout
from hybridmodel.remote.faults import fault_of


class Deadline:
    """The moment at which a call must have ended, whatever it is doing.

    Parameters
    ----------
    timeout_s : float
        Time from now, in seconds.
    clock : callable, default=time.monotonic
        Tells the time in seconds.

    Attributes
    ----------
    timeout_s : float
        As given.
    given_up : bool
        Whether the caller has ended it.
    """

    _parts: tuple[Deadline, ...] = ()

    def __init__(self, timeout_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.timeout_s = timeout_s
        self._clock = clock
        self._end = clock() + timeout_s
        self.given_up = False

    @property
    def clock(self) -> Callable[[], float]:
        """What tells its time."""
        return self._clock

    def part(self, share: float = 1.0) -> Deadline:
        """Return one with a share of the time left, that ends with this one or by itself."""
        part = Deadline(self.timeout_s, self._clock)
        # Before it is looked at when this one ends: that may happen meanwhile.
        self._parts = (*self._parts, part)
        part._end, part.given_up = self._end, self.given_up
        if share < 1:
            part._end = self._clock() + share * self.remaining_s()
        return part

    def end(self) -> None:
        """Let it pass now: what goes on with it stops at its next step."""
        self._end = self._clock()
        self.given_up = True
        for part in self._parts:
            part.end()

    def run_out(self) -> None:
        """Let it pass now, as if no more time had been given."""
        now = self._clock()
        self.timeout_s -= max(0.0, self._end - now)
        self._end = now
        for part in self._parts:
            part.run_out()

    def remaining_s(self) -> float:
        """Return the seconds left, 0.0 once it has passed."""
        return max(0.0, self._end - self._clock())

    def over_s(self) -> float:
        """Return for how many seconds it has been over, 0.0 before."""
        return max(0.0, self._clock() - self._end)

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


@dataclass(frozen=True)
class RetryPolicy:
    """How often, and after which pause, a request is sent again.

    The pause is drawn from 0 up to a bound that doubles each time ("full jitter"), so that many
    clients that failed together do not come back together; never less than the server asked for.

    Attributes
    ----------
    max_attempts : int
        Requests for one call, the first included.
    base_s : float
        Bound of the first pause, in seconds.
    cap_s : float
        Largest bound.
    random : callable
        Gives a number from 0 to 1.
    """

    max_attempts: int = 3
    base_s: float = 0.5
    cap_s: float = 10.0
    random: Callable[[], float] = random.random

    def pause_s(self, error: EndpointError, attempt: int, deadline: Deadline) -> float | None:
        """Return how long to wait before the next attempt, None for not trying again.

        Parameters
        ----------
        error : EndpointError
            How the last attempt ended.
        attempt : int
            Its number, from 1.
        deadline : Deadline
            A pause that would reach it is not begun.
        """
        if attempt >= self.max_attempts or fault_of(error).retry != "yes":
            return None
        pause_s = self.random() * min(self.cap_s, self.base_s * 2 ** (attempt - 1))
        pause_s = max(pause_s, getattr(error, "retry_after_s", None) or 0.0)
        return pause_s if pause_s < deadline.remaining_s() else None


class RetryBudget:
    """Keep retries from multiplying the load of an endpoint that is down already.

    Each retry takes a token, each good answer gives a tenth of one back; below half of the tokens
    nothing is retried. Safe to share between threads. Source: gRPC's retry throttling (its
    proposal A6).

    Parameters
    ----------
    tokens : int, default=10
        At the start, and at the most.
    """

    def __init__(self, tokens: int = 10) -> None:
        self._most_tenths = self._tenths = 10 * tokens
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Take the token of one retry; return whether there was one to take."""
        with self._lock:
            if 2 * self._tenths <= self._most_tenths:
                return False
            self._tenths -= 10
            return True

    def record_success(self) -> None:
        """Note a good answer."""
        if self._tenths < self._most_tenths:
            with self._lock:
                self._tenths = min(self._most_tenths, self._tenths + 1)
