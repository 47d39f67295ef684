"""A function that cannot be interrupted, waited for no longer than there is time."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import TypeVar

T = TypeVar("T")


class NotDone(TimeoutError):
    """Raise when nobody waits any longer for what goes on."""


def within(
    timeout_s: float,
    function: Callable[[], T],
    *,
    name: str,
    too_late: Callable[[T], None] = lambda _: None,
) -> T:
    """Call a function in a thread, and wait for its result so long.

    Parameters
    ----------
    timeout_s : float
        In seconds.
    function : callable
        Keeps running when the time is over; the thread does not keep the process alive.
    name : str
        Of the thread.
    too_late : callable
        Gets a result that nobody waits for any more, to give back what it holds.

    Raises
    ------
    NotDone
        If it takes longer.
    BaseException
        What the function raises.
    """
    future: Future[T] = Future()
    context = contextvars.copy_context()

    def run() -> None:
        try:
            future.set_result(context.run(function))
        except BaseException as error:  # noqa: BLE001 - raised by the thread that waits
            future.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    try:
        return future.result(timeout_s)
    except BaseException as error:
        future.add_done_callback(lambda done: None if done.exception() else too_late(done.result()))
        if isinstance(error, FutureTimeout) and not future.done():
            raise NotDone(f"not done within {timeout_s:g} s") from None
        raise
