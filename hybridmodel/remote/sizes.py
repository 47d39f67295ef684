"""How much goes into one request: as the endpoint is set up, and as it was found to take.

What was found out is not believed for ever, since servers are replaced and gateways set up anew.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from hybridmodel.exceptions import EndpointRefused, EndpointTimeout
from hybridmodel.process.per_process import reset_in_child
from hybridmodel.remote.chunks import rows_within, size_of
from hybridmodel.remote.concurrency import ConcurrencyLimiter
from hybridmodel.remote.endpoint import TritonEndpoint
from hybridmodel.remote.exchange import Call

Array = np.ndarray[Any, Any]

_AGAIN_S = 60.0
"""After that, more is tried than was once refused."""

_LONGEST_PAUSE_S = 600.0

_ASKED_LATELY_S = 5.0
"""A refusal so shortly after the server said how many rows it takes is about something else."""

_SHARE = 0.25
"""Of a call's time, for finding out whether the server takes more rows by now."""


class RequestSizes:
    """What one request to an endpoint may hold. Safe to share between threads.

    Parameters
    ----------
    endpoint : TritonEndpoint
        Its ``max_batch_size`` and ``max_request_bytes`` are never exceeded.
    ask : callable
        Asks the server how many rows it takes; returns None where it does not say.
    clock : callable
        Tells the time in seconds.
    """

    def __init__(
        self,
        endpoint: TritonEndpoint,
        ask: Callable[[Call], int | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._bytes = _Bytes(endpoint.max_request_bytes, clock)
        self._rows = endpoint.max_batch_size or sys.maxsize
        self._learns_rows = endpoint.max_batch_size is None
        self._asked_at = -sys.float_info.max
        self._asking = ConcurrencyLimiter(1)
        reset_in_child(self._asking)

    def rows_for(self, call: Call, feeds: Mapping[str, Array], rows: int) -> int:
        """Return how many of so many rows to send at a time; at least one."""
        if self._rows < rows and self._learns_rows and self._asked_s_ago() >= _AGAIN_S:
            self._learn(replace(call, deadline=call.deadline.part(_SHARE)))
        return self._fitting(feeds, rows)

    def told_for(self, call: Call, feeds: Mapping[str, Array], rows: int) -> int:
        """Return how many rows like so many may go at a time; the server was asked lately."""
        if self._learns_rows and self._asked_s_ago() >= _AGAIN_S:
            self._learn(replace(call, deadline=call.deadline.part(_SHARE)))
        return min(self._rows, rows_within(feeds, rows, self._bytes.now))

    def fewer_rows(
        self, call: Call, error: EndpointRefused, feeds: Mapping[str, Array], rows: int, size: int
    ) -> int:
        """Return how many rows to send at a time after so many were refused.

        Raises
        ------
        EndpointRefused
            What was given, if it is not for their number.
        """
        if size > 1 and error.status == 413:
            self._bytes.refused(size_of(feeds) / rows * size)
        elif size > 1 and error.status in (400, 424):
            self._learn(call, size)
        fewer = self._fitting(feeds, rows)
        if fewer >= size:
            raise error
        return fewer

    def answered(self) -> None:
        """Note that a call was answered whose requests were as large as is known to do."""
        self._bytes.answered()

    def _fitting(self, feeds: Mapping[str, Array], rows: int) -> int:
        return min(rows, self._rows, rows_within(feeds, rows, self._bytes.now))

    def _asked_s_ago(self) -> float:
        return self._clock() - self._asked_at

    def _learn(self, call: Call, refused: int | None = None) -> None:
        """Ask the server how many rows it takes, one thread at a time, unless that was just done.

        Nobody waits for another thread to ask where nothing was refused.
        """

        def ask() -> None:
            if refused is None or self._may_be_too_many(refused):
                most = self._ask(call)
                self._asked_at = self._clock()
                self._rows = self._rows if most is None else most

        with suppress(EndpointTimeout):
            self._asking.run(call.deadline, ask, waits=refused is not None)

    def _may_be_too_many(self, rows: int) -> bool:
        lately = self._asked_s_ago() < _ASKED_LATELY_S
        return self._learns_rows and rows <= self._rows and not lately


class _Bytes:
    """How many bytes an endpoint takes: halved when it refuses, doubled again after a pause.

    It doubles with each call that is answered then. A pause that was in vain is followed by one
    of twice the length. Of two threads that change it together, either may be the last.
    """

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        self.now = self._most = float(most)
        self._clock = clock
        self._pause_s = _AGAIN_S
        self._larger_at = 0.0
        self._growing = False

    def refused(self, size_bytes: float) -> None:
        if size_bytes > 1.001 * self.now:
            return  # Together with another one, from which that was learned already.
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S) if self._growing else _AGAIN_S
        self._growing = False
        self.now = size_bytes / 2
        self._larger_at = self._clock() + self._pause_s

    def answered(self) -> None:
        if self.now < self._most and self._clock() >= self._larger_at:
            self._growing = True
            self.now = min(self._most, 2 * self.now)
