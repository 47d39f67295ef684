"""What all clients of one endpoint share in a process: who may ask it now, and how often again."""

from __future__ import annotations

import threading
import weakref
from types import TracebackType

from hybridmodel.exceptions import RateLimited
from hybridmodel.per_process import PerProcess, reset_in_child
from hybridmodel.remote.breaker import Breaker
from hybridmodel.remote.endpoint import TritonEndpoint
from hybridmodel.remote.in_flight import InFlight
from hybridmodel.remote.resilience import Deadline, RetryBudget


class Gate:
    """One endpoint's breaker, its requests under way, and its budget of retries.

    Parameters
    ----------
    endpoint : TritonEndpoint
        Says how many failures, requests and seconds.
    """

    def __init__(self, endpoint: TritonEndpoint) -> None:
        self.breaker = Breaker(
            endpoint.breaker_failures, endpoint.breaker_reset_s, endpoint.model_url
        )
        self.in_flight = InFlight(endpoint.max_in_flight)
        self.budget = RetryBudget()
        reset_in_child(self)

    def reset(self) -> None:
        """Start anew, with nothing under way."""
        self.breaker.reset()
        self.in_flight.reset()
        self.budget = RetryBudget()

    def admit(self, deadline: Deadline) -> Admission:
        """Return the context in which one request is made."""
        return Admission(self, deadline)


_GIVEN_UP = InterruptedError("given up")
"""Stands for how a request ended that nobody waited for: it says nothing about the endpoint."""


class Admission:
    """One request, from its turn to its end.

    Entering it raises `CircuitOpen` when the endpoint is left alone, and `EndpointTimeout` when the
    request's turn does not come in time.
    """

    __slots__ = ("_admitted", "_deadline", "_entered", "_gate")

    def __init__(self, gate: Gate, deadline: Deadline) -> None:
        self._gate = gate
        self._deadline = deadline
        self._entered = self._admitted = 0

    def __enter__(self) -> None:
        """Wait for the request's turn."""
        gate = self._gate
        gate.breaker.check()
        self._entered = gate.in_flight.enter(self._deadline)
        try:
            # Once more: it may have opened in the meantime.
            self._admitted = gate.breaker.admit()
        except BaseException:
            gate.in_flight.leave(self._entered, limited=False, answered=False)
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take in how it ended."""
        self._gate.in_flight.leave(
            self._entered,
            limited=isinstance(error, RateLimited),
            answered=error is None,
        )
        ended = _GIVEN_UP if self._deadline.given_up else error
        self._gate.breaker.note(self._admitted, ended, self._deadline.timeout_s)


_gates: weakref.WeakValueDictionary[TritonEndpoint, Gate] = weakref.WeakValueDictionary()
_making: PerProcess[threading.Lock] = PerProcess()


def gate_of(endpoint: TritonEndpoint) -> Gate:
    """Return the one gate of an endpoint in this process; it lives as long as a client of it."""
    with _making.get(threading.Lock):
        gate = _gates.get(endpoint)
        if gate is None:
            gate = _gates[endpoint] = Gate(endpoint)
        return gate
