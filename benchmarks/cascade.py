"""What a cascade of a small and a big model gains, promises and costs, and what outages do to it.

    python benchmarks/cascade.py                       about a quarter of an hour, offline
    python benchmarks/cascade.py --quick               a tenth of the splits and draws, less time
    python benchmarks/cascade.py --only overhead       one study, or several
    python benchmarks/cascade.py --plot cascade.png --json cascade.json

Needs the ``dev`` extra; the studies ``overhead`` and ``outage`` also Linux x86-64, where
`hybridmodel.serving.TritonServer` runs. Prints a table for each study and a line for each aim; ends
with status 1 when an aim is not met.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from _asking import EPSILON as ASKED_EPSILON
from _asking import Asked
from _asking import aims as asking_aims
from _asking import study as asking_study
from _asking import table as asking_table
from _cascade_plot import draw
from _cascade_tables import (
    described,
    gains_table,
    outage_table,
    overhead_table,
    promise_table,
)
from _gates import Gates, gate_study, gates_aims, gates_table
from _measure import Aim, machine, report
from _overhead import (
    CALLS,
    FAILURES,
    RATIOS,
    ROWS_EACH,
    SHARE,
    THREADS,
    TIMEOUT_S,
    Cost,
    Outage,
    costs,
    outages,
)
from _promises import Kept, promises_aims, promises_table, study
from _results import Results
from _studies import DELTA, Gains, Outcome, gains, population, promise, tasks

PACKAGES = ("hybridmodel", "numpy", "onnxruntime", "scipy", "scikit-learn", "skl2onnx")
TITLE = "What a cascade gains, promises and costs"
EPSILONS = (0.005, 0.01, 0.02)
SIZES = (200, 500, 2_000, 10_000)
POPULATION = 200_000

DIGITS = {"small": 0.933, "big": 0.986, 0.20: 0.982, 0.30: 0.985}
"""Accuracies to reproduce, within 0.2 points."""

ROWS = 10_000
LATE_S = 0.1
"""How long a call that waited until its deadline may take to hand out what it has."""


@dataclass(frozen=True)
class Found:
    """What the studies that were made have found."""

    results: Results = field(default_factory=lambda: Results("cascade", TITLE, PACKAGES))
    gains: list[Gains] = field(default_factory=list)
    promise: list[Outcome] = field(default_factory=list)
    promises: list[Kept] = field(default_factory=list)
    asking: list[Asked] = field(default_factory=list)
    gates: list[Gates] = field(default_factory=list)
    overhead: list[Cost] = field(default_factory=list)
    outage: list[Outage] = field(default_factory=list)

    def aims(self) -> list[Aim]:
        """Hold everything against its aims."""
        return list(
            chain(
                gains_aims(self.gains),
                promise_aims(self.promise),
                promises_aims(self.promises),
                asking_aims(self.asking),
                gates_aims(self.gates),
                overhead_aims(self.overhead),
                outage_aims(self.outage),
            )
        )


def main(arguments: list[str] | None = None) -> int:
    """Run the studies."""
    given = parse(arguments)
    os.environ["NO_PROXY"] = "127.0.0.1"
    logging.getLogger("hybridmodel").setLevel(logging.ERROR)
    print(machine(*PACKAGES))
    found = Found()
    for name in given.only:
        SHOWN[name](found, given.quick)
        print(f"\nload after {name}: {os.getloadavg()[0]:.1f}")
    aims = found.aims()
    if given.plot:
        draw(found.gains, found.promise, found.overhead, found.outage, given.plot)
    if given.json:
        found.results.write(given.json, aims, as_json(found), [given.plot])
    return report(aims)


def show_gains(found: Found, quick: bool) -> None:
    """Make study 1, and print it."""
    splits = 10 if quick else 100
    found.gains.extend(gains(task, splits) for task in tasks())
    caption = f"Share right by share escalated, means over {splits} splits of 40/30/30 %"
    found.results.show(caption, *gains_table(found.gains))


def show_promise(found: Found, quick: bool) -> None:
    """Make study 2, and print it."""
    draws, known = 40 if quick else 400, population(POPULATION)
    found.promise.extend(promise(known, EPSILONS, SIZES, draws))
    caption = f"The promise with delta {DELTA}, over {draws} calibrations; {described(known)}"
    found.results.show(caption, *promise_table(found.promise))


def show_promises(found: Found, quick: bool) -> None:
    """Make study 3, and print it."""
    found.promises.extend(study(quick))
    caption = f"Promises of every kind with delta {DELTA}, on seven populations of 100,000 rows"
    found.results.show(caption, *promises_table(found.promises))


def show_asking(found: Found, quick: bool) -> None:
    """Make study 4, and print it."""
    found.asking.extend(asking_study(draws=4 if quick else 40))
    caption = f"Rows that an endpoint is asked for to calibrate, epsilon {ASKED_EPSILON}"
    found.results.show(caption, *asking_table(found.asking))


def show_gates(found: Found, quick: bool) -> None:
    """Make study 5, and print it."""
    found.gates.extend(gate_study(quick))
    caption = f"A gate that sees the inputs, and the plain score, with delta {DELTA}"
    found.results.show(caption, *gates_table(found.gates))


def show_overhead(found: Found, quick: bool) -> None:
    """Make study 6, and print it."""
    found.overhead.extend(costs(ROWS, 3.0 if quick else 9.0))
    caption = (
        f"{ROWS:,} x 64 digits: local model, cascade that escalates nothing, both models one after "
        f"the other (the big one for {SHARE:.0%} of the rows), cascade that escalates these"
    )
    found.results.show(caption, *overhead_table(found.overhead))


def show_outage(found: Found, quick: bool) -> None:
    """Make study 7, and print it."""
    found.outage.extend(outages(["killed"] if quick else FAILURES))
    caption = (
        f"Server killed (SIGKILL) or hung (SIGSTOP) at call {CALLS // 2} of {CALLS}, of "
        f"{ROWS_EACH} rows each, from {THREADS} threads, with {TIMEOUT_S:g} s for a call"
    )
    found.results.show(caption, *outage_table(found.outage))


SHOWN: dict[str, Callable[[Found, bool], None]] = {
    "gains": show_gains,
    "promise": show_promise,
    "promises": show_promises,
    "asking": show_asking,
    "gates": show_gates,
    "overhead": show_overhead,
    "outage": show_outage,
}


def gains_aims(gained: Sequence[Gains]) -> Iterator[Aim]:
    """Hold digits against the accuracies to reproduce."""
    for digits in gained[:1]:
        found: dict[Any, float] = {"small": digits.small, "big": digits.big, **digits.at}
        for what, aim in DIGITS.items():
            which = what if isinstance(what, str) else f"{what:.0%} escalated"
            close = abs(found[what] - aim) <= 0.002
            yield Aim(f"digits, {which}: {aim} ± 0.002", f"{found[what]:.4f}", close)


def promise_aims(outcomes: Sequence[Outcome]) -> Iterator[Aim]:
    """Hold the share of broken promises against delta; the interval decides, and the exact one."""
    if not outcomes:
        return
    worst = max(outcomes, key=lambda item: item.broken)
    low, high = worst.broken_interval
    exact = max(item.exact for item in outcomes)
    measured = f"at most {worst.broken / worst.draws:.1%} ({low:.1%} to {high:.1%})"
    yield Aim(
        f"promise broken in {DELTA:.0%} of calibrations at most, {len(outcomes)} cases",
        f"{measured}, by the binomial distribution {exact:.1%}",
        all(item.broken_interval[0] <= DELTA for item in outcomes) and exact <= DELTA,
    )


def overhead_aims(measured: Iterable[Cost]) -> Iterator[Aim]:
    """Hold the time of cascades against that of their parts."""
    said = {
        "kept": "nothing escalated: at most {} of the local call",
        "escalated": f"{SHARE:.0%} escalated: at most {{}} of both calls apart",
    }
    for item in measured:
        for name, (middle, _, _) in item.ratios().items():
            text = f"{item.small}, {said[name].format(RATIOS[name])}"
            yield Aim(text, f"{middle:.3f}", middle <= RATIOS[name])


def outage_aims(happened: Sequence[Outage]) -> Iterator[Aim]:
    """Hold each mode against what it is for."""
    for item in happened:
        in_time = item.longest_s <= TIMEOUT_S + LATE_S
        time = f"longest call {item.longest_s:.2f} s of {TIMEOUT_S:g}"
        if item.mode in ("azure_first", "cascade, keep"):
            text, met = "no row lost, in time", not item.lost and not item.wrong
            measured = f"{item.lost} rows, {time}"
        else:
            text, met = "raises that the endpoint is away, in time", bool(item.errors)
            met = met and item.says_so and not item.wrong
            measured = f"{item.errors.total()} of {len(item.calls)} calls, {time}"
        yield Aim(f"{item.mode}, server {item.how}: {text}", measured, met and in_time)


def as_json(found: Found) -> dict[str, Any]:
    """Return everything measured."""
    return {
        "gains": [
            {
                "data": item.task.name,
                "small": item.small,
                "big": item.big,
                "escalated": {str(share): right for share, right in item.at.items()},
                "promised": {"epsilon": item.task.epsilon, **item.promised},
            }
            for item in found.gains
        ],
        "promise": [asdict(item) for item in found.promise],
        "promises": [asdict(item) for item in found.promises],
        "asking": [asdict(item) for item in found.asking],
        "gates": [asdict(item) for item in found.gates],
        "overhead": [
            {
                "small": item.small,
                "ms": item.medians_ms(),
                "added_us": item.added_us,
                "ratios": item.ratios(),
            }
            for item in found.overhead
        ],
        "outage": [
            {
                "server": item.how,
                "mode": item.mode,
                "rows": {"azure": item.there, "local": item.here, "lost": item.lost},
                "raised": item.errors,
                "longest_s": item.longest_s,
            }
            for item in found.outage
        ],
    }


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the splits and draws")
    parser.add_argument(
        "--only", nargs="+", choices=tuple(SHOWN), default=tuple(SHOWN), metavar="STUDY"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw what was studied")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
