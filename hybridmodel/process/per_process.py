"""What must not cross a fork: values that each process makes for itself, and locks.

Sessions and connections do not survive a fork: their threads stay behind in the parent, and two
processes that share a socket read each other's answers. A lock that another thread of the parent
held at that moment stays locked in the child for ever.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")


class Resettable(Protocol):
    """What can start anew."""

    def reset(self) -> None:
        """Forget everything, and make new locks."""


_reset_in_child: weakref.WeakSet[Resettable] = weakref.WeakSet()


def reset_in_child(item: Resettable) -> None:
    """Have `item.reset` called in each process that is forked from this one, while it lives."""
    _reset_in_child.add(item)


def _reset_all() -> None:
    for item in list(_reset_in_child):
        item.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_all)


_of_the_parent: list[object] = []
"""Never finalised: onnxruntime's destructors would wait here for threads of the parent."""


class PerProcess(Generic[T]):
    """Hold a value that is made on first use, once in each process.

    How it is made is said at each call and not kept: an owner that kept itself alive through it
    would hold its session or connections until the garbage collector comes by.
    """

    def __init__(self) -> None:
        # One attribute, so that a thread never sees half of a change.
        self._made: tuple[int, T] | None = None
        self._lock = threading.Lock()
        reset_in_child(self)

    def reset(self) -> None:
        """Start anew; what the parent made stays as it is, whoever drops it."""
        if self._made is not None:
            _of_the_parent.append(self._made[1])
        self._made = None
        self._lock = threading.Lock()

    def get(self, make: Callable[[], T]) -> T:
        """Return this process's value.

        Parameters
        ----------
        make : callable
            Makes it; called under a lock, again after an error, and again in a forked child.
        """
        made = self._made
        if made is not None and made[0] == os.getpid():
            return made[1]
        return self._make_here(make)

    def peek(self) -> T | None:
        """Return this process's value if there is one, without making it."""
        made = self._made
        return made[1] if made is not None and made[0] == os.getpid() else None

    def discard(self) -> T | None:
        """Forget this process's value and return it; the next `get` makes another."""
        with self._lock:
            value = self.peek()
            if value is not None:
                self._made = None
            return value

    def _make_here(self, make: Callable[[], T]) -> T:
        with self._lock:
            made = self._made
            if made is not None and made[0] == os.getpid():
                return made[1]
            value = make()
            self._made = (os.getpid(), value)
            return value
