"""What all clients of one endpoint share in a process: who may ask it now, and how often again."""

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
from hybridmodel.remote.endpoint import TritonEndpoint
from hybridmodel.remote.in_flight import InFlight, Turn
from hybridmodel.remote.resilience import Deadline, RetryBudget

_THREADS_FOR_EACH = 4
"""For each request that may be under way: more callers than that cut their calls one by one."""

T = TypeVar("T")
R = TypeVar("R")


class Gate:
    """One endpoint's breaker, its requests under way, its threads, and its budget of retries.

    Parameters
    ----------
    endpoint : TritonEndpoint
        Says how many failures, requests and seconds.
    clock : callable, default=time.monotonic
        Tells the breaker the time in seconds.
    """

    def __init__(
        self, endpoint: TritonEndpoint, clock: Callable[[], float] = time.monotonic
    ) -> None:
        failures, reset_s = endpoint.breaker_failures, endpoint.breaker_reset_s
        self.breaker = Breaker(failures, reset_s, endpoint.model_url, clock=clock)
        self.in_flight = InFlight(endpoint.max_in_flight)
        self.budget = RetryBudget()
        self.hedging = Crew(endpoint.max_in_flight)
        self.chunks = Crew(_THREADS_FOR_EACH * endpoint.max_in_flight)
        reset_in_child(self)

    def reset(self) -> None:
        """Start anew, with nothing under way."""
        self.breaker.reset()
        self.in_flight.reset()
        self.budget = RetryBudget()

    def run(self, deadline: Deadline, function: Callable[[T], R], argument: T) -> R:
        """Make one request when it is its turn, and take in how it ended.

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
            If its turn does not come in time.
        BaseException
            What `function` raises.
        """
        turn = Turn(deadline)
        admitted: int | None = None
        error: BaseException | None = None
        try:
            try:
                self.breaker.check()
                self.in_flight.enter(turn)
                # Once more: it may have opened in the meantime.
                admitted = self.breaker.admit()
                return function(argument)
            except BaseException as raised:
                error = raised
                raise
            finally:
                self._end(turn, admitted, error)
        finally:
            # For a handler of a signal that raised before the first could do it.
            self._end(turn, admitted, error)
            error = None  # It refers to this frame.

    def _end(self, turn: Turn, admitted: int | None, error: BaseException | None) -> None:
        if turn.over:
            return
        if admitted is not None:
            ended = _GIVEN_UP if turn.deadline.given_up else error
            self.breaker.note(admitted, ended, turn.deadline.timeout_s)
        limited, answered = isinstance(error, RateLimited), error is None
        self.in_flight.leave(turn, limited=limited, answered=answered)
        turn.over = True


_GIVEN_UP = InterruptedError("given up")
"""Stands for how a request ended that nobody waited for: it says nothing about the endpoint."""

_gates: weakref.WeakValueDictionary[TritonEndpoint, Gate] = weakref.WeakValueDictionary()
_making: PerProcess[threading.Lock] = PerProcess()


def gate_of(endpoint: TritonEndpoint) -> Gate:
    """Return the one gate of an endpoint in this process; it lives as long as a client of it."""
    with _making.get(threading.Lock):
        gate = _gates.get(endpoint)
        if gate is None:
            gate = _gates[endpoint] = Gate(endpoint)
        return gate
