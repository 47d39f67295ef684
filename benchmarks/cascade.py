"""What a cascade of a small and a big model gains, and whether its calibration keeps its promise.

    python benchmarks/cascade.py                       about half a minute, offline
    python benchmarks/cascade.py --quick               a tenth of the splits and draws
    python benchmarks/cascade.py --plot cascade.png --json cascade.json

Prints a table for each study and a line for each aim; ends with status 1 when an aim is not met.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from _measure import Aim, machine, report, table
from _studies import DELTA, SHARES, Gains, Outcome, Population, gains, population, promise, tasks

EPSILONS = (0.005, 0.01, 0.02)
SIZES = (200, 500, 2_000, 10_000)
POPULATION = 200_000

DIGITS = {"small": 0.933, "big": 0.986, 0.20: 0.982, 0.30: 0.985}
"""Accuracies to reproduce, within 0.2 points."""


def main(arguments: list[str] | None = None) -> int:
    """Run the studies."""
    given = parse(arguments)
    splits, draws = (10, 40) if given.quick else (100, 400)
    print(machine("hybridmodel", "numpy", "scipy", "scikit-learn"))

    gained = [gains(task, splits) for task in tasks()]
    print(f"\nShare right by share escalated, means over {splits} splits of 40/30/30 %\n")
    print(gains_table(gained))

    known = population(POPULATION)
    outcomes = promise(known, EPSILONS, SIZES, draws)
    print(f"\nThe promise with delta {DELTA}, over {draws} calibrations; {described(known)}\n")
    print(promise_table(outcomes))

    aims = [*gains_aims(gained[0]), *promise_aims(outcomes)]
    if given.plot:
        plot(gained, outcomes, given.plot)
    if given.json:
        given.json.write_text(json.dumps(as_json(gained, outcomes, aims), indent=2) + "\n")
    return report(aims)


def gains_table(gained: list[Gains]) -> str:
    """Lay out study 1."""
    head = ["data", "small", *(f"{share:.0%}" for share in SHARES), "big", "epsilon"]
    head += ["escalated", "right", "at a loss"]
    rows = [
        [
            item.task.name,
            f"{item.small:.4f}",
            *(f"{item.at[share]:.4f}" for share in SHARES),
            f"{item.big:.4f}",
            f"{item.task.epsilon:g}",
            *(f"{item.promised[key]:.4f}" for key in ("escalation", "accuracy", "risk")),
        ]
        for item in gained
    ]
    return table(head, rows)


def promise_table(outcomes: list[Outcome]) -> str:
    """Lay out study 2."""
    head = ["epsilon", "n", "broken", "95 %", "exact", "escalated", "oracle", "more"]
    head += ["in its interval", "naive broken", "naive escalated"]
    rows = [
        [
            f"{item.epsilon:g}",
            f"{item.rows}",
            f"{item.broken / item.draws:.3f}",
            "{:.3f} to {:.3f}".format(*item.broken_interval),
            f"{item.exact:.3f}",
            f"{item.escalation:.3f}",
            f"{item.oracle:.3f}",
            f"{item.escalation - item.oracle:+.3f}",
            f"{item.covered:.3f}",
            f"{item.naive_broken:.3f}",
            f"{item.naive_escalation:.3f}",
        ]
        for item in outcomes
    ]
    return table(head, rows)


def described(known: Population) -> str:
    """Say what the population is like."""
    small, big = known.answers.small.mean(), known.answers.big.mean()
    return f"{len(known.answers.scores):,} rows, small {small:.3f}, big {big:.3f}"


def gains_aims(digits: Gains) -> list[Aim]:
    """Hold digits against the accuracies to reproduce."""
    found = {"small": digits.small, "big": digits.big, **digits.at}
    return [
        Aim(
            f"digits, {what if isinstance(what, str) else f'{what:.0%} escalated'}: {aim} ± 0.002",
            f"{found[what]:.4f}",
            abs(found[what] - aim) <= 0.002,
        )
        for what, aim in DIGITS.items()
    ]


def promise_aims(outcomes: list[Outcome]) -> list[Aim]:
    """Hold the share of broken promises against delta; the interval decides, and the exact one."""
    worst = max(outcomes, key=lambda item: item.broken)
    low, high = worst.broken_interval
    exact = max(item.exact for item in outcomes)
    measured = f"at most {worst.broken / worst.draws:.1%} ({low:.1%} to {high:.1%})"
    return [
        Aim(
            f"promise broken in {DELTA:.0%} of calibrations at most, {len(outcomes)} cases",
            f"{measured}, by the binomial distribution {exact:.1%}",
            all(item.broken_interval[0] <= DELTA for item in outcomes) and exact <= DELTA,
        )
    ]


def plot(gained: list[Gains], outcomes: list[Outcome], path: Path) -> None:
    """Draw accuracy by share escalated, and broken promises and escalation by sample size."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 3, figsize=(13, 3.9), constrained_layout=True)
    draw_gains(panels[0], gained)
    draw_promise(panels[1], outcomes)
    draw_escalation(panels[2], outcomes)
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(fontsize=8, frameon=False)
    figure.savefig(path, dpi=130)


