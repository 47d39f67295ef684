"""Counts of what a model has done in this process."""

from __future__ import annotations

import threading
from collections import Counter

from hybridmodel.process.per_process import reset_in_child


class Counters:
    """Numbers by name that many threads add to.

    A forked child, a pickle and a copy start at zero.
    """

    def __init__(self) -> None:
        self.reset()
        reset_in_child(self)

    def reset(self) -> None:
        """Set all numbers to zero."""
        self._lock = threading.Lock()
        self._routes: dict[str, list[int]] = {}
        self._others: Counter[str] = Counter()

    def answered(self, route: str, rows: int) -> None:
        """Count a call that a route answered, and its rows."""
        with self._lock:
            count = self._routes.setdefault(route, [0, 0])
            count[0] += 1
            count[1] += rows

    def add(self, name: str, amount: int = 1) -> None:
        """Add to the number called `name`."""
        with self._lock:
            self._others[name] += amount

    def totals(self) -> dict[str, int]:
        """Return the numbers by name."""
        with self._lock:
            calls = {f"{route}.calls": count[0] for route, count in self._routes.items()}
            rows = {f"{route}.rows": count[1] for route, count in self._routes.items()}
            return {**self._others, **calls, **rows}

    def __reduce__(self) -> tuple[type[Counters], tuple[()]]:
        return Counters, ()
