"""What all clients of one endpoint share in a process: breaker, limiter, threads, retry budget."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from typing import TypeVar

from hybridmodel.exceptions import RateLimited
from hybridmodel.process.bounded import Crew
from hybridmodel.process.per_process import PerProcess, reset_in_child
from hybridmodel.remote.breaker import Breaker
from hybridmodel.remote.concurrency import ConcurrencyLimiter, Permit
from hybridmodel.remote.endpoint import TritonEndpoint
from hybridmodel.remote.resilience import Deadline, RetryBudget

_THREADS_FOR_EACH = 4
"""For each request that may be under way: more callers than that cut their calls one by one."""

T = TypeVar("T")
R = TypeVar("R")


class EndpointState:
    """One endpoint's breaker, its requests under way, its threads, and its retry budget."""

    def __init__(
        self, endpoint: TritonEndpoint, clock: Callable[[], float] = time.monotonic
    ) -> None:
        failures, reset_s = endpoint.breaker_failures, endpoint.breaker_reset_s
        self.breaker = Breaker(failures, reset_s, clock=clock)
        self.limiter = ConcurrencyLimiter(endpoint.max_in_flight)
        self.budget = RetryBudget()
        self.hedging = Crew(endpoint.max_in_flight)
        self.chunks = Crew(_THREADS_FOR_EACH * endpoint.max_in_flight)
        reset_in_child(self)

    def reset(self) -> None:
        """Start anew, with nothing under way."""
        self.breaker.reset()
        self.limiter.reset()
        self.budget = RetryBudget()

    def run(self, deadline: Deadline, function: Callable[[T], R], argument: T) -> R:
        """Make one request when it is permitted, and note how it ended.

        Parameters
        ----------
        deadline : Deadline
            Of the request.
        function : callable
            Makes it.
        argument : object
            What it gets.

        Raises
        ------
        CircuitOpen
            If the endpoint is left alone.
        EndpointTimeout
            If it is not permitted in time.
        BaseException
            What `function` raises.
        """
        self.breaker.check()
        permit = Permit(deadline)
        admitted: int | None = None
        error: BaseException | None = None
        try:
            try:
                self.limiter.enter(permit)
                # Once more: it may have opened in the meantime.
                admitted = self.breaker.admit()
                return function(argument)
            except BaseException as raised:
                error = raised
                raise
            finally:
                self._end(permit, admitted, error)
        finally:
            # For a handler of a signal that raised before the first could do it.
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


_GIVEN_UP = InterruptedError("given up")
"""How a request ended that nobody waits for: it says nothing about the endpoint."""

_states: weakref.WeakValueDictionary[TritonEndpoint, EndpointState] = weakref.WeakValueDictionary()
_making: PerProcess[threading.Lock] = PerProcess()


def state_of(endpoint: TritonEndpoint) -> EndpointState:
    """Return the one state of an endpoint in this process; it lives as long as a client of it."""
    with _making.get(threading.Lock):
        state = _states.get(endpoint)
        if state is None:
            state = _states[endpoint] = EndpointState(endpoint)
        return state
