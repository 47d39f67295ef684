"""Scores pieces in several threads, and yields the answers in the order of the pieces.

One thread reads, the workers score, and the caller's thread writes. The queue between them is
bounded, so memory is too.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from functools import partial
from typing import Any

from hybridmodel.batch.summary import Counts
from hybridmodel.exceptions import InputMismatch

Score = Callable[[Any], tuple[Any, Counts]]
"""Takes a record batch and returns the scored one."""

_NAME = "hybridmodel-batch"
_PATIENCE_S = 1.0
"""How long to wait for running work after an error or an early end."""

_LONGEST_S = 0.25
"""Of one wait, so that the main thread can handle signals in between."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some rows of a part; `start` counts the rows of the file before them."""

    part: int
    batch: Any
    start: int = 0


Explain = Callable[[Piece, InputMismatch], Exception]


@dataclass(frozen=True, slots=True)
class Scored:
    """The answer for a piece, and who has answered its rows."""

    part: int
    batch: Any
    counts: Counts


def scored(
    pieces: Iterable[Piece], score: Score, workers: int, explain: Explain | None = None
) -> Iterator[Scored]:
    """Score pieces, and yield the answers in their order.

    When reading or scoring raises, or the caller stops early, no new work begins, and running work
    is awaited for at most a second. With 0 workers all runs in the caller's thread.
    """
    work = partial(_score, score, explain)
    if workers < 1:
        yield from map(work, pieces)
        return
    line = _Line(workers + 2)
    tasks = [partial(line.read, pieces), *[partial(line.work, work)] * workers]
    threads = [threading.Thread(target=task, name=_NAME, daemon=True) for task in tasks]
    for thread in threads:
        thread.start()
    try:
        yield from line.results()
    finally:
        line.stop()
        _join(threads)


def _score(score: Score, explain: Explain | None, piece: Piece) -> Scored:
    try:
        return Scored(piece.part, *score(piece.batch))
    except InputMismatch as error:
        if explain is None:
            raise
        raise explain(piece, error) from error


def _join(threads: list[threading.Thread]) -> None:
    """Wait for threads: one that is in onnxruntime when the process exits would abort it."""
    until = time.monotonic() + _PATIENCE_S
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))


class _Line:
    """The queues that the threads share: waiting pieces, and their answers in order."""

    def __init__(self, most: int) -> None:
        self._room = threading.Semaphore(most)
        self._waiting: queue.SimpleQueue[tuple[Piece, Future[Scored]] | None] = queue.SimpleQueue()
        self._places: queue.SimpleQueue[Future[Scored] | None] = queue.SimpleQueue()
        self._stopped = threading.Event()

    def read(self, pieces: Iterable[Piece]) -> None:
        """Queue pieces as there is room; an error of reading takes the place of an answer."""
        try:
            for piece in pieces:
                if not self._has_room():
                    break
                future: Future[Scored] = Future()
                self._places.put(future)
                self._waiting.put((piece, future))
        except BaseException as error:  # noqa: BLE001 - raised by the thread that takes the results
            failed: Future[Scored] = Future()
            failed.set_exception(error)
            self._places.put(failed)
        finally:
            close = getattr(pieces, "close", None)
            if close is not None:
                close()
            self._places.put(None)
            self._waiting.put(None)

    def work(self, score: Callable[[Piece], Scored]) -> None:
        """Score pieces until none is left."""
        while (taken := self._waiting.get()) is not None and not self._stopped.is_set():
            piece, future = taken
            try:
                future.set_result(score(piece))
            except BaseException as error:  # noqa: BLE001 - raised when the results are taken
                future.set_exception(error)
            del taken, piece, future  # An idle thread must not keep its last rows in memory.
        self._waiting.put(None)  # For the next thread.

    def results(self) -> Iterator[Scored]:
        """Yield the answers in order, as they come."""
        while (place := self._next_place()) is not None:
            yield _awaited(place)
            self._room.release()

    def stop(self) -> None:
        """Begin no new work."""
        self._stopped.set()
        self._room.release()
        self._waiting.put(None)

    def _has_room(self) -> bool:
        self._room.acquire()
        return not self._stopped.is_set()

    def _next_place(self) -> Future[Scored] | None:
        while True:
            try:
                return self._places.get(timeout=_LONGEST_S)
            except queue.Empty:
                continue


def _awaited(place: Future[Scored]) -> Scored:
    while True:
        try:
            return place.result(_LONGEST_S)
        except FutureTimeout:
            if place.done():
                return place.result()
