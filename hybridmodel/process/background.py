"""Background work: one thread, and limits on the jobs that wait for it."""

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
"""How long an idle thread waits for a job; it keeps a deleted model alive for so long."""

_LAST_S = 10.0
"""How long the interpreter waits at its end for a job that must not be interrupted."""

_log = logging.getLogger("hybridmodel")


class Job(NamedTuple):
    """A job: what to run, and the key of its data in `Background._sizes`.

    `can_be_left` is false for a job that must end before the interpreter does: onnxruntime aborts
    the process when its thread finds the interpreter gone.
    """

    run: Callable[[], None]
    place: object
    can_be_left: bool


class Background:
    """One daemon thread that runs jobs in order; it starts with a job, and ends when idle.

    Jobs that still wait when the interpreter ends are dropped.
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
        """The number of jobs that wait or run."""
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
        """Accept a job if there is room for it, and return whether there was; never waits.

        `make` returns the function to run; it is called only if there is room, so that no data are
        copied in vain. `most` and `most_bytes` limit the jobs that wait or run, and their data.
        """
        place = object()
        try:
            if not self._take(place, size_bytes, most, most_bytes):
                return False
            self._add(Job(make(), place, can_be_left))
        except BaseException:
            # A signal handler may raise anywhere.
            self._release(place)
            raise
        return True

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait at most `timeout_s` until no job is pending, and return whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._sizes, timeout_s)

    def finish(self, timeout_s: float) -> None:
        """Drop the jobs that wait, and wait for one that cannot be left; for the interpreter's end.

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
                # Even after a BaseException, so that the next job starts another thread.
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
        except Exception:  # noqa: BLE001 - the next job must run all the same
            _log.exception("a background job failed")
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
