"""The attempts of one request: when it may be sent, how that ended, and whether to try again."""

from __future__ import annotations

import logging
import random
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from hybridmodel.exceptions import EndpointError, RateLimited
from hybridmodel.process.bounded import Crew
from hybridmodel.process.counters import Counters
from hybridmodel.process.per_process import PerProcess, reset_in_child
from hybridmodel.process.workers import Workers
from hybridmodel.remote.breaker import Breaker
from hybridmodel.remote.concurrency import ConcurrencyLimiter, Permit
from hybridmodel.remote.endpoint_base import Endpoint
from hybridmodel.remote.exchange import Call, Exchanger
from hybridmodel.remote.faults import fault_of
from hybridmodel.remote.resilience import Clock, Deadline

_THREADS_FOR_EACH = 4
"""For each request that may be under way; further callers send their chunks one by one."""

_GIVEN_UP = InterruptedError("given up")
"""The end of a request that was given up, which says nothing about the endpoint."""

T = TypeVar("T")

_log = logging.getLogger("hybridmodel")


@dataclass(frozen=True)
class RetryPolicy:
    """How often, and after which pause, a request is sent again.

    The pause is drawn from 0 up to a bound that doubles each time ("full jitter"), so that many
    clients that failed together do not come back together; never less than the server asked for.
    `max_attempts` includes the first; `random` returns a number from 0 to 1.
    """

    max_attempts: int = 3
    base_s: float = 0.5
    cap_s: float = 10.0
    random: Callable[[], float] = random.random

    def pause_s(self, error: EndpointError, attempt: int, deadline: Deadline) -> float | None:
        """Return how long to wait before the next attempt, None for not trying again.

        `attempt` is the number of the last one, from 1. No pause is begun that would reach the
        deadline.
        """
        if attempt >= self.max_attempts or fault_of(error).retry != "yes":
            return None
        pause_s = self.drawn_s(error, attempt)
        return pause_s if pause_s < deadline.remaining_s() else None

    def drawn_s(self, error: EndpointError, attempt: int) -> float:
        """Return how long to wait before another attempt, if there is to be one."""
        pause_s: float = self.random() * min(self.cap_s, self.base_s * 2 ** (attempt - 1))
        asked_s: float | None = getattr(error, "retry_after_s", None)
        return max(pause_s, asked_s or 0.0)


