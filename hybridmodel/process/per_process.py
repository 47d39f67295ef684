"""Values that each process makes for itself, and locks that a forked child makes anew.

Sessions and connections do not survive a fork: their threads stay in the parent, and two processes
that share a socket read each other's answers. A lock that another thread of the parent held during
the fork stays locked in the child for ever.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")


class Resettable(Protocol):
    """An object that can start again in a forked child."""

    def reset(self) -> None:
        """Forget everything, and make new locks."""


_reset_in_child: weakref.WeakSet[Resettable] = weakref.WeakSet()


def reset_in_child(item: Resettable) -> None:
    """Call `item.reset` in each process that is forked from this one, as long as `item` lives."""
    _reset_in_child.add(item)


def _reset_all() -> None:
    for item in list(_reset_in_child):
        item.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_all)


_of_the_parent: list[object] = []
"""Kept for ever: onnxruntime's destructors would wait in the child for threads of the parent."""


class PerProcess(Generic[T]):
    """A value that is made on first use, once in each process.

    `get` is told how to make it each time, because a stored function would keep its owner alive,
    and with it a session or connections, until the garbage collector runs.
    """

    def __init__(self) -> None:
        # Process id and value are one attribute, so that a thread never sees half of a change.
        self._made: tuple[int, T] | None = None
        self._lock = threading.Lock()
        reset_in_child(self)

    def reset(self) -> None:
        """Forget the value; that of the parent is never finalised in the child."""
        if self._made is not None:
            _of_the_parent.append(self._made[1])
        self._made = None
        self._lock = threading.Lock()

    def get(self, make: Callable[[], T]) -> T:
        """Return this process's value.

        `make` is called under a lock, and again after an error or a fork.
        """
        made = self._made
        if made is None or made[0] != os.getpid():
            with self._lock:
                made = self._made
                if made is None or made[0] != os.getpid():
                    made = self._made = (os.getpid(), make())
        return made[1]

    def peek(self) -> T | None:
        """Return this process's value, None where it has not been made."""
        made = self._made
        return made[1] if made is not None and made[0] == os.getpid() else None

    def discard(self) -> T | None:
        """Return this process's value and forget it; the next `get` makes another."""
        with self._lock:
            value = self.peek()
            if value is not None:
                self._made = None
            return value
