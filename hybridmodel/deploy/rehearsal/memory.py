"""How many bytes of requests and answers are in memory, and that they are not too many."""

from __future__ import annotations


class NoRoom(Exception):
    """Raise where all bodies together have more bytes than are kept."""


class Memory:
    """The bytes of all requests and answers that are in memory."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.held_bytes = 0


class Share:
    """One request's part of the memory, given back once."""

    __slots__ = ("_memory", "_taken_bytes")

    def __init__(self, memory: Memory) -> None:
        self._memory, self._taken_bytes = memory, 0

    def take(self, size_bytes: int) -> None:
        """Count more bytes; raises `NoRoom`."""
        if self._memory.held_bytes + size_bytes > self._memory.most_bytes:
            raise NoRoom
        self._memory.held_bytes += size_bytes
        self._taken_bytes += size_bytes

    def release(self) -> None:
        """Give everything back."""
        self._memory.held_bytes -= self._taken_bytes
        self._taken_bytes = 0
