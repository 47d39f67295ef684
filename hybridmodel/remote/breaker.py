"""A circuit breaker: an endpoint that fails again and again is not asked for a while.

No I/O, and no call waits for another: the lock is held for changes of the state only.
Source of the pattern: M. Nygard, Release It!, 2nd ed. (2018), chapter 5.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import NamedTuple

from hybridmodel.exceptions import CircuitOpen, EndpointError, HybridModelError, InputMismatch
from hybridmodel.process.per_process import reset_in_child
from hybridmodel.remote.faults import fault_of
from hybridmodel.remote.resilience import Clock

_LEASE_S = 2.0
"""No other request is let through for so long after a probe, which may hang or be lost."""

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
        return state if self.name == _CLOSED else state.named(_CLOSED, 0.0)

    def probed(self, until: float) -> _State:
        """Let another probe through; what the one before it finds out counts as well."""
        if self.name == _PROBING:
            return self._replace(round=self.round + 1, until=until)
        return self.named(_PROBING, until)

    def named(self, name: str, until: float) -> _State:
        at = self.round + 1
        return self._replace(name=name, round=at, changed=at, until=until)


class Breaker:
    """Counts failures in a row; after so many it lets nothing through, then one request as a probe.

    A probe that has no result after two seconds is not waited for: the next request is one as well.

    Requests that were under way together and failed together count once: a server that restarts
    under sixteen threads has failed once, and may be there again at the next attempt. Without a
    number of `failures` it never opens. `now` tells the date as POSIX seconds, for messages.
    """

    def __init__(
        self, failures: int | None, reset_s: float, *, clock: Clock, now: Clock = time.time
    ) -> None:
        self._most = failures
        self._reset_s = reset_s
        self._clock = clock
        self._now = now
        self.reset()
        reset_in_child(self)

    def reset(self) -> None:
        """Close it, and forget what was counted."""
        self._lock = threading.Lock()
        # Changed by one assignment: an interrupt finds the one state or the other.
        self._state = _State()

    @property
    def is_open(self) -> bool:
        """Whether a request would, or might, not be let through now."""
        return self._state.name != _CLOSED

    @property
    def is_shut(self) -> bool:
        """Whether a request would not be let through now, not even as a probe."""
        state = self._state
        return state.name != _CLOSED and state.until > self._clock()

    def check(self) -> None:
        """Raise what `admit` would, without becoming the probe."""
        self._raise_if_shut(self._state)

    def admit(self) -> int:
        """Let one request through, and return the number that `note` needs with its result.

        Raises `CircuitOpen` if nothing is let through now; it tells since when, why, and when
        again.
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
        """Note how the request with this number ended; the second time has no effect.

        Results of requests that were let through before the state last changed are out of date and
        have no effect either. `waited_s` says how long the call was ready to wait.
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
                self._state = state.named(_OPEN, self._clock())

    def _after(self, state: _State, error: BaseException | None) -> _State:
        """Return what another failure makes of a state."""
        state = state._replace(failures=state.failures + 1, round=state.round + 1)
        if state.name != _PROBING:
            if self._most is None or state.failures < self._most:
                return state
            state = state._replace(since=self._now())
        cause = error.message if isinstance(error, EndpointError) else ""
        return state._replace(cause=cause).named(_OPEN, self._clock() + self._reset_s)

    def _raise_if_shut(self, state: _State) -> None:
        if state.name == _CLOSED or (left_s := state.until - self._clock()) <= 0:
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
