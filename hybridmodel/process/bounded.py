"""A function that cannot be interrupted, waited for no longer than there is time.

Its thread goes on when nobody waits any more. Each belongs to a crew, which has room for so many.
"""

from __future__ import annotations

import contextvars
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from functools import partial
from typing import TypeVar

from hybridmodel.process.per_process import PerProcess, reset_in_child

T = TypeVar("T")

_LONGEST_S = 0.25
"""Of one wait: a signal may reach another thread than the one that has to handle it."""


class NotDone(TimeoutError):
    """Raise when nobody waits any longer for what goes on."""


class NoRoom(NotDone):
    """Raise when it could not even begin: as many as may be are under way."""


class Crew:
    """So many threads at a time, those that nobody waits for any more among them.

    They are counted by looking which are alive, so that none is counted for ever.

    Parameters
    ----------
    most : int
        Threads.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.reset()
        reset_in_child(self)

    def reset(self) -> None:
        """Forget all threads, none of which a forked child has."""
        self._changed = threading.Condition()
        self._threads: set[threading.Thread] = set()

    @property
    def size(self) -> int:
        """Threads that are alive."""
        return sum(thread.is_alive() for thread in tuple(self._threads))

    def start(self, work: Callable[[], None], *, name: str, wait_s: float = 0.0) -> bool:
        """Begin work in a thread, and tell whether there was room for it in time.

        Parameters
        ----------
        work : callable
            Raises nothing. Runs in the caller's context; does not keep the process alive.
        name : str
            Of the thread.
        wait_s : float
            How long to wait for room, in seconds.
        """
        until = time.monotonic() + wait_s
        run = contextvars.copy_context().run
        thread = threading.Thread(target=self._run, args=(run, work), name=name, daemon=True)
        with self._changed:
            while not self._has_room():
                left_s = until - time.monotonic()
                if left_s <= 0:
                    return False
                self._changed.wait(min(left_s, _LONGEST_S))
            self._threads.add(thread)
            thread.start()
        return True

    def leave(self) -> None:
        """Make the room of this thread free before it has ended, which it is about to do."""
        with self._changed:
            self._threads.discard(threading.current_thread())
            self._changed.notify()

    def _has_room(self) -> bool:
        if len(self._threads) >= self.most:
            self._threads = {thread for thread in self._threads if thread.is_alive()}
        return len(self._threads) < self.most

    def _run(self, run: Callable[[Callable[[], None]], None], work: Callable[[], None]) -> None:
        try:
            run(work)
        finally:
            with self._changed:
                self._changed.notify()


_crews: weakref.WeakValueDictionary[tuple[str, int], Crew] = weakref.WeakValueDictionary()
_making: PerProcess[threading.Lock] = PerProcess()


def crew_for(place: str, most: int) -> Crew:
    """Return the one crew of a place in this process; it lives as long as it has a thread."""
    with _making.get(threading.Lock):
        crew = _crews.get((place, most))
        if crew is None:
            crew = _crews[place, most] = Crew(most)
        return crew


def call_with_timeout(
    timeout_s: float,
    function: Callable[[], T],
    *,
    crew: Crew,
    name: str,
    queues: bool = True,
    too_late: Callable[[T], None] = lambda _: None,
) -> T:
    """Call a function in a thread, and wait for its result so long.

    Parameters
    ----------
    timeout_s : float
        In seconds.
    function : callable
        Keeps running when the time is over.
    crew : Crew
        To which the thread belongs.
    name : str
        Of the thread.
    queues : bool, default=True
        Whether to wait for room in the crew, so long.
    too_late : callable
        Gets a result that nobody waits for any more, to give back what it holds.

    Raises
    ------
    NotDone
        If it takes longer.
    NoRoom
        If there was no room in the crew.
    BaseException
        What the function raises.
    """
    future: Future[T] = Future()
    awaited = threading.Event()
    awaited.set()
    until = time.monotonic() + timeout_s

    def run() -> None:
        try:
            done = partial(future.set_result, function())
        except BaseException as error:  # noqa: BLE001 - raised by the thread that waits
            done = partial(future.set_exception, error)
        if awaited.is_set():
            # Who waits may be the next to need room.
            crew.leave()
        done()

    if not crew.start(run, name=name, wait_s=timeout_s if queues else 0.0):
        raise NoRoom(f"not begun: {crew.most} others are under way")
    try:
        return _result(future, until, timeout_s)
    except BaseException:
        awaited.clear()
        future.add_done_callback(lambda done: None if done.exception() else too_late(done.result()))
        raise


def _result(future: Future[T], until: float, timeout_s: float) -> T:
    while True:
        left_s = until - time.monotonic()
        try:
            return future.result(max(0.0, min(left_s, _LONGEST_S)))
        except FutureTimeout:
            if future.done():
                return future.result()
            if left_s <= 0:
                raise NotDone(f"not done within {timeout_s:g} s") from None
