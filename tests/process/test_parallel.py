"""Several requests at a time: all results, the first error, and nobody kept waiting."""

from __future__ import annotations

import threading
import time

import pytest

from hybridmodel.process.bounded import Crew
from hybridmodel.process.parallel import map_unordered


@pytest.mark.parametrize("at_a_time", [1, 3, 50])
def test_every_item_gives_its_result(at_a_time: int) -> None:
    """In whatever order they end."""
    found = map_unordered(
        lambda number: number * 2, range(20), at_a_time, crew=Crew(100), name="test"
    )
    assert sorted(found) == list(range(0, 40, 2))


def test_so_many_run_at_a_time() -> None:
    """Three items meet, of which each waits for the others."""
    together = threading.Barrier(3)
    assert (
        len(
            list(
                map_unordered(lambda _: together.wait(10), range(3), 3, crew=Crew(100), name="test")
            )
        )
        == 3
    )


def test_an_error_is_raised_while_others_hang() -> None:
    """The caller does not wait for them, and no further item is begun."""
    release = threading.Event()
    begun: list[int] = []

    def work(number: int) -> None:
        begun.append(number)
        if number == 0:
            release.wait(30)
        else:
            raise ValueError(number)

    started = time.monotonic()
    with pytest.raises(ValueError, match="1"):
        list(map_unordered(work, range(100), 2, crew=Crew(100), name="test"))
    assert time.monotonic() - started < 10
    release.set()
    assert sorted(begun) == [0, 1]


def test_who_stops_asking_stops_the_rest() -> None:
    """After the first result nobody wants the others."""
    begun: list[int] = []
    results = map_unordered(begun.append, range(10**9), 1, crew=Crew(100), name="test")
    next(results)
    results.close()
    for thread in threading.enumerate():
        if thread.name == "test":
            thread.join(10)
    assert len(begun) < 10**9
