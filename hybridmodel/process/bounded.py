"""Calls in threads with a timeout, for functions that cannot be interrupted.

The thread continues after the timeout. It belongs to a crew, which limits the number of threads.
"""

from __future__ import annotations

import contextvars
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

from hybridmodel.process.loops import wait_for
from hybridmodel.process.per_process import PerProcess, reset_in_child
from hybridmodel.process.tickets import Ticket

T = TypeVar("T")

_LONGEST_S = 0.25
"""The longest single wait: a signal may reach another thread than the one that handles it."""


class NotDone(TimeoutError):
    """Raise when a function takes longer than its caller waits."""


class NoRoom(NotDone):
    """Raise when a function could not start, because its crew has no free thread."""


class Crew:
    """At most `most` threads at a time, including those whose callers no longer wait.

    It looks which threads are alive, so that none is counted for ever.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.reset()
        reset_in_child(self)

    def reset(self) -> None:
        """Forget all threads, because a forked child has none of them."""
        self._lock = threading.Lock()
        self._waiting: set[Ticket[None]] = set()
        self._threads: set[threading.Thread] = set()

    @property
    def size(self) -> int:
        """The number of threads that are alive."""
        return sum(thread.is_alive() for thread in tuple(self._threads))

    def start(self, work: Callable[[], None], *, name: str, wait_s: float = 0.0) -> bool:
        """Run `work` in a daemon thread, and return whether there was room for it.

        Waits at most `wait_s` seconds for room. `work` has the caller's context, and must not
        raise.
        """
        until = time.monotonic() + wait_s
        run = contextvars.copy_context().run
        thread = threading.Thread(target=self._run, args=(run, work), name=name, daemon=True)
        while not self._begun(thread):
            left_s = until - time.monotonic()
            if left_s <= 0:
                return False
            self._wait(min(left_s, _LONGEST_S))
        return True

    def _begun(self, thread: threading.Thread) -> bool:
        with self._lock:
            if len(self._threads) >= self.most:
                self._threads = {item for item in self._threads if item.is_alive()}
            if len(self._threads) >= self.most:
                return False
            self._threads.add(thread)
            thread.start()
            return True

    def _wait(self, timeout_s: float) -> None:
        """Wait until a thread may have ended."""
        room: Ticket[None] = Ticket()
        with self._lock:
            self._waiting.add(room)
        try:
            room.wait(timeout_s)
        finally:
            with self._lock:
                self._waiting.discard(room)

    def leave(self) -> None:
        """Free the place of this thread, which is about to end."""
        with self._lock:
            self._threads.discard(threading.current_thread())
        self._tell()

    def _run(self, run: Callable[[Callable[[], None]], None], work: Callable[[], None]) -> None:
        try:
            run(work)
        finally:
            self._tell()

    def _tell(self) -> None:
        """Let those who wait for room look again."""
        with self._lock:
            waiting, self._waiting = self._waiting, set()
        for room in waiting:
            room.set_result(None)


_crews: weakref.WeakValueDictionary[tuple[str, int], Crew] = weakref.WeakValueDictionary()
_making: PerProcess[threading.Lock] = PerProcess()


def crew_for(place: str, most: int) -> Crew:
    """Return this process's only crew for a purpose; it lives as long as one of its threads."""
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
    """Call a function in a thread of a crew, and return or raise what it does within `timeout_s`.

    Raises `NotDone` after that time; the function continues, and `too_late` gets its result, to
    release what it holds. With `queues`, the call waits for room in the crew; `NoRoom` says there
    was none.
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
            # The waiting thread may be the next to need room.
            crew.leave()
        done()

    if not crew.start(run, name=name, wait_s=timeout_s if queues else 0.0):
        raise NoRoom(f"not started: {crew.most} others are running")
    try:
        return _result(future, until, timeout_s)
    except BaseException:
        awaited.clear()
        future.add_done_callback(lambda done: None if done.exception() else too_late(done.result()))
        raise


def _result(future: Future[T], until: float, timeout_s: float) -> T:
    while True:
        left_s = until - time.monotonic()
        if wait_for(future, left_s):
            return future.result()
        if left_s <= 0:
            raise NotDone(f"not done within {timeout_s:g} s")
