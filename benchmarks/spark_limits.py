"""How far a Spark job gets against the limits of one Azure endpoint: arithmetic and simulation.

    python benchmarks/spark_limits.py [--quick] [--plot FILE.png] [--json FILE]

Nothing is sent anywhere: a simulation of discrete events with a fixed seed, in virtual time, gives
the same figures on every machine. Limits of one endpoint, unless a ticket has raised them: 5 MB/s
each way (more is delayed), 500 requests a second and twice the concurrency of its deployment at a
time (more is refused with 429), 500 connections.
"""

from __future__ import annotations

import argparse
import heapq
import random
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from _measure import Aim, report
from _results import Results

BYTES_PER_S, REQUESTS_PER_S, CONNECTIONS = 5e6, 500, 500
DAY_S, ROWS = 86_400, 1e9
CLOSE = 0.05
"""Share by which simulation and arithmetic may differ."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A job and an endpoint.

    Attributes
    ----------
    executors, in_flight : int
        Of the job; the requests at a time are divided among them.
    share : float
        Of the rows that the endpoint answers: less in a cascade.
    row_bytes, answer_bytes : int
        Of one row, there and back.
    request_rows : int
        In one request.
    slots : int
        Requests that the deployment works on at a time: instances times concurrency.
    base_s, row_s : float
        A request takes ``base_s + rows * row_s``.
    """

    name: str
    executors: int
    in_flight: int
    share: float = 1.0
    row_bytes: int = 120
    answer_bytes: int = 12
    request_rows: int = 2_000
    slots: int = 8
    base_s: float = 0.02
    row_s: float = 2e-5

    @property
    def used(self) -> int:
        """Requests at a time that equal shares of whole requests add up to."""
        return self.in_flight // self.executors * self.executors

    @property
    def service_s(self) -> float:
        """What one request takes the model."""
        return self.base_s + self.request_rows * self.row_s

    def bounds(self) -> dict[str, float]:
        """Return the rows a second of the endpoint that each limit allows by itself."""
        up, down = self.request_rows * self.row_bytes, self.request_rows * self.answer_bytes
        alone_s = self.service_s + (up + down) / BYTES_PER_S
        return {
            "5 MB/s": BYTES_PER_S / max(self.row_bytes, self.answer_bytes),
            "500 requests/s": REQUESTS_PER_S * self.request_rows,
            "deployment": self.slots * self.request_rows / self.service_s,
            "in flight": self.used * self.request_rows / alone_s,
        }


SCENARIOS = (
    Scenario(name="laptop", executors=1, in_flight=2),
    Scenario(name="laptop, all its requests", executors=1, in_flight=16),
    Scenario(name="10 executors", executors=10, in_flight=16),
    Scenario(name="100 executors", executors=100, in_flight=100, slots=64),
    Scenario(name="1,000 executors", executors=1_000, in_flight=1_000, slots=512),
    Scenario(
        name="1,000 executors, a cascade at 5 %",
        executors=1_000,
        in_flight=1_000,
        slots=512,
        share=0.05,
    ),
    Scenario(name="1,000 executors, 16 requests each", executors=1_000, in_flight=16_000, slots=8),
    Scenario(
        name="10 executors, requests of 10 rows",
        executors=10,
        in_flight=100,
        slots=64,
        request_rows=10,
        base_s=0.005,
    ),
    Scenario(
        name="10 executors, images of 602 kB",
        executors=10,
        in_flight=16,
        row_bytes=602_112,
        answer_bytes=4_000,
        request_rows=4,
        row_s=0.01,
    ),
)


@dataclass(frozen=True)
class Outcome:
    """What became of a scenario in the simulated time."""

    scenario: Scenario
    rows_per_s: float
    refused: float
    peak: int

    @property
    def arithmetic(self) -> tuple[str, float]:
        """The limit that is reached first, and its rows a second."""
        bounds = self.scenario.bounds()
        first = min(bounds, key=bounds.__getitem__)
        return first, bounds[first]

    @property
    def job_rows_per_s(self) -> float:
        """Rows a second of the whole job, with those that the local model keeps."""
        return self.rows_per_s / self.scenario.share


class Simulation:
    """Clients that each send one request after the other, and one endpoint."""

    def __init__(self, scenario: Scenario, seed: int = 0) -> None:
        self._scenario = scenario
        self._random = random.Random(seed)
        self._events: list[tuple[float, int, Callable[[float, int], None], int]] = []
        self._number = 0
        self._up_s = self._down_s = 0.0
        self._working = 0
        self._queue: deque[int] = deque()
        self._recent: deque[float] = deque()
        self._tries = [0] * scenario.used
        self.in_flight = self.peak = 0
        self.sent: list[float] = []
        self.refused: list[float] = []
        self.answered: list[float] = []

    def run(self, until_s: float) -> None:
        """Let the time pass."""
        for client in range(self._scenario.used):
            # Tasks begin one after the other, as Spark starts them.
            self._at(client / self._scenario.used, self._send, client)
        while self._events and self._events[0][0] <= until_s:
            now, _, what, client = heapq.heappop(self._events)
            what(now, client)

    def _at(self, when_s: float, what: Callable[[float, int], None], client: int) -> None:
        self._number += 1
        heapq.heappush(self._events, (when_s, self._number, what, client))

    def _send(self, now: float, client: int) -> None:
        self.sent.append(now)
        while self._recent and self._recent[0] <= now - 1:
            self._recent.popleft()
        over = self.in_flight >= 2 * self._scenario.slots
        if over or len(self._recent) >= REQUESTS_PER_S:
            self.refused.append(now)
            self._tries[client] += 1
            pause_s = min(10.0, 0.5 * 2 ** self._tries[client]) * self._random.random()
            self._at(now + pause_s, self._send, client)
            return
        self._recent.append(now)
        self._tries[client] = 0
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        sent_bytes = self._scenario.request_rows * self._scenario.row_bytes
        self._up_s = max(now, self._up_s) + sent_bytes / BYTES_PER_S
        self._at(self._up_s, self._arrive, client)

    def _arrive(self, now: float, client: int) -> None:
        self._queue.append(client)
        self._begin(now)

    def _begin(self, now: float) -> None:
        while self._queue and self._working < self._scenario.slots:
            self._working += 1
            spread = 0.9 + 0.2 * self._random.random()
            self._at(now + self._scenario.service_s * spread, self._end, self._queue.popleft())

    def _end(self, now: float, client: int) -> None:
        self._working -= 1
        self._begin(now)
        answer_bytes = self._scenario.request_rows * self._scenario.answer_bytes
        self._down_s = max(now, self._down_s) + answer_bytes / BYTES_PER_S
        self._at(self._down_s, self._receive, client)

    def _receive(self, now: float, client: int) -> None:
        self.in_flight -= 1
        self.answered.append(now)
        self._send(now, client)


