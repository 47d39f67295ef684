"""The segments of one client: lent to one request at a time, and used again. No server is asked."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable

from hybridmodel.process.per_process import reset_in_child
from hybridmodel.remote.shared_memory.segments import Segment

_LEAST_BYTES = 1 << 18
_MOST_BYTES = 1 << 28
"""What all segments of a client may take together."""

_MOST_FREE = 4
"""Segments that are kept for later requests."""

_MOST_GONE = 256
"""Names that a server is asked to forget; one that never does makes no call wait for more."""

_MUCH_LARGER = 8
"""A segment so many times as large as needed is left to larger requests."""


class Pool:
    """Lends segments that the server knows; safe to share between threads.

    `gone` has the names of removed segments that the server may still know.
    """

    def __init__(self) -> None:
        self._made: set[Segment] = set()
        self.reset()
        reset_in_child(self)

    def reset(self) -> None:
        """Leave the segments of the parent alone, and begin without any."""
        for segment in self._made:
            segment.leave()
        self._lock = threading.Lock()
        self._made = set()
        self._free: list[Segment] = []
        self.gone: deque[str] = deque(maxlen=_MOST_GONE)

    @property
    def is_used(self) -> bool:
        """Whether it has segments, or names to forget."""
        return bool(self._made or self.gone)

    def take(self, size_bytes: int) -> Segment | None:
        """Return a free segment that is large enough, None where there is none."""
        with self._lock:
            fit = [
                segment
                for segment in self._free
                if size_bytes <= segment.size_bytes <= _MUCH_LARGER * max(size_bytes, _LEAST_BYTES)
            ]
            if not fit:
                return None
            segment = min(fit, key=lambda found: found.size_bytes)
            self._free.remove(segment)
            return segment

    def make(self, size_bytes: int) -> Segment | None:
        """Return a new segment, None where all of them would be too large; raises OSError."""
        size_bytes = max(_LEAST_BYTES, 1 << (size_bytes - 1).bit_length())
        with self._lock:
            taken = sum(segment.size_bytes for segment in self._made)
            if taken + size_bytes > _MOST_BYTES:
                self._remove(self._free)
                taken = sum(segment.size_bytes for segment in self._made)
            if taken + size_bytes > _MOST_BYTES:
                return None
            segment = Segment(size_bytes)
            self._made.add(segment)
            return segment

    def give_back(self, segment: Segment) -> None:
        """Keep a segment for the next request; nobody uses it any more."""
        with self._lock:
            if segment not in self._made:
                return
            self._free.append(segment)
            if len(self._free) > _MOST_FREE:
                self._remove(self._free[:1])

    def discard(self, segment: Segment) -> None:
        """Remove a segment, into which the server may still write."""
        with self._lock:
            self._remove([segment])

    def clear(self) -> None:
        """Remove all segments, those that are lent as well."""
        with self._lock:
            self._remove(self._made)

    def names_to_forget(self) -> list[str]:
        """Return the names of removed segments, each once."""
        with self._lock:
            names = list(self.gone)
            self.gone.clear()
            return names

    def still_known(self, names: Iterable[str]) -> None:
        """Note names that the server could not forget yet."""
        with self._lock:
            self.gone.extend(names)

    def _remove(self, segments: Iterable[Segment]) -> None:
        for segment in list(segments):
            if segment in self._made:
                self._made.discard(segment)
                self.gone.append(segment.name)
                segment.remove()
            if segment in self._free:
                self._free.remove(segment)
