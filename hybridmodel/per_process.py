"""A value that each process makes for itself, the first time it asks.

Sessions and connections do not survive a fork: their threads stay behind in the parent, and two
processes that share a socket read each other's answers.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class PerProcess(Generic[T]):
    """Hold a value that is made on first use, once in each process.

    How it is made is said at each call and not kept: an owner that kept itself alive through it
    would hold its session or connections until the garbage collector comes by.
    """

    def __init__(self) -> None:
        self._pid: int | None = None
        self._value: T | None = None
        self._left_behind: list[T | None] = []
        self._locks: dict[int, threading.Lock] = {}

    def get(self, make: Callable[[], T]) -> T:
        """Return this process's value.

        Parameters
        ----------
        make : callable
            Makes it; called under a lock, again after an error, and again in a forked child.
        """
        if self._pid != os.getpid():
            self._make_here(make)
        return self._value  # type: ignore[return-value]

    def peek(self) -> T | None:
        """Return this process's value if there is one, without making it."""
        return self._value if self._pid == os.getpid() else None

    def discard(self) -> T | None:
        """Forget this process's value and return it; the next `get` makes another."""
        value = self.peek()
        if value is not None:
            self._pid, self._value = None, None
        return value

    def _make_here(self, make: Callable[[], T]) -> None:
        # One lock a process: a lock that a thread of the parent held while it forked stays locked.
        pid = os.getpid()
        with self._locks.setdefault(pid, threading.Lock()):
            if self._pid == pid:
                return
            if self._pid is not None:
                # Never finalised: a destructor here would wait for threads of the parent.
                self._left_behind.append(self._value)
            self._value = make()
            self._pid = pid
