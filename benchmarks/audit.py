"""How often the audit of a cascade gives a false alarm, and how soon it finds a change.

    python benchmarks/audit.py                         about five minutes, offline
    python benchmarks/audit.py --quick                 a tenth of the streams
    python benchmarks/audit.py --json audit.json

Streams of audited rows are drawn with a fixed seed, at a known share of the bound that the
calibration promises, and go through the code that the audit itself uses. Prints a table for each
question and a line for each aim; ends with status 1 when an aim is not met.
"""

from __future__ import annotations

import argparse
import sys
import timeit
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from _audit_streams import (
    HISTORIES,
    NEVER,
    QUIET_ROWS,
    Calls,
    delays,
    draw,
    first_alarm,
    first_alarm_before,
)
from _measure import Aim, machine, report
from _results import Results

from hybridmodel.cascade.bounds import interval
from hybridmodel.cascade.sequential import HEAD, RUN_LENGTH
from hybridmodel.cascade.watch import LOWER_ALPHA, Composition, Evidence, Watch

PACKAGES = ("hybridmodel", "numpy", "scipy")
ROWS = 20_000
BOUNDS = (0.01, 0.02, 0.03, 0.05)
AIMED = 0.02
"""From this bound up a change can be found within the aim; below it chance is in the way."""
LEVELS = {1.0: 0.05, 0.8: 0.01}
"""Times the bound, and the share of streams that may give a false alarm."""
SOON = 1_000


@dataclass(frozen=True)
class FalseAlarms:
    """Of `streams` streams of `ROWS` audited rows, those with an alarm: now, and by an interval."""

    bound: float
    kept: float
    times: float
    streams: int
    alarms: int
    alarms_before: int | None = None

    @property
    def share(self) -> float:
        """Of the streams."""
        return self.alarms / self.streams


@dataclass(frozen=True)
class Delays:
    """Audited rows from a change to twice the bound to the alarm."""

    bound: float
    kept: float
    history: str
    streams: int
    median: float
    most: float
    median_before: float | None = None


