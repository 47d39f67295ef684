"""Several calls at a time, of which the caller never waits longer than it must."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from hybridmodel.process.bounded import Crew
from hybridmodel.process.tickets import Ticket

T = TypeVar("T")
R = TypeVar("R")

_NONE_LEFT = object()

_LONGEST_S = 0.25
"""The longest single wait: a signal may reach another thread than the one that handles it."""


def map_unordered(
    function: Callable[[T], R], items: Iterable[T], at_a_time: int, *, crew: Crew, name: str
) -> Iterator[R]:
    """Call a function for each item in threads of a crew, and yield the results as they are ready.

    There are `at_a_time` threads, fewer where the crew has no room, or only the caller's own where
    it has none. Items are taken one by one, when a thread is free. After the first error, or when
    the caller stops, no further item starts, and nobody waits for calls that run: neither an error
    nor Ctrl-C is delayed by a request that hangs.
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
    """What the threads of one call share: the remaining items, and the results."""

    def __init__(self, left: Iterator[Any]) -> None:
        self.stopped = threading.Event()
        self.ended: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        self._left = left
        self._taking = threading.Lock()
        self._came: Ticket[None] = Ticket()

    def take(self) -> Any:
        with self._taking:
            return _NONE_LEFT if self.stopped.is_set() else next(self._left, _NONE_LEFT)

    def put(self, result: Any, error: BaseException | None) -> None:
        self.ended.put((result, error))
        self._came.set_result(None)

    def next_end(self) -> tuple[Any, BaseException | None]:
        while True:
            # Before looking: what ends afterwards resolves this one.
            came: Ticket[None] = Ticket()
            self._came = came
            with suppress(queue.Empty):
                return self.ended.get_nowait()
            came.wait(_LONGEST_S)


def _work(function: Callable[[Any], Any], shared: _Shared) -> None:
    try:
        for item in iter(shared.take, _NONE_LEFT):
            shared.put(function(item), None)
    except BaseException as error:  # noqa: BLE001 - raised where the results are taken
        shared.stopped.set()
        shared.put(None, error)
    else:
        shared.put(_NONE_LEFT, None)
