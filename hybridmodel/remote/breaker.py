"""A circuit breaker: what has failed again and again is left alone for a while.

No I/O, and no call waits for another: the lock is held for changes of the state only.
Source of the pattern: M. Nygard, Release It!, 2nd ed. (2018), chapter 5.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from hybridmodel.exceptions import (
    CircuitOpen,
    EndpointTimeout,
    EndpointUnavailable,
    HybridModelError,
    InputMismatch,
    RateLimited,
)

_FAIR_S = 0.5
"""Who gives the endpoint less time than that says nothing about it by running out of it."""

_CLOSED, _OPEN, _PROBING = "closed", "open", "half-open"


class Breaker:
    """Count failures in a row; after so many let nothing through, and later one request as a probe.

    Requests that were under way together and failed together count once: a server that restarts
    under sixteen threads has failed once, and may be there again at the next attempt.

    Parameters
    ----------
    failures : int or None
        In a row, that open it; None never does.
    reset_s : float
        For how long nothing is let through, in seconds.
    place : str
        What messages of failures begin with, and is not repeated.
    clock : callable, default=time.monotonic
        Tells the time in seconds.
    now : callable, default=time.time
        Tells the date as POSIX seconds, for messages.
    """

    def __init__(
        self,
        failures: int | None,
        reset_s: float,
        place: str = "",
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._most = failures
        self._reset_s = reset_s
        self._place = f"{place}: "
        self._clock = clock
        self._now = now
        self.reset()

    def reset(self) -> None:
        """Close it, and forget what was counted."""
        self._lock = threading.Lock()
        self._state = _CLOSED
        # Counts the failures that counted and the changes of state; the last of these was at ...
        self._round = self._changed = 0
        self._in_a_row = 0
        self._since = self._until = 0.0
        self._cause = ""

    @property
    def is_open(self) -> bool:
        """Whether a request would, or might, not be let through now."""
        return self._state != _CLOSED

    def check(self) -> None:
        """Raise what `admit` would, without becoming the probe.

        Raises
        ------
        CircuitOpen
            If nothing is let through now.
        """
        if self._state != _CLOSED:
            with self._lock:
                self._raise_if_open()

    def admit(self) -> int:
        """Let one request through, and return the number that `note` wants with its result.

        Raises
        ------
        CircuitOpen
            If nothing is let through now: tells since when, why, and when again.
        """
        if self._state == _CLOSED:
            return self._round
        with self._lock:
            self._raise_if_open()
            if self._state == _OPEN:
                self._change(_PROBING)
            return self._round

    def note(self, admitted: int, error: BaseException | None, waited_s: float) -> None:
        """Take in how a request ended.

        Parameters
        ----------
        admitted : int
            What `admit` returned for it. The news of a request that was let through before the
            state last changed is out of date, and changes nothing.
        error : BaseException or None
            What it ended with.
        waited_s : float
            How long its call was ready to wait, in seconds.
        """
        if error is None and self._state == _CLOSED and not self._in_a_row:
            return
        with self._lock:
            if admitted < self._changed:
                return
            failed = _failed(error, waited_s)
            if failed and admitted == self._round:
                self._fail(error)
            elif failed is False:
                self._close()
            elif failed is None and self._state == _PROBING:
                # The next call is the probe then, at once.
                self._until = self._clock()
                self._change(_OPEN)

    def _fail(self, error: BaseException | None) -> None:
        self._in_a_row += 1
        self._round += 1
        if self._state != _PROBING:
            if self._most is None or self._in_a_row < self._most:
                return
            self._since = self._now()
        self._cause = str(error).removeprefix(self._place)
        self._until = self._clock() + self._reset_s
        self._change(_OPEN)

    def _close(self) -> None:
        self._in_a_row = 0
        if self._state != _CLOSED:
            self._change(_CLOSED)

    def _change(self, state: str) -> None:
        self._state = state
        self._round += 1
        self._changed = self._round

    def _raise_if_open(self) -> None:
        left_s = self._until - self._clock()
        if self._state == _CLOSED or (self._state == _OPEN and left_s <= 0):
            return
        since = datetime.fromtimestamp(self._since, UTC)
        again = f"tried again in {left_s:.1f} s" if left_s > 0 else "being tried by another call"
        raise CircuitOpen(
            f"not asked, after {self._in_a_row} failures in a row since {since:%H:%M:%S} UTC; "
            f"{again}; the last failure: {self._cause}",
            retry_after_s=max(left_s, 0.0),
        )


def _failed(error: BaseException | None, waited_s: float) -> bool | None:
    """Tell whether it speaks against the endpoint; None if it says nothing about it."""
    if error is None:
        return False
    if isinstance(error, (CircuitOpen, InputMismatch)) or not isinstance(error, HybridModelError):
        return None
    if isinstance(error, EndpointTimeout) and error.status is None and waited_s < _FAIR_S:
        return None
    return isinstance(error, EndpointUnavailable) and not isinstance(error, RateLimited)
