"""Tickets: what one caller waits for, whoever finds it out."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, NamedTuple, TypeVar

from hybridmodel.process.loops import called_within, current_loop

T = TypeVar("T")

_LONGEST_S = 0.25
"""The longest single wait: a signal may reach another thread than the one that handles it."""


class _Outcome(NamedTuple):
    value: object
    error: BaseException | None


class Ticket(Generic[T]):
    """A result that comes once, from any thread, for one caller that waits in a thread or a loop.

    The first outcome counts, and later ones have no effect. So a caller that waits no longer
    resolves its ticket itself, and whoever works for it looks at `done` before it begins.
    """

    __slots__ = ("_awaited", "_callbacks", "_outcomes")

    def __init__(self) -> None:
        # Appending is one step, so the first of two threads, or of a thread and a handler, counts.
        self._outcomes: list[_Outcome] = []
        self._callbacks: deque[Callable[[Ticket[T]], object]] = deque()
        self._awaited = threading.Lock()
        self._awaited.acquire()

    @property
    def done(self) -> bool:
        """Whether there is an outcome."""
        return bool(self._outcomes)

    def set_result(self, value: T, *, wakes: bool = True) -> bool:
        """Resolve it with a value; False if it was resolved before.

        Without `wakes`, somebody has to call `wake` for a thread that waits. Else that finds out by
        itself, but late.
        """
        return self._resolve(_Outcome(value, None), wakes)

    def wake(self) -> None:
        """Let the thread that waits go on; the second time has no effect."""
        with suppress(RuntimeError):
            self._awaited.release()

    def set_error(self, error: BaseException) -> bool:
        """Resolve it with an error, which `result` raises; False if it was resolved before."""
        return self._resolve(_Outcome(None, error), True)

    def add_callback(self, function: Callable[[Ticket[T]], object]) -> None:
        """Call a function with this ticket once it is done, or at once if it is.

        It is called once, in the thread that resolves the ticket, and must neither block nor raise.
        """
        self._callbacks.append(function)
        if self._outcomes:
            self._call_back()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the outcome at most `timeout_s`, None for ever; tell whether it is there."""
        if current_loop() is not None:
            return self.done or called_within(timeout_s, self.add_callback)
        if timeout_s is not None and timeout_s <= _LONGEST_S:
            return self._comes_within(timeout_s)
        until = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._outcomes:
            left_s = _LONGEST_S if until is None else min(_LONGEST_S, until - time.monotonic())
            if left_s <= 0:
                return False
            if self._comes_within(left_s):
                break
        return True

    def result(self) -> T:
        """Return the value or raise the error of a ticket that is done; `IndexError` before."""
        value, error = self._outcomes[0]
        if error is None:
            return value  # type: ignore[return-value]
        try:
            raise error
        finally:
            del error  # It refers to this frame.

    def _comes_within(self, timeout_s: float) -> bool:
        if not self._outcomes and self._awaited.acquire(timeout=max(0.0, timeout_s)):
            # For another thread that waits; whoever wakes twice may have done it meanwhile.
            self.wake()
        return bool(self._outcomes)

    def _resolve(self, outcome: _Outcome, wakes: bool) -> bool:
        self._outcomes.append(outcome)
        if self._outcomes[0] is not outcome:
            return False
        if wakes:
            self._awaited.release()
        self._call_back()
        return True

    def _call_back(self) -> None:
        while self._callbacks:
            try:
                function = self._callbacks.popleft()
            except IndexError:  # Another thread took it.
                return
            function(self)
