"""Threads that work for others: few, started when needed, kept for a while, gone when idle."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from functools import partial

from hybridmodel.process.bounded import Crew
from hybridmodel.process.loops import current_loop, start
from hybridmodel.process.per_process import reset_in_child

_LINGER_S = 5.0
"""How long an idle thread waits for work."""

Work = Callable[[], None]


class Workers:
    """At most so many daemon threads; an idle one refers to nothing but this."""

    def __init__(self, most: int, name: str) -> None:
        self._crew = Crew(most)
        self._name = name
        self.reset()
        reset_in_child(self)

    def reset(self) -> None:
        """Forget all threads, because a forked child has none of them."""
        self._lock = threading.Lock()
        self._works: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        # Threads that wait, without those that something in the queue is for.
        self._idle = 0

    @property
    def size(self) -> int:
        """The number of threads that are alive."""
        return self._crew.size

    def run(self, work: Work) -> bool:
        """Run `work`, which must not raise, in another thread; False if there is none for it.

        It has none of the caller's context variables. In a coroutine, `work` needs no thread: it
        waits on the same loop.
        """
        if current_loop() is not None:
            start(work)
            return True
        with self._lock:
            if self._idle:
                self._idle -= 1
                self._works.put(work)
                return True
        first = partial(self._serve, work)
        # At the end of the interpreter no thread can be started.
        with suppress(RuntimeError):
            return Context().run(self._crew.start, first, name=self._name)
        return False

    def close(self) -> None:
        """End the idle threads."""
        with self._lock:
            for _ in range(self._idle):
                self._works.put(None)
            self._idle = 0

    def _serve(self, work: Work | None) -> None:
        while work is not None:
            work()
            work = self._next()

    def _next(self) -> Work | None:
        with self._lock:
            self._idle += 1
        while True:
            with suppress(queue.Empty):
                return self._works.get(timeout=_LINGER_S)
            with self._lock:
                # At 0, something in the queue is for this thread.
                if self._idle:
                    self._idle -= 1
                    return None
