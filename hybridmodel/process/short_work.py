"""Work that an event loop does itself where it is short, because a thread would cost more."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from hybridmodel.process.loops import apart, current_loop
from hybridmodel.process.per_process import reset_in_child

T = TypeVar("T")

_AT_MOST_S = 0.5e-3
"""The longest work on the loop; a thread of its own would cost it about a tenth of that."""


class ShortWork:
    """Runs work of known size on the event loop where it takes no time, else in a thread.

    The last run tells how long the next one will take: for more of the same in proportion, for less
    of it as long. Nothing is known of the first in a process, which is also the longest as a rule.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self.reset()
        reset_in_child(self)

    def reset(self) -> None:
        """Forget what was seen."""
        # One attribute, so that no thread sees half of a change: a size, and its seconds.
        self._last = (1, float("inf"))

    def run(self, size: int, function: Callable[[], T]) -> T:
        """Return or raise what `function` does; in a coroutine perhaps from a thread."""
        if current_loop() is None:
            return function()
        timed = partial(self._timed, size, function)
        last_size, seconds = self._last
        expected_s = seconds * max(1.0, size / last_size)
        return apart(timed) if expected_s > _AT_MOST_S else timed()

    def _timed(self, size: int, function: Callable[[], T]) -> T:
        started = self._clock()
        result = function()
        self._last = (size, self._clock() - started)
        return result
