"""Several requests at a time, of which the caller waits for no more than it has to."""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")

_NONE_LEFT = object()


def each(
    function: Callable[[T], R], items: Iterable[T], at_a_time: int, *, name: str
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
        Threads.
    name : str
        Of the threads.

    Raises
    ------
    Exception
        What the function raises, the first that it does.
    """
    left = iter(items)
    taking = threading.Lock()
    ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
    stopped = threading.Event()

    def take() -> Any:
        with taking:
            return _NONE_LEFT if stopped.is_set() else next(left, _NONE_LEFT)

    def work() -> None:
        try:
            for item in iter(take, _NONE_LEFT):
                ended.put((function(item), None))
        except BaseException as error:  # noqa: BLE001 - raised where the results are taken
            stopped.set()
            ended.put((None, error))
        else:
            ended.put(None)

    for _ in range(at_a_time):
        run = contextvars.copy_context().run
        threading.Thread(target=run, args=(work,), name=name, daemon=True).start()
    working = at_a_time
    try:
        while working:
            end = ended.get()
            if end is None:
                working -= 1
                continue
            result, error = end
            if error is not None:
                raise error
            yield result
    finally:
        stopped.set()
