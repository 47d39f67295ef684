"""Several requests at a time, of which the caller waits for no more than it has to."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, TypeVar

from hybridmodel.process.bounded import Crew

T = TypeVar("T")
R = TypeVar("R")

_NONE_LEFT = object()

_LONGEST_S = 0.25
"""Of one wait: a signal may reach another thread than the one that has to handle it."""


def map_unordered(
    function: Callable[[T], R], items: Iterable[T], at_a_time: int, *, crew: Crew, name: str
) -> Iterator[R]:
    """Call a function for each item, several at a time, and yield what they return as they end.

    When one raises, or the caller stops asking, no further item is begun, and nobody waits for
    those under way: neither an error nor Ctrl-C is held up by a request that hangs.

    Parameters
    ----------
    function : callable
        Called in threads that do not keep the process alive.
    items : iterable
        Taken one by one, when there is a thread for it.
    at_a_time : int
        Threads; fewer where the crew has no room, and where it has none, the caller's own.
    crew : Crew
        To which they belong.
    name : str
        Of the threads.

    Raises
    ------
    Exception
        What the function raises, the first that it does.
    """
    shared = _Shared(iter(items))
    working = 0
    try:
        while working < at_a_time and crew.start(partial(_work, function, shared), name=name):
            working += 1
        if not working:
            yield from map(function, iter(shared.take, _NONE_LEFT))
        while working:
            result, error = shared.next_end()
            if error is not None:
                raise error
            if result is _NONE_LEFT:
                working -= 1
            else:
                yield result
    finally:
        shared.stopped.set()


class _Shared:
    """What the threads of one call share: the items that are left, and what came of the others."""

    def __init__(self, left: Iterator[Any]) -> None:
        self.stopped = threading.Event()
        self.ended: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        self._left = left
        self._taking = threading.Lock()

    def take(self) -> Any:
        with self._taking:
            return _NONE_LEFT if self.stopped.is_set() else next(self._left, _NONE_LEFT)

    def next_end(self) -> tuple[Any, BaseException | None]:
        while True:
            try:
                return self.ended.get(timeout=_LONGEST_S)
            except queue.Empty:
                continue


def _work(function: Callable[[Any], Any], shared: _Shared) -> None:
    try:
        for item in iter(shared.take, _NONE_LEFT):
            shared.ended.put((function(item), None))
    except BaseException as error:  # noqa: BLE001 - raised where the results are taken
        shared.stopped.set()
        shared.ended.put((None, error))
    else:
        shared.ended.put((_NONE_LEFT, None))