COLORS = ("#0b6e4f", "#c8553d", "#3d5a80", "#8d6a9f")


def draw_gains(panel: Any, gained: list[Gains]) -> None:
    """Draw how much of the gap between the models is closed."""
    for item, color in zip(gained, COLORS, strict=True):
        shares = [0, *SHARES, 1]
        right = [item.small, *(item.at[share] for share in SHARES), item.big]
        panel.plot(shares, right, ".-", color=color, label=item.task.name)
    panel.set_xlabel("share of rows escalated, least sure first")
    panel.set_ylabel("share right")
    panel.set_title("What is gained", fontsize=10)


def draw_promise(panel: Any, outcomes: list[Outcome]) -> None:
    """Draw how often the promise is broken."""
    for place, (epsilon, color) in enumerate(zip(EPSILONS, COLORS, strict=False)):
        some = [item for item in outcomes if item.epsilon == epsilon]
        sizes = [item.rows * 1.06 ** (place - 1) for item in some]
        shares = [item.broken / item.draws for item in some]
        ends = [item.broken_interval for item in some]
        low = [share - end[0] for share, end in zip(shares, ends, strict=True)]
        high = [end[1] - share for share, end in zip(shares, ends, strict=True)]
        label = f"epsilon {epsilon:g}"
        panel.errorbar(sizes, shares, [low, high], fmt="o", ms=4, color=color, label=label)
        panel.plot(sizes, [item.naive_broken for item in some], "x", color=color)
    panel.axhline(DELTA, color="#5f6b6d", linestyle="--", linewidth=1)
    panel.plot([], [], "x", color="#5f6b6d", label="empirical threshold")
    panel.set_xscale("log")
    panel.set_xlabel("rows in the sample")
    panel.set_ylabel("share of calibrations")
    panel.set_title(f"Promise broken (delta {DELTA})", fontsize=10)


def draw_escalation(panel: Any, outcomes: list[Outcome]) -> None:
    """Draw what the promise costs."""
    for epsilon, color in zip(EPSILONS, COLORS, strict=False):
        some = [item for item in outcomes if item.epsilon == epsilon]
        sizes, shares = [item.rows for item in some], [item.escalation for item in some]
        panel.plot(sizes, shares, "o-", ms=4, color=color, label=f"epsilon {epsilon:g}")
        panel.axhline(some[0].oracle, color=color, linestyle=":", linewidth=1)
    panel.plot([], [], ":", color="#5f6b6d", label="knowing all rows")
    panel.set_xscale("log")
    panel.set_ylim(0, 1.03)
    panel.set_xlabel("rows in the sample")
    panel.set_ylabel("share of rows escalated")
    panel.set_title("What it costs", fontsize=10)


def as_json(gained: list[Gains], outcomes: list[Outcome], aims: list[Aim]) -> dict[str, Any]:
    """Return everything measured."""
    return {
        "machine": machine("hybridmodel", "numpy", "scipy", "scikit-learn"),
        "gains": [
            {
                "data": item.task.name,
                "small": item.small,
                "big": item.big,
                "escalated": {str(share): right for share, right in item.at.items()},
                "promised": {"epsilon": item.task.epsilon, **item.promised},
            }
            for item in gained
        ],
        "promise": [asdict(item) for item in outcomes],
        "aims": [vars(aim) for aim in aims],
    }


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the splits and draws")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw both studies")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
