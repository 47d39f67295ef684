"""The loop of attempts: one request sent until it is answered, refused, or not worth another."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from hybridmodel.exceptions import EndpointError
from hybridmodel.process.counters import Counters
from hybridmodel.remote.endpoint_state import EndpointState
from hybridmodel.remote.exchange import Call, Exchanger
from hybridmodel.remote.faults import fault_of
from hybridmodel.remote.resilience import RetryPolicy

T = TypeVar("T")

_log = logging.getLogger("hybridmodel")


class Retrier:
    """Sends the requests of one client.

    Parameters
    ----------
    exchanger : Exchanger
        Knows the endpoint, and asks for another key.
    state : EndpointState
        Says whether a request may be sent now, and again.
    counters : Counters
        Count requests, retries and failures.
    policy : RetryPolicy
        How often, and after which pauses.
    sleep : callable
        Waits for so many seconds.
    """

    def __init__(
        self,
        exchanger: Exchanger,
        state: EndpointState,
        counters: Counters,
        policy: RetryPolicy,
        sleep: Callable[[float], None],
    ) -> None:
        self._exchanger = exchanger
        self._state = state
        self._counters = counters
        self._policy = policy
        self.sleep = sleep

    def run(self, call: Call, send: Callable[[Call], tuple[T, int]]) -> tuple[T, int]:
        """Call `send` until it gives an answer.

        Parameters
        ----------
        call : Call
            What all attempts share; a later one may have another key.
        send : callable
            Makes one attempt; the number that it returns is that of the requests it took.

        Returns
        -------
        tuple of (what `send` returned, int)
            The number is that of all requests.

        Raises
        ------
        EndpointError
            That of the last attempt.
        """
        attempt = sent = 0
        while True:
            attempt += 1
            started = time.perf_counter()
            try:
                value, requests = self._state.run(call.deadline, send, call)
            except EndpointError as error:
                # What was raised before the request lacks its context.
                if error.endpoint is None:
                    self._exchanger.with_context(call, error)
                self._note(attempt, error.attempts, started, error)
                sent = error.attempts = sent + error.attempts
                call = self._next_call(call, error, attempt)
            else:
                self._state.budget.record_success()
                self._note(attempt, requests, started, None)
                return value, sent + requests

    def _note(
        self, attempt: int, requests: int, started: float, error: EndpointError | None
    ) -> None:
        if requests:
            self._counters.add("requests", requests)
        if error is not None:
            self._counters.add(f"failed.{type(error).__name__}")
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug(
                "route azure, attempt %d at %s: %s after %.1f ms",
                attempt,
                self._exchanger.endpoint.model_url,
                "answered" if error is None else f"{type(error).__name__}, status {error.status}",
                (time.perf_counter() - started) * 1e3,
            )

    def _next_call(self, call: Call, error: EndpointError, attempt: int) -> Call:
        """Return what the next attempt is made with, after the pause before it, or raise."""
        fault = fault_of(error)
        # A 401 behind a 424 is no news of this key: the server behind the endpoint answered it.
        if fault.retry == "new key" and str(error.status) == fault.name and not call.renewed:
            try:
                key = self._exchanger.keys.other_than(call.key, call.deadline)
            except EndpointError as failed:
                failed.attempts = error.attempts
                raise self._exchanger.with_context(call, failed) from failed.__cause__
            if key is not None:
                return replace(call, key=key, earlier_key=call.key, renewed=True)
        if not call.retry:
            raise error
        pause_s = self._policy.pause_s(error, attempt, call.deadline)
        if pause_s is None or not self._state.budget.take():
            raise error
        self._counters.add("retries")
        _log.info(
            "attempt %d at %s failed (%s), another in %.3f s",
            attempt,
            self._exchanger.endpoint.model_url,
            type(error).__name__,
            pause_s,
        )
        self.sleep(pause_s)
        return call
