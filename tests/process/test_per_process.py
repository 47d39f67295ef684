"""`PerProcess`: made once, by one thread, anew after a fork."""

from __future__ import annotations

import gc
import multiprocessing
import os
import sys
import threading
import weakref

import numpy as np
import pytest

from hybridmodel.local.session import LocalSession
from hybridmodel.process.per_process import PerProcess
from tests.support import models


def test_the_value_is_made_once_however_many_threads_ask() -> None:
    """Sixteen threads at the same moment get the same object."""
    made: list[object] = []
    start = threading.Barrier(16)

    def make() -> object:
        made.append(object())
        return made[-1]

    shared: PerProcess[object] = PerProcess()
    got: list[object] = []

    def ask() -> None:
        start.wait()
        got.append(shared.get(make))

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert set(map(id, got)) == {id(made[0])}


def test_a_failure_is_not_kept() -> None:
    """What could not be made is tried again by the next who asks."""
    attempts = iter([ValueError("first"), None])

    def make() -> str:
        error = next(attempts)
        if error:
            raise error
        return "made"

    shared: PerProcess[str] = PerProcess()
    with pytest.raises(ValueError, match="first"):
        shared.get(make)
    assert shared.peek() is None
    assert shared.get(make) == "made"


def test_a_discarded_value_is_made_anew() -> None:
    """`discard` hands the value over and forgets it."""
    shared: PerProcess[object] = PerProcess()
    first = shared.get(object)
    assert shared.discard() is first
    assert shared.discard() is None
    assert shared.get(object) is not first


def _report(shared: PerProcess[int], parent: int, queue: multiprocessing.Queue[bool]) -> None:
    queue.put(shared.peek() is None and shared.get(os.getpid) == os.getpid() != parent)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_makes_its_own_even_while_the_lock_was_held() -> None:
    """A thread that was making the value as the process forked does not block the child."""
    shared: PerProcess[int] = PerProcess()
    assert shared.get(os.getpid) == os.getpid()
    shared._lock.acquire()
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_report, args=(shared, os.getpid(), queue))
    child.start()
    try:
        assert queue.get(timeout=30)
    finally:
        child.join(30)
        shared._lock.release()
    assert child.exitcode == 0


def test_a_model_that_is_dropped_gives_its_session_back_at_once() -> None:
    """Nothing waits for the garbage collector: a session may be gigabytes."""
    gc.collect()
    gc.disable()
    try:
        session = LocalSession(models.linear())
        session.run({"x": np.zeros((1, 4), np.float32)}, ["y"])
        gone = weakref.ref(session.session)
        del session
        assert gone() is None
    finally:
        gc.enable()


def test_a_value_may_be_discarded_while_others_ask() -> None:
    """Whoever asks gets a value, whatever happens to it in another thread at that moment."""
    shared: PerProcess[str] = PerProcess()
    stop, got = threading.Event(), []

    def discard() -> None:
        while not stop.is_set():
            shared.discard()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=discard)
    thread.start()
    try:
        got = [shared.get(lambda: "made") for _ in range(20_000)]
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(interval)
    assert set(got) == {"made"}
