"""How many requests are under way at a time: bounded, and fewer when the endpoint asks for it.

No I/O. Additive increase, multiplicative decrease, as TCP does it (Chiu and Jain, 1989): Azure
Machine Learning answers 429 above twice the concurrency that a deployment was given, which its
callers cannot know.

A signal handler can raise between any two steps of what follows. Requests under way are therefore
a set of permits, which nothing enters or leaves twice, and a waiting request looks again by itself.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from hybridmodel.remote.faults import NO_PERMIT, new_error
from hybridmodel.remote.resilience import Deadline

_LONGEST_S = 0.25
"""Of one wait: how long it takes until a call that was given up is noticed to be."""

_OVERDUE_S = 1.0
"""So long after its deadline a request is under way no more, whether or not that was said."""

T = TypeVar("T")


class Permit:
    """One request's leave to be sent: it waits, is under way, or is over."""

    __slots__ = ("called", "deadline", "over", "round")

    def __init__(self, deadline: Deadline) -> None:
        self.deadline = deadline
        self.called: threading.Lock | None = None
        self.over = False
        self.round = 0


class ConcurrencyLimiter:
    """Let so many requests be under way at a time; a later one waits for its permit.

    Parameters
    ----------
    most : int
        At the start, and at the most.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.reset()

    def reset(self) -> None:
        """Forget what is under way."""
        self._lock = threading.Lock()
        self._limit = float(self._most)
        self._running: set[Permit] = set()
        self._round = 0
        self._waiting: deque[Permit] = deque()

    @property
    def running(self) -> int:
        """Requests under way."""
        return len(self._running)

    @property
    def limit(self) -> int:
        """Requests that may be under way now."""
        return int(self._limit)

    def enter(self, permit: Permit, *, waits: bool = True) -> None:
        """Begin a request when it is permitted; `leave` must follow, whatever this raises.

        Parameters
        ----------
        permit : Permit
            Of the request.
        waits : bool, default=True
            Whether to wait for it.

        Raises
        ------
        EndpointTimeout
            If it is not permitted before the deadline.
        """
        with self._lock:
            if not self._waiting and len(self._running) < self.limit:
                permit.round = self._round
                self._running.add(permit)
                return
        self._wait(permit, waits)

    def run(self, deadline: Deadline, function: Callable[[], T], *, waits: bool = True) -> T:
        """Call a function when it is permitted.

        Parameters
        ----------
        deadline : Deadline
            Ends the wait, and the permit soon after it.
        function : callable
            What to call.
        waits : bool, default=True
            Whether to wait at all.

        Raises
        ------
        EndpointTimeout
            If it is not permitted in time.
        BaseException
            What the function raises.
        """
        permit = Permit(deadline)
        try:
            try:
                self.enter(permit, waits=waits)
                return function()
            finally:
                self.leave(permit, limited=False, answered=True)
        finally:
            # For a handler of a signal that raised before the first could do it.
            self.leave(permit, limited=False, answered=True)

    def leave(self, permit: Permit, *, limited: bool, answered: bool) -> None:
        """End a request, or give its place in the queue up; the second time does nothing.

        Parameters
        ----------
        permit : Permit
            With which it was begun.
        limited : bool
            Whether the endpoint said that there were too many at once. Those that were under way
            together say it together, and count once.
        answered : bool
            Whether it was answered.
        """
        with self._lock:
            if permit.called is not None and permit in self._waiting:
                self._waiting.remove(permit)
            if permit in self._running:
                self._running.discard(permit)
                self._adapt(permit, limited, answered)
            self._call_next()

    def _adapt(self, permit: Permit, limited: bool, answered: bool) -> None:
        if limited and permit.round == self._round:
            self._limit = max(1.0, self._limit / 2)
            self._round += 1
        elif answered and self._limit < self._most:
            self._limit = min(float(self._most), self._limit + 1 / self._limit)

    def _wait(self, permit: Permit, waits: bool) -> None:
        called = threading.Lock()
        called.acquire()
        permit.called = called
        with self._lock:
            self._waiting.append(permit)
        while not self._has_come(permit, called, waits):
            if not waits or permit.deadline.remaining_s() == 0:
                raise new_error(
                    NO_PERMIT,
                    f"the deadline of {permit.deadline.timeout_s:g} s passed while waiting for one "
                    f"of {self.limit} requests at a time to end",
                )

    def _has_come(self, permit: Permit, called: threading.Lock, waits: bool) -> bool:
        """Wait a while for the permit, and tell whether it came, even if nobody said so."""
        with self._lock:
            self._call_next()
            if permit in self._running:
                return True
        return called.acquire(timeout=min(permit.deadline.remaining_s(), waits * _LONGEST_S))

    def _call_next(self) -> None:
        if self._waiting and len(self._running) >= self.limit:
            overdue = [permit for permit in self._running if permit.deadline.over_s() > _OVERDUE_S]
            self._running.difference_update(overdue)
        while self._waiting and len(self._running) < self.limit:
            permit = self._waiting[0]
            permit.round = self._round
            self._running.add(permit)
            self._waiting.popleft()
            if permit.called is not None:
                permit.called.release()
