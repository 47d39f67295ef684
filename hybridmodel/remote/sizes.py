"""How much goes into one request: as the endpoint is set up, and as it was found to take.

What was found out expires, since servers are replaced and gateways are configured anew.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

from hybridmodel.data.tensors import Array, size_of
from hybridmodel.exceptions import EndpointRefused, EndpointTimeout
from hybridmodel.remote.concurrency import ConcurrencyLimiter
from hybridmodel.remote.endpoint_base import Endpoint
from hybridmodel.remote.exchange import Call
from hybridmodel.remote.resilience import Clock

_AGAIN_S = 60.0
"""After this pause, a larger request is tried again."""

_LONGEST_PAUSE_S = 600.0

_ASKED_LATELY_S = 5.0
"""A refusal so shortly after the server said how many rows it takes is about something else."""

_SHARE = 0.25
"""Share of a call's time for finding out whether the server takes more rows now."""


class RequestSizes:
    """What one request to an endpoint may hold. Safe to share between threads.

    The endpoint's ``max_batch_size`` and ``max_request_bytes`` are never exceeded. `ask` asks the
    server how many rows it takes, and returns None where it does not say.
    """

    def __init__(self, endpoint: Endpoint, ask: Callable[[Call], int | None], clock: Clock) -> None:
        self._ask = ask
        self._clock = clock
        self._bytes = _Bytes(endpoint.max_request_bytes, clock)
        self._rows = endpoint.max_batch_size or sys.maxsize
        self._learns_rows = endpoint.max_batch_size is None
        self._asked_at = -sys.float_info.max
        self._asking = ConcurrencyLimiter(1)
        self.answered = self._bytes.answered

    def rows_for(self, call: Call, rows: int) -> int:
        """Return how many of so many rows to send at a time; at least one."""
        self._learn_again(call, rows)
        return self._fitting(call, rows)

    def limits(self, call: Call, most: int) -> tuple[int, float]:
        """Return how many rows, at most so many, and how many bytes calls may have together."""
        self._learn_again(call, most)
        return min(most, self._rows), self._bytes.now

    def answered_together(self, size_bytes: int) -> None:
        """Note that so many bytes of several calls were answered."""
        if 2 * size_bytes > self._bytes.now:
            self._bytes.answered()

    def request_rows(self, call: Call, rows: int) -> int:
        """Return how many rows like these may go at a time; the server was asked lately."""
        if self._learns_rows and self._clock() - self._asked_at >= _AGAIN_S:
            self._learn(replace(call, deadline=call.deadline.part(_SHARE)))
        return min(self._rows, rows_within(call.feeds, rows, self._bytes.now))

    def fewer_rows(self, call: Call, error: EndpointRefused, rows: int, size: int) -> int:
        """Return how many rows to send at a time after so many were refused.

        Raises the refusal again if it is not for their number.
        """
        if size > 1 and error.status == 413:
            self._bytes.refused(size_of(call.feeds) / rows * size)
        elif size > 1 and error.status in (400, 424):
            self._learn(call, size)
        fewer = self._fitting(call, rows)
        if fewer >= size:
            raise error
        return fewer

    def _fitting(self, call: Call, rows: int) -> int:
        return min(rows, self._rows, rows_within(call.feeds, rows, self._bytes.now))

    def _learn_again(self, call: Call, rows: int) -> None:
        """Ask the server again, after a while, if it took fewer rows than these."""
        if self._rows < rows and self._learns_rows and self._clock() - self._asked_at >= _AGAIN_S:
            self._learn(replace(call, deadline=call.deadline.part(_SHARE)))

    def _learn(self, call: Call, refused: int | None = None) -> None:
        """Ask the server how many rows it takes, one thread at a time, unless that was just done.

        Nobody waits for another thread to ask where nothing was refused.
        """

        def ask() -> None:
            lately = self._clock() - self._asked_at < _ASKED_LATELY_S
            too_many = self._learns_rows and not lately and (refused or 0) <= self._rows
            if refused is None or too_many:
                most = self._ask(call)
                self._asked_at = self._clock()
                self._rows = self._rows if most is None else most

        with suppress(EndpointTimeout):
            self._asking.run(call.deadline, ask, waits=refused is not None)


def rows_within(feeds: Mapping[str, Array], rows: int, size_bytes: float) -> int:
    """Return how many rows have at most so many bytes; at least one."""
    row_bytes = size_of(feeds) / max(rows, 1)
    return max(1, int(size_bytes / row_bytes)) if row_bytes else rows


class _Bytes:
    """How many bytes an endpoint takes: halved when it refuses, doubled again after a pause.

    It doubles with each call that is answered then. A pause that was in vain is followed by one
    of twice the length. Of two threads that change it together, either may be the last.
    """

    def __init__(self, most: int, clock: Clock) -> None:
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
        """Note that a call was answered whose requests were as large as is known to do."""
        if self.now < self._most and self._clock() >= self._larger_at:
            self._growing = True
            self.now = min(self._most, 2 * self.now)
