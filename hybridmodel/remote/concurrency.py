"""How many requests are under way at a time: bounded, and fewer when the endpoint asks for it.

No I/O. Additive increase, multiplicative decrease, as TCP does it (Chiu and Jain, 1989): Azure
Machine Learning answers 429 above twice the concurrency that a deployment was given, which its
callers cannot know.

A signal handler can raise between any two steps of what follows. Requests under way are therefore
a set of permits, which none enters or leaves twice, and a waiting request looks again by itself.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from hybridmodel.process.per_process import reset_in_child
from hybridmodel.process.tickets import Ticket
from hybridmodel.remote.faults import NO_PERMIT, new_error
from hybridmodel.remote.resilience import LONGEST_WAIT_S, Deadline

_OVERDUE_S = 1.0
"""A request counts as ended so long after its deadline, even if `leave` was never called."""

T = TypeVar("T")


class Permit:
    """One request's leave to be sent: it waits, is under way, or is over."""

    __slots__ = ("called", "deadline", "over", "round")

    def __init__(self, deadline: Deadline) -> None:
        self.deadline = deadline
        self.called: Ticket[None] | None = None
        self.over = False
        self.round = 0


class ConcurrencyLimiter:
    """Lets so many requests be under way at a time; a later one waits for its permit."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.reset()
        reset_in_child(self)

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

    def enter(
        self, permit: Permit, *, waits: bool = True, first: Callable[[], None] = lambda: None
    ) -> None:
        """Begin a request when it is permitted; `leave` must follow, whatever this raises.

        `first` is called before it waits, and raises if waiting is useless. Raises
        `EndpointTimeout` if the request is not permitted before its deadline, or, without `waits`,
        at once.
        """
        with self._lock:
            if not self._waiting and len(self._running) + 1 <= self._limit:
                permit.round = self._round
                self._running.add(permit)
                return
        first()
        self._wait(permit, waits)

    def run(self, deadline: Deadline, function: Callable[[], T], *, waits: bool = True) -> T:
        """Call a function when it is permitted; raises what `enter` and the function do."""
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
        """End a request, or its waiting; the second time has no effect.

        `limited` says that the endpoint had too many at once. Requests that were under way together
        are told so together, and that counts once.
        """
        with self._lock:
            if permit.called is not None and permit in self._waiting:
                self._waiting.remove(permit)
            if permit in self._running:
                self._running.discard(permit)
                if limited or self._limit < self._most:
                    self._adapt(permit, limited, answered)
            if self._waiting:
                self._call_next()

    def _adapt(self, permit: Permit, limited: bool, answered: bool) -> None:
        if limited and permit.round == self._round:
            self._limit = max(1.0, self._limit / 2)
            self._round += 1
        elif answered and self._limit < self._most:
            self._limit = min(float(self._most), self._limit + 1 / self._limit)

    def _wait(self, permit: Permit, waits: bool) -> None:
        called: Ticket[None] = Ticket()
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

    def _has_come(self, permit: Permit, called: Ticket[None], waits: bool) -> bool:
        """Wait a while for the permit, and tell whether it came, even if nobody said so."""
        with self._lock:
            self._call_next()
            if permit in self._running:
                return True
        return called.wait(min(permit.deadline.remaining_s(), waits * LONGEST_WAIT_S))

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
                permit.called.set_result(None)
