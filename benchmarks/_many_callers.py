"""Many callers that ask for a row each, again and again: threads and coroutines, four clients."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from _clients import TritonClient
from _coroutines import load_of_aio, load_of_ours
from _measure import Call
from _server import ROW, Bench

HTTP, AIO = "tritonclient.http", "tritonclient.http.aio"
OURS, COROUTINES = "ours, threads", "ours, coroutines"
CLIENTS = (HTTP, AIO, OURS, COROUTINES)
COALESCE_ROWS = 256

Load = Callable[[int, float], list[float]]
"""Lets so many callers call for so many seconds, and returns the seconds of each call."""


@dataclass
class Cell:
    """What one client got done for so many callers: for each round calls a second, and p99."""

    calls_per_s: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)

    def add(self, times: Sequence[float], seconds: float) -> None:
        """Keep what one round found."""
        self.calls_per_s.append(len(times) / seconds)
        self.p99_ms.append(float(np.percentile(times, 99)) * 1e3)


Cells = dict[tuple[str, int], Cell]


def loads(here: Bench, row: Any, stack: ExitStack) -> dict[str, Load]:
    """Make the four clients."""
    model = stack.enter_context(gathering(here))

    def theirs() -> Call:
        client = TritonClient(here.server.uri, ROW)  # Works only in the thread that makes it.
        client.prepare(row)
        return lambda: client.bare_infer().as_numpy("y")

    def ours() -> Call:
        return partial(model.predict, row, use_azure=True)

    return {
        HTTP: lambda callers, seconds: load_of_threads([theirs] * callers, seconds),
        OURS: lambda callers, seconds: load_of_threads([ours] * callers, seconds),
        AIO: partial(load_of_aio, here.server.uri, ROW, row),
        COROUTINES: partial(load_of_ours, model, row),
    }


def gathering(here: Bench, rows: int = COALESCE_ROWS) -> Any:
    """Make the model whose calls go together; 0 rows for one whose calls do not."""
    from hybridmodel import HybridOnnxModel

    endpoint = here.server.endpoint(ROW.model, timeout_s=60, coalesce_rows=rows)
    return HybridOnnxModel(here.files[ROW.model], endpoint=endpoint)


def load_of_threads(makes: Sequence[Callable[[], Call]], seconds: float) -> list[float]:
    """Let a thread for each of `makes` call what it made there again and again."""
    gate = threading.Barrier(len(makes))
    found: list[list[float]] = []

    def work(make: Callable[[], Call]) -> None:
        call = make()
        call()  # Its connection is made before.
        gate.wait()
        mine: list[float] = []
        started = time.perf_counter()
        until = started + seconds
        while started < until:
            call()
            ended = time.perf_counter()
            mine.append(ended - started)
            started = ended
        found.append(mine)

    threads = [threading.Thread(target=work, args=(make,)) for make in makes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(found) < len(makes):
        raise SystemExit("a caller failed; its error stands above")
    return [seconds for mine in found for seconds in mine]


def by_turns(
    clients: Mapping[str, Load], callers: int, rounds: int, seconds: float, cells: Cells
) -> None:
    """Let the clients take turns in a random order, and keep what each round found."""
    order = random.Random(callers)
    for _ in range(rounds):
        for name in order.sample([*clients], len(clients)):
            times = clients[name](callers, seconds)
            cells.setdefault((name, callers), Cell()).add(times, seconds)


def times_as_many(cells: Cells, name: str, base: str, callers: int) -> float:
    """Return how many times as many calls one client gets done, as the median of the rounds."""
    ours, theirs = cells[name, callers].calls_per_s, cells[base, callers].calls_per_s
    return float(np.median(np.divide(ours, theirs)))


def share_of_p99(cells: Cells, name: str, base: str, callers: int) -> float:
    """Return the 99th percentile of one client's calls, divided by the other's."""
    ours, theirs = cells[name, callers].p99_ms, cells[base, callers].p99_ms
    return float(np.median(np.divide(ours, theirs)))


def requests_at_server(here: Bench) -> int:
    """Ask Triton how many requests it has answered for the model."""
    import requests

    url = f"{here.server.uri}/v2/models/{ROW.model}/stats"
    found = requests.get(url, timeout=10).json()["model_stats"][0]
    return int(found["inference_stats"]["success"]["count"])