def outcome(scenario: Scenario, seconds: float) -> Outcome:
    """Simulate a scenario, and look at it after a fifth of the time."""
    simulation = Simulation(scenario)
    simulation.run(seconds)
    since = seconds / 5
    answered, sent, refused = (
        sum(moment >= since for moment in moments)
        for moments in (simulation.answered, simulation.sent, simulation.refused)
    )
    rows = answered * scenario.request_rows
    return Outcome(scenario, rows / (seconds - since), refused / max(sent, 1), simulation.peak)


def main(arguments: Sequence[str] | None = None) -> int:
    """Reckon, simulate, show, and return the exit status."""
    options = _options(arguments)
    results = Results("spark_limits", "A Spark job against the limits of one endpoint", ())
    seconds = 100.0 if options.quick else 400.0
    found = [outcome(scenario, seconds) for scenario in SCENARIOS]
    results.note(f"Simulated: {seconds:g} s of virtual time, seed 0; nothing was sent anywhere.")
    head = ["job", "executors", "in flight", "first limit", "by arithmetic", "simulated"]
    head += ["rows/s of the job", "rows a day", "h for 10^9", "refused", "peak"]
    results.show("Rows a second of the endpoint, and what they mean", head, [*map(row, found)])
    if options.plot:
        plot(found, options.plot)
    judged = list(aims(found))
    if options.json:
        data = [asdict(item) for item in found]
        results.write(options.json, judged, data, [options.plot])
    return report(judged)


def row(found: Outcome) -> list[str]:
    """Lay out one scenario."""
    first, allowed = found.arithmetic
    return [
        found.scenario.name,
        f"{found.scenario.executors:,}",
        f"{found.scenario.used:,}",
        first,
        f"{allowed:,.0f}",
        f"{found.rows_per_s:,.0f}",
        f"{found.job_rows_per_s:,.0f}",
        f"{found.job_rows_per_s * DAY_S:.2g}",
        f"{ROWS / found.job_rows_per_s / 3600:,.1f}",
        f"{found.refused:.1%}",
        f"{found.peak:,}",
    ]


def aims(found: Sequence[Outcome]) -> Iterator[Aim]:
    """Hold the simulation against the arithmetic, and the bound against what it is for."""
    kept = [item for item in found if item.scenario.used <= 2 * item.scenario.slots]
    kept = [item for item in kept if item.arithmetic[0] != "500 requests/s"]
    off = {item.scenario.name: abs(item.rows_per_s / item.arithmetic[1] - 1) for item in kept}
    worst = max(off, key=off.__getitem__)
    text = f"simulated as reckoned within {CLOSE:.0%}, in {len(kept)} jobs that keep to the limits"
    yield Aim(text, f"{off[worst]:.1%} off at most ({worst})", off[worst] <= CLOSE)
    refused = max(item.refused for item in kept)
    text = "no request is refused where in flight is at most twice the deployment's concurrency"
    yield Aim(text, f"{refused:.1%}", refused == 0)
    day = [item for item in kept if item.job_rows_per_s * DAY_S >= ROWS]
    named = ", ".join(item.scenario.name for item in day) or "none"
    yield Aim("10^9 rows a day fit one endpoint (30 float32)", named, bool(day))


def plot(found: Sequence[Outcome], path: Path) -> None:
    """Draw what each limit allows, and what was simulated."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panel = plt.subplots(figsize=(9, 4.2), constrained_layout=True)
    places = range(len(found))
    colors = ("#c8553d", "#e0a458", "#5b6c8f", "#8d6a9f")
    for name, color in zip(found[0].scenario.bounds(), colors, strict=True):
        allowed = [item.scenario.bounds()[name] for item in found]
        panel.plot(allowed, places, "|", ms=16, mew=2, color=color, label=name)
    panel.barh(places, [item.rows_per_s for item in found], color="#0b6e4f", label="simulated")
    panel.axvline(ROWS / DAY_S, color="black", linewidth=0.8, linestyle=":")
    panel.set_yticks(places, [item.scenario.name for item in found], fontsize=8)
    panel.set_xscale("log")
    panel.invert_yaxis()
    panel.set_xlabel("rows a second of the endpoint; dotted: 10^9 a day")
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path, dpi=130)


def _options(arguments: Sequence[str] | None) -> Any:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a quarter of the virtual time")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything found")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
