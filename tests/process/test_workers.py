"""Threads that are kept for a while: few, reused, and gone when closed or idle."""

from __future__ import annotations

import contextvars
import os
import threading

import pytest

from hybridmodel.process import workers
from hybridmodel.process.workers import Workers
from tests.support.callers import wait_until

variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable")


def test_an_idle_thread_is_used_again() -> None:
    """Ten pieces of work, one after the other, need one thread."""
    crew, names = Workers(4, "worker"), []
    for number in range(10):
        assert crew.run(lambda: names.append(threading.get_ident()))
        wait_until(lambda number=number: len(names) > number and crew._idle == 1)  # type: ignore[misc]
    assert len(set(names)) == 1
    crew.close()
    wait_until(lambda: crew.size == 0)


def test_there_are_at_most_so_many() -> None:
    """What finds no thread is told so at once."""
    crew, release = Workers(2, "worker"), threading.Event()
    assert crew.run(lambda: bool(release.wait(10)))
    assert crew.run(lambda: bool(release.wait(10)))
    assert not crew.run(lambda: bool(release.wait(10)))
    release.set()
    wait_until(lambda: crew._idle == 2)
    assert crew.run(lambda: None)
    crew.close()


def test_an_idle_thread_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while without work, and what comes then starts another one."""
    monkeypatch.setattr(workers, "_LINGER_S", 0.01)
    crew, done = Workers(1, "worker"), []
    for number in range(3):
        wait_until(lambda: crew.run(lambda: done.append(1)))
        wait_until(lambda number=number: len(done) > number and crew.size == 0)  # type: ignore[misc]


def test_work_is_not_lost_when_threads_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was accepted is done, even in the moment in which a thread gives up waiting."""
    monkeypatch.setattr(workers, "_LINGER_S", 0.0)
    crew, done, accepted = Workers(3, "worker"), [], 0
    for _ in range(500):
        accepted += crew.run(lambda: done.append(1))
    wait_until(lambda: len(done) == accepted)


def test_a_worker_has_none_of_the_callers_variables() -> None:
    """It outlives the call that started it, so a span of that must not be its parent."""
    crew, found = Workers(1, "worker"), []
    variable.set(1)
    crew.run(lambda: found.append(variable.get(None)))
    wait_until(lambda: found == [None])
    crew.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only where processes fork")
def test_a_forked_child_starts_its_own() -> None:
    """The idle threads of the parent are not counted on."""
    crew = Workers(1, "worker")
    crew.run(lambda: None)
    wait_until(lambda: crew._idle == 1)
    child = os.fork()
    if child == 0:
        done = threading.Event()
        os._exit(0 if crew.run(done.set) and done.wait(5) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    crew.close()
