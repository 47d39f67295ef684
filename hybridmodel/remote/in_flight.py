"""How many requests are under way at a time: bounded, and fewer when the endpoint asks for it.

No I/O. Additive increase, multiplicative decrease, as TCP does it (Chiu and Jain, 1989): Azure
Machine Learning answers 429 above twice the concurrency that a deployment was given, which its
callers cannot know.
"""

from __future__ import annotations

import threading
from collections import deque

from hybridmodel.exceptions import EndpointTimeout
from hybridmodel.remote.resilience import Deadline


class InFlight:
    """Let so many requests be under way at a time; who comes later waits its turn.

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
        self._running = 0
        self._round = 0
        self._waiting: deque[threading.Event] = deque()

    @property
    def running(self) -> int:
        """Requests under way."""
        return self._running

    @property
    def limit(self) -> int:
        """Requests that may be under way now."""
        return int(self._limit)

    def enter(self, deadline: Deadline) -> int:
        """Begin a request, when it is its turn, and return the number that `leave` wants.

        Raises
        ------
        EndpointTimeout
            If its turn does not come before the deadline.
        """
        with self._lock:
            if self._running < self.limit and not self._waiting:
                self._running += 1
                return self._round
            turn = threading.Event()
            self._waiting.append(turn)
        try:
            in_time = turn.wait(min(deadline.remaining_s(), threading.TIMEOUT_MAX))
        except BaseException:
            if not self._give_up(turn):
                self.leave(-1, limited=False, answered=False)
            raise
        if not in_time and self._give_up(turn):
            raise EndpointTimeout(
                f"the deadline of {deadline.timeout_s:g} s passed while waiting for one of "
                f"{self.limit} requests at a time to end"
            )
        return self._round

    def leave(self, entered: int, *, limited: bool, answered: bool) -> None:
        """End a request.

        Parameters
        ----------
        entered : int
            What `enter` returned for it.
        limited : bool
            Whether the endpoint said that there were too many at once. Those that were under way
            together say it together, and count once.
        answered : bool
            Whether it was answered.
        """
        with self._lock:
            self._running -= 1
            if limited and entered == self._round:
                self._limit = max(1.0, self._limit / 2)
                self._round += 1
            elif answered and self._limit < self._most:
                self._limit = min(float(self._most), self._limit + 1 / self._limit)
            self._call_next()

    def _give_up(self, turn: threading.Event) -> bool:
        """Stop waiting; return whether the turn had not come after all."""
        with self._lock:
            if turn in self._waiting:
                self._waiting.remove(turn)
                return True
            return False

    def _call_next(self) -> None:
        while self._waiting and self._running < self.limit:
            self._running += 1
            self._waiting.popleft().set()
