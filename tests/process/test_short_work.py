"""Work that a loop does itself: what is known to be short, and nothing else."""

from __future__ import annotations

import asyncio
import threading
from functools import partial

import pytest

from hybridmodel.process.loops import run
from hybridmodel.process.short_work import ShortWork

HERE = threading.get_ident


def taking(*seconds: float) -> ShortWork:
    """Make one whose next runs take so long, by its clock."""
    ends = iter([end for took_s in seconds for end in (0.0, took_s)])
    return ShortWork(lambda: next(ends))


def where(work: ShortWork, *sizes: int) -> list[bool]:
    """Tell for each run whether it was in the loop's own thread."""
    return [asyncio.run(run(partial(work.run, size, HERE))) == HERE() for size in sizes]


def test_unknown_and_long_work_goes_to_a_thread() -> None:
    """The first run does, and each after one that took long; after a short one it stays."""
    work = taking(0.1, 0.1, 0.0001, 0.0001, 0.1, 0.0001)
    assert where(work, 1, 1, 1, 1, 1, 1) == [False, False, False, True, True, False]


def test_more_of_it_takes_longer() -> None:
    """In proportion to its size; less of it is expected to take as long as before."""
    work = taking(0.0001, 0.0001, 0.001, 0.001, 0.0001)
    assert where(work, 10, 40, 400, 10, 10) == [False, True, False, False, False]


def test_a_fork_knows_nothing_and_a_failure_teaches_nothing() -> None:
    """A child has to open its own session first, and an error says nothing about time."""
    work = taking(0.0001, 0.0001, 0.0001, 0.0001)
    assert where(work, 1, 1) == [False, True]
    with pytest.raises(ZeroDivisionError):
        asyncio.run(run(partial(work.run, 1, lambda: 1 // 0)))
    work.reset()
    assert where(work, 1) == [False]


def test_a_thread_runs_it_where_it_is() -> None:
    """Outside of coroutines there is nothing to decide."""
    assert ShortWork().run(1, HERE) == HERE()