class RetryBudget:
    """Keep retries from multiplying the load of an endpoint that is down already.

    Each retry takes a token, each good answer gives a tenth of one back; below half of the tokens
    nothing is retried. Safe to share between threads. Source: gRPC's retry throttling (its
    proposal A6).
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

    @property
    def spare(self) -> int:
        """The number of tokens that may be taken now."""
        return -(-(2 * self._tenths - self._most_tenths) // 20)

    def record_success(self) -> None:
        """Note a good answer."""
        if self._tenths < self._most_tenths:
            with self._lock:
                self._tenths = min(self._most_tenths, self._tenths + 1)


class EndpointState:
    """What all clients of one endpoint share in a process: breaker, limiter, threads, budget."""

    def __init__(self, endpoint: Endpoint, clock: Clock = time.monotonic) -> None:
        failures, reset_s = endpoint.breaker_failures, endpoint.breaker_reset_s
        self.breaker = Breaker(failures, reset_s, clock=clock)
        self.limiter = ConcurrencyLimiter(endpoint.max_in_flight)
        self.budget = RetryBudget()
        self.hedging = Crew(endpoint.max_in_flight)
        self.chunks = Crew(_THREADS_FOR_EACH * endpoint.max_in_flight)
        self.senders = Workers(endpoint.max_in_flight, "hybridmodel-sender")
        reset_in_child(self)

    def reset(self) -> None:
        """Start anew, as breaker and limiter do by themselves."""
        self.budget = RetryBudget()

    def run(self, call: Call, send: Callable[[Call], T]) -> T:
        """Send one request when it is permitted, and note how it ended.

        Raises what `send` does, `CircuitOpen` where the breaker is open, and `EndpointTimeout`
        where it is not permitted in time.
        """
        permit = Permit(call.deadline)
        admitted: int | None = None
        error: BaseException | None = None
        try:
            try:
                self.limiter.enter(permit, first=self.breaker.check)
                admitted = self.breaker.admit()
                return send(call)
            except BaseException as raised:
                error = raised
                raise
            finally:
                self._end(permit, admitted, error)
        finally:
            # For a handler of a signal that raised before the first could do it.
            if not permit.over:
                self._end(permit, admitted, error)
            error = None  # It refers to this frame.

    def _end(self, permit: Permit, admitted: int | None, error: BaseException | None) -> None:
        if permit.over:
            return
        if admitted is not None:
            ended = _GIVEN_UP if permit.deadline.given_up else error
            self.breaker.note(admitted, ended, permit.deadline.timeout_s)
        limited, answered = isinstance(error, RateLimited), error is None
        self.limiter.leave(permit, limited=limited, answered=answered)
        permit.over = True


_states: weakref.WeakValueDictionary[Endpoint, EndpointState] = weakref.WeakValueDictionary()
_making: PerProcess[threading.Lock] = PerProcess()


def state_of(endpoint: Endpoint) -> EndpointState:
    """Return the one state of an endpoint in this process; it lives as long as a client of it."""
    with _making.get(threading.Lock):
        state = _states.get(endpoint)
        if state is None:
            state = _states[endpoint] = EndpointState(endpoint)
        return state


@dataclass
class Retrier:
    """Sends the requests of one client, each until it is answered or not worth another attempt."""

    exchanger: Exchanger
    state: EndpointState
    counters: Counters
    policy: RetryPolicy
    sleep: Callable[[float], None]

    def run(self, call: Call, send: Callable[[Call], tuple[T, int]]) -> tuple[T, int]:
        """Call `send` until it gives an answer; raises the `EndpointError` of the last attempt.

        A later attempt may have another key. The numbers that `send` and this method return beside
        the answer are those of the requests that it took.
        """
        attempt = sent = 0
        while True:
            attempt += 1
            started = time.perf_counter()
            try:
                value, requests = self.state.run(call, send)
            except EndpointError as error:
                # What was raised before the request lacks its context.
                if error.endpoint is None:
                    self.exchanger.with_context(call, error)
                self._note(attempt, error.attempts, started, error)
                sent = error.attempts = sent + error.attempts
                call = self._next_call(call, error, attempt)
            else:
                self.state.budget.record_success()
                self._note(attempt, requests, started, None)
                return value, sent + requests

    def _note(
        self, attempt: int, requests: int, started: float, error: EndpointError | None
    ) -> None:
        if requests:
            self.counters.add("requests", requests)
        if error is not None:
            self.counters.add(f"failed.{type(error).__name__}")
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug(
                "route azure, attempt %d at %s: %s after %.1f ms",
                attempt,
                self.exchanger.endpoint.model_url,
                "answered" if error is None else f"{type(error).__name__}, status {error.status}",
                (time.perf_counter() - started) * 1e3,
            )

    def _next_call(self, call: Call, error: EndpointError, attempt: int) -> Call:
        """Return what the next attempt is made with, after the pause before it, or raise."""
        fault = fault_of(error)
        # A 401 behind a 424 says nothing about this key: it is from the server behind the endpoint.
        if fault.retry == "new key" and str(error.status) == fault.name and not call.renewed:
            try:
                key = self.exchanger.keys.other_than(call.key, call.deadline)
            except EndpointError as failed:
                failed.attempts = error.attempts
                raise self.exchanger.with_context(call, failed) from failed.__cause__
            if key is not None:
                return replace(call, key=key, earlier_key=call.key, renewed=True)
        if not call.retry or self.rest(error, attempt, call.deadline) is None:
            raise error
        return call

    def rest(self, error: EndpointError, attempt: int, deadline: Deadline) -> float | None:
        """Pause before another attempt, and return for how many seconds; None if there is none."""
        pause_s = self.policy.pause_s(error, attempt, deadline)
        if pause_s is None or not self.state.budget.take():
            return None
        self.counters.add("retries")
        _log.info(
            "attempt %d at %s failed (%s), another in %.3f s",
            attempt,
            self.exchanger.endpoint.model_url,
            type(error).__name__,
            pause_s,
        )
        self.sleep(pause_s)
        return pause_s