@dataclass
class Found:
    """What was found."""

    results: Results = field(
        default_factory=lambda: Results("audit", "An audit that can be believed", PACKAGES)
    )
    false_alarms: list[FalseAlarms] = field(default_factory=list)
    delays: list[Delays] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw, show, and return the exit status."""
    given = _options(arguments)
    print(machine(*PACKAGES))
    found, few = Found(), 10 if given.quick else 1
    found.results.note(
        f"Seed 0. Stated: P(alarm in n audited rows, never above the bound) <= "
        f"({HEAD:,.0f} + n) / {RUN_LENGTH:,.0f} + {LOWER_ALPHA:g}."
    )
    study_false_alarms(found, 2_000 // few, 400 // few)
    study_delays(found, 1_000 // few, 200 // few)
    show(found)
    judged = list(aims(found))
    if given.json:
        data = {name: [*map(asdict, getattr(found, name))] for name in ("false_alarms", "delays")}
        found.results.write(given.json, judged, data)
    return report(judged)


def study_false_alarms(found: Found, streams: int, calls: int) -> None:
    """Count alarms where there is nothing to find."""
    random = np.random.default_rng(0)
    for bound in BOUNDS:
        for times in LEVELS:
            drawn = [draw(random, ROWS, times * bound) for _ in range(streams)]
            alarms = _alarms(first_alarm(losses, bound) for losses in drawn)
            before = _alarms(first_alarm_before(losses, bound) for losses in drawn)
            found.false_alarms.append(FalseAlarms(bound, 1.0, times, streams, alarms, before))
    through = Calls()
    for times in LEVELS:
        alarms = _alarms(through.alarm(random, AIMED, ((ROWS, times),)) for _ in range(calls))
        found.false_alarms.append(FalseAlarms(AIMED, through.kept, times, calls, alarms))


def study_delays(found: Found, streams: int, calls: int) -> None:
    """Measure how long a change takes to be found."""
    random = np.random.default_rng(1)
    for bound in BOUNDS:
        for history in HISTORIES:
            new, old = np.array([*delays(random, bound, history, streams, ROWS * 3)]).T
            found.delays.append(
                Delays(
                    bound,
                    1.0,
                    history.name,
                    streams,
                    float(np.median(new)),
                    float(np.quantile(new, 0.9)),
                    float(np.nanmedian(old)),
                )
            )
    through = Calls()
    for bound in (0.01, AIMED):
        parts = ((QUIET_ROWS, 0.5), (ROWS, 2.0))
        new = np.array([through.alarm(random, bound, parts) for _ in range(calls)]) - QUIET_ROWS
        median, most = float(np.median(new)), float(np.quantile(new, 0.9))
        name = "50,000 rows at .5"
        found.delays.append(Delays(bound, through.kept, name, calls, median, most))


def show(found: Found) -> None:
    """Print the tables."""
    head = ["bound", "kept", "risk", "streams", "false alarms", "95 % of that", "by an interval"]
    found.results.show(
        f"Alarms in {ROWS:,} audited rows whose risk never is above the bound, looked at after "
        "every row; by an interval: one of 95 %, made anew after every row, as before",
        head,
        [
            [
                f"{item.bound:.0%}",
                f"{item.kept:.0%}",
                f"{item.times:g} x",
                f"{item.streams:,}",
                f"{item.share:.2%}",
                "{:.2%} to {:.2%}".format(*interval(item.alarms, item.streams)),
                "" if item.alarms_before is None else f"{item.alarms_before / item.streams:.0%}",
            ]
            for item in found.false_alarms
        ],
    )
    head = ["bound", "kept", "before the change", "streams", "median", "nine in ten", "interval"]
    found.results.show(
        "Audited rows from a rise to twice the bound to the alarm",
        head,
        [
            [
                f"{item.bound:.0%}",
                f"{item.kept:.0%}",
                item.history,
                f"{item.streams:,}",
                f"{item.median:,.0f}",
                f"{item.most:,.0f}",
                "" if item.median_before is None else f"{item.median_before:,.0f}",
            ]
            for item in found.delays
        ],
    )
    found.results.show("What an audited call costs in the audit's arithmetic", *costs())


def costs() -> tuple[list[str], list[list[str]]]:
    """Measure a step of `Watch`."""
    composition, random = Composition(rows=10_000, kept=5_000), np.random.default_rng(0)
    rows = []
    for audited in (1, 100, 10_000):
        new = Evidence(kept=draw(random, audited, 0.01), zeros=1.5)
        step = partial(Watch.of(AIMED).seen, new, composition, 0.0)
        times = timeit.repeat(step, number=100, repeat=7)
        rows.append([f"{audited:,}", f"{min(times) * 1e4:,.0f} µs"])
    return ["audited rows of the call", "time"], rows


def aims(found: Found) -> Iterator[Aim]:
    """Hold everything against its aims."""
    for times, most in LEVELS.items():
        shares = {
            f"{item.bound:.0%}": item.share for item in found.false_alarms if item.times == times
        }
        worst = max(shares, key=shares.__getitem__)
        text = f"false alarm in {ROWS:,} audited rows at {times:g} x the bound: at most {most:.0%}"
        measured = f"{shares[worst]:.2%} at most (bound {worst})"
        yield Aim(text, measured, shares[worst] <= most)
    for bound in BOUNDS:
        medians = [item.median for item in found.delays if item.bound == bound and item.kept == 1]
        text = f"twice a bound of {bound:.0%} is found within {SOON:,} audited rows, median"
        yield Aim(text, f"{max(medians):,.0f}, whatever went before", max(medians) <= SOON)
    kept = [item for item in found.delays if item.kept < 1]
    text = f"the same where {kept[0].kept:.0%} of the rows are kept, after 50,000 quiet rows"
    shown = ", ".join(f"{item.median:,.0f} (bound {item.bound:.0%})" for item in kept)
    yield Aim(text, shown, max(item.median for item in kept) <= SOON)


def _alarms(rows: Iterator[float]) -> int:
    return sum(row < NEVER for row in rows)


def _options(arguments: Sequence[str] | None) -> Any:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the streams")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="accepted; nothing is drawn")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything found")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
