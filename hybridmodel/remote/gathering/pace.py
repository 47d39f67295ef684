"""How many requests of one kind help when they are under way at the same time. No I/O.

As many as take no longer together than one alone. Then what they wait for is the way to the server
or idle cores of it; else they wait for each other, and fewer requests of more rows do more.
The idea is that of TCP Vegas (Brakmo and Peterson, 1995).
"""

from __future__ import annotations

_LEAST = 2
"""While one request is at the server, the other is written and read here."""

_ALIKE, _LONGER = 1.5, 2.0
"""A request took about the shortest time, or much longer."""

_FAR_S = 0.003
"""Most of a shorter time is work of this process, of which no more gets done at the same time."""

_DRIFT = 1.001
"""The shortest time is forgotten so fast, since servers change; but only while few requests are
under way, or the time that many take together would become the measure."""


class Pace:
    """Learns from the time that each request took. The caller holds a lock."""

    __slots__ = ("_at_a_time", "_shortest_s")

    def __init__(self) -> None:
        self._at_a_time = float(_LEAST)
        self._shortest_s = 0.0

    @property
    def is_near(self) -> bool:
        """Whether requests are short: most of their time is work of this process."""
        return 0 < self._shortest_s < _FAR_S

    def at_a_time(self, most: int) -> int:
        """Return how many requests may be under way, `most` at the most."""
        return min(most, int(self._at_a_time))

    def note(self, took_s: float, running: int) -> None:
        """Note the time of an answered request; so many ran together, it included."""
        drift = _DRIFT if self._at_a_time < _LEAST + 1 else 1.0
        shortest_s = min(took_s, drift * self._shortest_s or took_s)
        self._shortest_s = shortest_s
        if took_s > _LONGER * shortest_s:
            self._at_a_time = max(_LEAST, self._at_a_time - 1 / self._at_a_time)
        elif _FAR_S < took_s < _ALIKE * shortest_s and running >= int(self._at_a_time):
            self._at_a_time = self._at_a_time + 1 / self._at_a_time
