"""Work that nobody waits for: one thread, and bounds on what may lie before it."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

_LINGER_S = 5.0
"""How long the thread waits for more. A model that is gone is not kept alive any longer by it."""

_LAST_S = 10.0
"""How long the end of the interpreter waits for a job that must not be interrupted."""

_log = logging.getLogger("hybridmodel")


class Job(NamedTuple):
    """What is to be done.

    Attributes
    ----------
    run : callable
        Logged when it raises.
    place : object
        That it takes among those that wait or run.
    can_be_left : bool
        Whether it may still run when the interpreter ends. onnxruntime must not: it aborts the
        process when its thread finds the interpreter gone.
    """

    run: Callable[[], None]
    place: object
    can_be_left: bool


class Background:
    """One daemon thread that does jobs in order; started when there is one, gone when idle.

    What waits when the interpreter ends is left undone.

    Parameters
    ----------
    name : str
        Of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._changed = threading.Condition()
        self._jobs: deque[Job] = deque()
        self._running: Job | None = None
        self._sizes: dict[object, int] = {}
        self._thread: threading.Thread | None = None
        self._finished = False
        self._pid = os.getpid()
        _all.add(self)

    @property
    def pending(self) -> int:
        """Jobs that wait or run."""
        return len(self._sizes)

    def offer(
        self,
        make: Callable[[], Callable[[], None]],
        size_bytes: int,
        *,
        most: int,
        most_bytes: int,
        can_be_left: bool = True,
    ) -> bool:
        """Take a job if there is room for it, and tell whether there was; never waits.

        Parameters
        ----------
        make : callable
            Returns what to run; called only when there is room, so that no copy is in vain.
        size_bytes : int
            Of the data that the job holds.
        most, most_bytes : int
            Jobs that wait or run, and their data, at the most.
        can_be_left : bool, default=True
            See `Job`.

        Raises
        ------
        BaseException
            What `make` raises, or what keeps the thread from being started.
        """
        place = object()
        try:
            if not self._take(place, size_bytes, most, most_bytes):
                return False
            self._add(Job(make(), place, can_be_left))
        except BaseException:
            # Also for a handler of a signal, wherever it raised.
            self._release(place)
            raise
        return True

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until nothing is pending, and tell whether that is so.

        Parameters
        ----------
        timeout_s : float, optional
            At most so many seconds.
        """
        with self._changed:
            return self._changed.wait_for(lambda: not self._sizes, timeout_s)

    def finish(self, timeout_s: float) -> None:
        """Drop what waits, and wait for a job that cannot be left; for the end of the interpreter.

        Does nothing in a forked child, where the lock may be held for ever.
        """
        if self._pid != os.getpid():
            return
        with self._changed:
            self._finished = True
            while self._jobs:
                self._sizes.pop(self._jobs.pop().place, None)
            self._changed.notify_all()
            running = self._running
            if running is not None and not running.can_be_left:
                self._changed.wait_for(lambda: self._running is not running, timeout_s)

    def _add(self, job: Job) -> None:
        with self._changed:
            if self._thread is None:
                thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                thread.start()
                self._thread = thread
            self._jobs.append(job)
            self._changed.notify_all()

    def _work(self) -> None:
        try:
            while self._next():
                pass
        finally:
            with self._changed:
                # Also where something ends it that is no Exception: the next job starts another.
                if self._thread is threading.current_thread():
                    self._thread = None

    def _next(self) -> bool:
        """Do one job; False when none came for a while."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._jobs, _LINGER_S):
                self._thread = None
                return False
            self._running = job = self._jobs.popleft()
        try:
            job.run()
        except Exception:  # noqa: BLE001 - the next job is not to suffer from it
            _log.exception("work in the background failed")
        finally:
            self._running = None
            self._release(job.place)
        return True

    def _take(self, place: object, size_bytes: int, most: int, most_bytes: int) -> bool:
        with self._changed:
            full = len(self._sizes) >= most or sum(self._sizes.values()) + size_bytes > most_bytes
            if full or self._finished:
                return False
            self._sizes[place] = size_bytes
            return True

    def _release(self, place: object) -> None:
        with self._changed:
            self._sizes.pop(place, None)
            self._changed.notify_all()


_all: weakref.WeakSet[Background] = weakref.WeakSet()


@atexit.register
def _finish_all() -> None:
    for item in list(_all):
        item.finish(_LAST_S)
