"""The pipeline: order, errors in their place, bounds, and an end that leaves no thread behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybridmodel.batch.pipeline import Piece, scored
from hybridmodel.batch.summary import Counts, Summary
from hybridmodel.exceptions import InputMismatch


def pieces(count: int, taken: list[int] | None = None) -> Iterator[Piece]:
    """Make pieces that hold their own number, and note which were taken."""
    for number in range(count):
        if taken is not None:
            taken.append(number)
        yield Piece(number // 3, number, start=10 * number)


def double(batch: Any) -> tuple[Any, Counts]:
    """Score a number."""
    return 2 * batch, Counts(rows=1, local=1)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 40), st.integers(0, 5))
def test_answers_come_in_order(count: int, workers: int) -> None:
    """Whatever the number of workers, each piece is answered once, in its place."""

    def score(batch: int) -> tuple[int, Counts]:
        time.sleep((batch * 7 % 3) / 5000)
        return double(batch)

    results = list(scored(pieces(count), score, workers))
    assert [result.batch for result in results] == [2 * number for number in range(count)]
    assert [result.part for result in results] == [number // 3 for number in range(count)]
    assert sum((result.counts for result in results), Counts()) == Counts(rows=count, local=count)


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_an_error_comes_in_its_place(workers: int) -> None:
    """What was answered before the piece that failed is handed out, and then its error raised."""

    def score(batch: int) -> tuple[int, Counts]:
        if batch >= 5:
            raise ValueError(batch)
        return double(batch)

    results = scored(pieces(50), score, workers)
    got: list[int] = []
    with pytest.raises(ValueError, match="5"):
        got.extend(result.batch for result in results)
    assert got == [0, 2, 4, 6, 8]
    assert not _threads()


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_of_the_reader_comes_behind_what_was_read(workers: int) -> None:
    """A file that ends badly ends the job where it does."""

    def broken() -> Iterator[Piece]:
        yield from pieces(4)
        raise OSError("gone")

    got: list[int] = []
    with pytest.raises(OSError, match="gone"):
        got.extend(result.batch for result in scored(broken(), double, workers))
    assert got == [0, 2, 4, 6]
    assert not _threads()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_mismatch_is_explained(workers: int) -> None:
    """Where a piece does not fit, whoever asked may say where it stands."""

    def score(batch: int) -> tuple[int, Counts]:
        if batch == 7:
            raise InputMismatch("does not fit")
        return double(batch)

    def explain(piece: Piece, error: InputMismatch) -> Exception:
        return InputMismatch(f"row {piece.start} {error}")

    with pytest.raises(InputMismatch, match="row 70 does not fit"):
        list(scored(pieces(9), score, workers, explain))
    with pytest.raises(InputMismatch, match=r"^does not fit"):
        list(scored(pieces(9), score, workers))


@pytest.mark.parametrize("workers", [1, 3])
def test_what_waits_is_bounded(workers: int) -> None:
    """Nobody reads on while the answers are not taken."""
    taken: list[int] = []
    results = scored(pieces(1000, taken), double, workers)
    next(results)
    _settle(lambda: len(taken))
    assert len(taken) <= workers + 5
    results.close()  # type: ignore[attr-defined]
    assert not _threads()


def test_the_reader_is_closed() -> None:
    """A reader holds files, which are closed when nobody wants its rows any more."""
    closed = threading.Event()

    def reader() -> Iterator[Piece]:
        try:
            yield from pieces(1000)
        finally:
            closed.set()

    results = scored(reader(), double, 2)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert closed.wait(5)


def test_the_workers_work_together() -> None:
    """So many pieces are scored at the same time as there are workers."""
    barrier = threading.Barrier(3, timeout=10)

    def score(batch: int) -> tuple[int, Counts]:
        barrier.wait()
        return double(batch)

    assert len(list(scored(pieces(6), score, 3))) == 6


def test_a_summary_counts() -> None:
    """A summary tells its speed, and is plain values for JSON."""
    summary = Summary(rows=10, local=8, remote=2, elapsed_s=4.0)
    assert summary.rows_per_s == 2.5
    assert Summary(rows=0, local=0, remote=0).rows_per_s == 0
    assert summary.to_dict()["remote"] == 2
    assert Counts(rows=1, remote=1, resent=2).to_dict()["resent"] == 2


def _threads() -> list[str]:
    """Return the threads of pipelines that are alive, after a moment in which they may end."""
    until = time.monotonic() + 5
    while time.monotonic() < until and _alive():
        time.sleep(0.005)
    return _alive()


def _alive() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "hybridmodel-batch" in thread.name]


def _settle(read: Any) -> None:
    """Wait until a number stays the same for a while."""
    before = -1
    while (now := read()) != before:
        before = now
        time.sleep(0.05)
