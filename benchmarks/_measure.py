"""How every benchmark here measures: side by side, by turns, in medians, against stated aims.

Numbers of two separate runs are not comparable on a machine that does other things too. So all
contestants of a case take turns in one run, and what is reported is the median of the differences
(or ratios) within a turn: what slows the machine for a moment slows both sides of a difference.
"""

from __future__ import annotations

import gc
import os
import platform
import random
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

Call = Callable[[], Any]
Times = dict[str, "np.ndarray[Any, np.dtype[np.float64]]"]


@dataclass(frozen=True)
class Aim:
    """A speed to reach, what was measured, and whether that is enough."""

    text: str
    measured: str
    met: bool

    def __str__(self) -> str:
        return f"{'met    ' if self.met else 'NOT met'}  {self.text}: {self.measured}"


@dataclass(frozen=True)
class OwnClock:
    """A contestant that times itself: many threads, or another process.

    Attributes
    ----------
    seconds : callable
        Makes so many calls and returns the seconds of one.
    """

    seconds: Callable[[int], float]

    def __call__(self) -> None:
        self.seconds(1)


@contextmanager
def crew(makes: Sequence[Callable[[], Call]]) -> Iterator[OwnClock]:
    """Run one thread for each of `makes`, which calls what it made there when it is its turn.

    Yields
    ------
    OwnClock
        ``seconds(n)`` lets every thread make `n` calls at the same time, and counts all of them.
    """
    gate = threading.Barrier(len(makes) + 1)
    turn = [0]

    def work(make: Callable[[], Call]) -> None:
        try:
            call = make()
            while True:
                gate.wait()
                if not turn[0]:
                    return
                for _ in range(turn[0]):
                    call()
                gate.wait()
        except BaseException:
            gate.abort()
            raise

    def seconds(number: int) -> float:
        turn[0] = number
        gate.wait()
        started = time.perf_counter()
        gate.wait()
        return (time.perf_counter() - started) / (number * len(makes))

    threads = [threading.Thread(target=work, args=(make,), daemon=True) for make in makes]
    for thread in threads:
        thread.start()
    try:
        yield OwnClock(seconds)
    finally:
        turn[0] = 0
        if not gate.broken:
            gate.wait()
        for thread in threads:
            thread.join()


@contextmanager
def no_gc() -> Iterator[None]:
    """Keep the garbage collector out of a measurement."""
    gc.collect()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def take_turns(
    calls: Mapping[str, Call],
    *,
    total_s: float,
    turn_s: float = 1e-3,
    least: int = 5,
    between: Call = lambda: None,
) -> Times:
    """Time every call, round after round.

    Parameters
    ----------
    calls : mapping of str to callable
        The contestants, in another order each round, so that nobody always follows the same.
    total_s : float
        About how long the measurement may take, together.
    turn_s : float
        A contestant repeats a call that is shorter until about this much is over.
    least : int
        Rounds that are made even if they take longer.
    between : callable
        Called before each turn, outside of the time, such as to free what the last one left.

    Returns
    -------
    dict of str to ndarray
        Seconds for one call, an entry for each round.
    """
    names, order = list(calls), random.Random(0)
    for call in calls.values():
        call()
    fastest = min(_timed(call, 3) for call in calls.values())
    number = max(1, int(turn_s / fastest))
    rounds: list[dict[str, float]] = []
    with no_gc():
        for call in calls.values():
            _timed(call, number)
        until = time.perf_counter() + total_s
        while len(rounds) < least or time.perf_counter() < until:
            row = {}
            for name in order.sample(names, len(names)):
                between()
                row[name] = _timed(calls[name], number)
            rounds.append(row)
    return {name: np.array([row[name] for row in rounds]) for name in names}


def peak_bytes(call: Call) -> int:
    """Return the most that Python and numpy held at once for a call, onnxruntime's copies too."""
    call()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        call()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def resident_bytes() -> int:
    """Return what this process holds in memory (Linux)."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def open_sockets() -> int:
    """Return how many sockets this process has open (Linux)."""
    return sum(_is_socket(link) for link in Path("/proc/self/fd").iterdir())


@contextmanager
def recorded_feeds(model: Any) -> Iterator[list[Any]]:
    """Keep the arrays that reach onnxruntime."""
    feeds: list[Any] = []
    run = model.local.run

    def record(given: Any, *arguments: Any) -> Any:
        feeds.extend(given.values())
        return run(given, *arguments)

    model.local.run = record
    try:
        yield feeds
    finally:
        del model.local.run


def difference_us(times: Times, name: str, base: str) -> float:
    """Return the median of how many µs a call of `name` takes longer than one of `base`."""
    return float(np.median(times[name] - times[base]) * 1e6)


def spread_us(times: Times, name: str, base: str) -> float:
    """Return half of the range that holds the middle half of these differences, in µs."""
    low, high = np.percentile(times[name] - times[base], [25, 75])
    return float((high - low) / 2 * 1e6)


def ratio(times: Times, name: str, base: str) -> float:
    """Return the median of how many times as long as `base` a call of `name` takes."""
    return float(np.median(times[name] / times[base]))


def median_us(times: Times, name: str) -> float:
    """Return the median of a call in µs."""
    return float(np.median(times[name]) * 1e6)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table: words to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if _is_number(rows[0][place]) else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def report(aims: Sequence[Aim]) -> int:
    """Print a line for each aim; return the exit status."""
    print("\nAims")
    for aim in aims:
        print(f"  {aim}")
    return 0 if all(aim.met for aim in aims) else 1


def machine(*packages: str) -> str:
    """Name what the numbers depend on."""
    versions = ", ".join(f"{name} {_version(name)}" for name in packages)
    busy = f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "load unknown"
    return (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores ({busy} before), "
        f"Python {platform.python_version()}, {versions}"
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "(none)"


def _timed(call: Call, number: int) -> float:
    if isinstance(call, OwnClock):
        return call.seconds(number)
    started = time.perf_counter()
    for _ in range(number):
        call()
    return (time.perf_counter() - started) / number


def _is_socket(link: Path) -> bool:
    try:
        return str(link.readlink()).startswith("socket:")
    except FileNotFoundError:  # The folder that was being listed.
        return False


def _is_number(cell: str) -> bool:
    return cell[:1] in "+-" or cell[:1].isdigit()
