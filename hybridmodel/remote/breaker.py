"""A circuit breaker: what has failed again and again is left alone for a while.

No I/O, and no call waits for another: the lock is held for changes of the state only.
Source of the pattern: M. Nygard, Release It!, 2nd ed. (2018), chapter 5.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from hybridmodel.exceptions import CircuitOpen, EndpointError, HybridModelError, InputMismatch
from hybridmodel.remote.faults import fault_of

_LEASE_S = 2.0
"""So long nobody else tries while a probe is under way: it may hang, or be lost altogether."""

_CLOSED, _OPEN, _PROBING = "closed", "open", "half-open"


class _State(NamedTuple):
    """What a breaker knows; each change makes another one.

    `round` counts the failures that counted and the changes of name; the last of these was at
    `changed`. `since` are POSIX seconds; `until` is by the breaker's clock the end of the pause,
    or that of the probe's time alone.
    """

    name: str = _CLOSED
    round: int = 0
    changed: int = 0
    failures: int = 0
    since: float = 0.0
    until: float = 0.0
    cause: str = ""

    def closed(self) -> _State:
        state = self._replace(failures=0)
        return state if self.name == _CLOSED else state._named(_CLOSED, 0.0)

    def opened(self, until: float) -> _State:
        return self._named(_OPEN, until)

    def probed(self, until: float) -> _State:
        """Let another probe through; what the one before it finds out counts as well."""
        if self.name == _PROBING:
            return self._replace(round=self.round + 1, until=until)
        return self._named(_PROBING, until)

    def _named(self, name: str, until: float) -> _State:
        at = self.round + 1
        return self._replace(name=name, round=at, changed=at, until=until)


class Breaker:
    """Count failures in a row; after so many let nothing through, and later one request as a probe.

    A probe that has no news after two seconds is not waited for: the next request is one as well.

    Requests that were under way together and failed together count once: a server that restarts
    under sixteen threads has failed once, and may be there again at the next attempt.

    Parameters
    ----------
    failures : int or None
        In a row, that open it; None never does.
    reset_s : float
        For how long nothing is let through, in seconds.
    clock : callable, default=time.monotonic
        Tells the time in seconds.
    now : callable, default=time.time
        Tells the date as POSIX seconds, for messages.
    """

    def __init__(
        self,
        failures: int | None,
        reset_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._most = failures
        self._reset_s = reset_s
        self._clock = clock
        self._now = now
        self.reset()

    def reset(self) -> None:
        """Close it, and forget what was counted."""
        self._lock = threading.Lock()
        # Changed by one assignment: an interrupt finds the one state or the other.
        self._state = _State()

    @property
    def is_open(self) -> bool:
        """Whether a request would, or might, not be let through now."""
        return self._state.name != _CLOSED

    def check(self) -> None:
        """Raise what `admit` would, without becoming the probe.

        Raises
        ------
        CircuitOpen
            If nothing is let through now.
        """
        if self._state.name != _CLOSED:
            self._raise_if_shut(self._state)

    def admit(self) -> int:
        """Let one request through, and return the number that `note` wants with its result.

        Raises
        ------
        CircuitOpen
            If nothing is let through now: tells since when, why, and when again.
        """
        state = self._state
        if state.name == _CLOSED:
            return state.round
        with self._lock:
            state = self._state
            self._raise_if_shut(state)
            if state.name != _CLOSED:
                self._state = state = state.probed(self._clock() + min(self._reset_s, _LEASE_S))
            return state.round

    def note(self, admitted: int, error: BaseException | None, waited_s: float) -> None:
        """Take in how a request ended; the second time does nothing.

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
        state = self._state
        if error is None and state.name == _CLOSED and not state.failures:
            return
        with self._lock:
            state = self._state
            if admitted < state.changed:
                return
            failed = _failed(error, waited_s)
            if failed is False:
                self._state = state.closed()
            elif admitted != state.round:
                return
            elif failed:
                self._state = self._after(state, error)
            elif state.name == _PROBING:
                # The next call is the probe then, at once.
                self._state = state.opened(self._clock())

    def _after(self, state: _State, error: BaseException | None) -> _State:
        """Return what another failure makes of a state."""
        state = state._replace(failures=state.failures + 1, round=state.round + 1)
        if state.name != _PROBING:
            if self._most is None or state.failures < self._most:
                return state
            state = state._replace(since=self._now())
        cause = error.message if isinstance(error, EndpointError) else ""
        return state._replace(cause=cause).opened(self._clock() + self._reset_s)

    def _raise_if_shut(self, state: _State) -> None:
        left_s = state.until - self._clock()
        if state.name == _CLOSED or left_s <= 0:
            return
        since = datetime.fromtimestamp(state.since, UTC)
        again = f"tried again in {max(left_s, 0.1):.1f} s"
        if state.name == _PROBING:
            again = f"being tried by another call, and {again} at the latest"
        raise CircuitOpen(
            f"not asked, after {state.failures} failures in a row since {since:%H:%M:%S} UTC; "
            f"{again}; the last failure: {state.cause}",
            retry_after_s=left_s,
            attempts=0,
        )


def _failed(error: BaseException | None, waited_s: float) -> bool | None:
    """Tell whether it speaks against the endpoint; None if it says nothing about its health."""
    if isinstance(error, EndpointError):
        fault = fault_of(error)
        return None if waited_s < fault.fair_s else _SPEAKS_AGAINST[fault.breaker]
    answered = error is None or isinstance(error, HybridModelError)
    return None if not answered or isinstance(error, InputMismatch) else False


_SPEAKS_AGAINST = {"failure": True, "answer": False, "nothing": None}
