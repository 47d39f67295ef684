"""What ``cascade.py`` draws: a panel for each thing to see, of the studies that were made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from _overhead import CALLS, RATIOS, SHARE, TIMEOUT_S, Cost, Outage
from _studies import DELTA, SHARES, Gains, Outcome

COLORS = ("#0b6e4f", "#c8553d", "#3d5a80", "#8d6a9f")
GREY = "#5f6b6d"
ACROSS = 3


def draw(
    gained: Sequence[Gains],
    outcomes: Sequence[Outcome],
    costs: Sequence[Cost],
    outages: Sequence[Outage],
    path: Path,
) -> None:
    """Draw what there is into one file, three panels in a row."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    how = {item.how: [other for other in outages if other.how == item.how] for item in outages}
    panels = [
        *([partial(draw_gains, gained=gained)] if gained else []),
        *([partial(draw_promise, outcomes=outcomes)] if outcomes else []),
        *([partial(draw_escalation, outcomes=outcomes)] if outcomes else []),
        *([partial(draw_costs, costs=costs)] if costs else []),
        *(partial(draw_outage, how=name, outages=some) for name, some in how.items()),
    ]
    down, across = math.ceil(len(panels) / ACROSS), min(len(panels), ACROSS)
    figure, places = plt.subplots(
        down, across, figsize=(4.4 * across, 3.9 * down), constrained_layout=True, squeeze=False
    )
    for place in places.flat[len(panels) :]:
        place.set_axis_off()
    for place, panel in zip(places.flat, panels, strict=False):
        panel(place)
        place.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)


def draw_gains(panel: Any, gained: Sequence[Gains]) -> None:
    """Draw how much of the gap between the models is closed."""
    for item, color in zip(gained, COLORS, strict=True):
        shares = [0, *SHARES, 1]
        right = [item.small, *(item.at[share] for share in SHARES), item.big]
        panel.plot(shares, right, ".-", color=color, label=item.task.name)
    panel.set_xlabel("share of rows escalated, least sure first")
    panel.set_ylabel("share right")
    panel.set_title("What is gained", fontsize=10)
    panel.legend(fontsize=8, frameon=False)


def draw_promise(panel: Any, outcomes: Sequence[Outcome]) -> None:
    """Draw how often the promise is broken."""
    for place, (epsilon, color) in enumerate(zip(_epsilons(outcomes), COLORS, strict=False)):
        some = [item for item in outcomes if item.epsilon == epsilon]
        sizes = [item.rows * 1.06 ** (place - 1) for item in some]
        shares = [item.broken / item.draws for item in some]
        ends = [item.broken_interval for item in some]
        low = [share - end[0] for share, end in zip(shares, ends, strict=True)]
        high = [end[1] - share for share, end in zip(shares, ends, strict=True)]
        label = f"epsilon {epsilon:g}"
        panel.errorbar(sizes, shares, [low, high], fmt="o", ms=4, color=color, label=label)
        panel.plot(sizes, [item.naive_broken for item in some], "x", color=color)
    panel.axhline(DELTA, color=GREY, linestyle="--", linewidth=1)
    panel.plot([], [], "x", color=GREY, label="empirical threshold")
    panel.set_xscale("log")
    panel.set_xlabel("rows in the sample")
    panel.set_ylabel("share of calibrations")
    panel.set_title(f"Promise broken (delta {DELTA})", fontsize=10)
    panel.legend(fontsize=8, frameon=False)


def draw_escalation(panel: Any, outcomes: Sequence[Outcome]) -> None:
    """Draw what the promise costs."""
    for epsilon, color in zip(_epsilons(outcomes), COLORS, strict=False):
        some = [item for item in outcomes if item.epsilon == epsilon]
        sizes, shares = [item.rows for item in some], [item.escalation for item in some]
        panel.plot(sizes, shares, "o-", ms=4, color=color, label=f"epsilon {epsilon:g}")
        panel.axhline(some[0].oracle, color=color, linestyle=":", linewidth=1)
    panel.plot([], [], ":", color=GREY, label="knowing all rows")
    panel.set_xscale("log")
    panel.set_ylim(0, 1.03)
    panel.set_xlabel("rows in the sample")
    panel.set_ylabel("share of rows escalated")
    panel.set_title("What it costs in calls", fontsize=10)
    panel.legend(fontsize=8, frameon=False)


def draw_costs(panel: Any, costs: Sequence[Cost]) -> None:
    """Draw how many times as long a cascade takes as its parts."""
    labels = {"kept": "nothing escalated, of local", "escalated": f"{SHARE:.0%} escalated, of both"}
    for place, (name, label) in enumerate(labels.items()):
        ratios = np.array([item.ratios()[name] for item in costs])
        at = np.arange(len(costs)) + 0.38 * (place - 0.5)
        color = COLORS[2 * place]
        panel.barh(at, ratios[:, 0], 0.36, color=color, label=label)
        panel.hlines(at, ratios[:, 1], ratios[:, 2], color="black", linewidth=1)
        panel.plot([RATIOS[name]] * len(at), at, "|", ms=22, color=COLORS[1])
        for height, ratio in zip(at, ratios[:, 0], strict=True):
            panel.text(0.03, height, f"{ratio:.2f}", va="center", color="white", fontsize=8)
    panel.plot([], [], "|", ms=10, color=COLORS[1], label="aim")
    panel.axvline(1, color=GREY, linestyle="--", linewidth=1)
    names = [f"{item.small}\n{item.medians_ms()['local']:.2g} ms" for item in costs]
    panel.set_yticks(range(len(costs)), names, fontsize=8)
    panel.invert_yaxis()
    panel.set_xlabel("time of the cascade, of that of its parts")
    panel.set_title("What it costs in time, 10,000 rows", fontsize=10)
    panel.legend(
        fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.4, -0.15), ncols=2
    )


def draw_outage(panel: Any, how: str, outages: Sequence[Outage]) -> None:
    """Draw the time of each call, in the order in which they were begun."""
    for item, color in zip(outages, COLORS, strict=True):
        calls = sorted(item.calls, key=lambda call: call.begun_s)
        for marker, raised in ((".", False), ("x", True)):
            some = [
                (place, call.took_s * 1e3)
                for place, call in enumerate(calls)
                if bool(call.error) is raised
            ]
            panel.plot(*np.reshape(some, (-1, 2)).T, marker, ms=4, color=color, alpha=0.7)
        panel.plot([], [], "o", ms=4, color=color, label=f"{item.mode}: {item.lost:,} rows lost")
    panel.plot([], [], "x", ms=4, color=GREY, label="raised")
    panel.axvline(CALLS / 2, color=GREY, linestyle=":", linewidth=1)
    panel.axhline(TIMEOUT_S * 1e3, color=GREY, linestyle="--", linewidth=1)
    panel.set_yscale("log")
    panel.set_xlabel(f"call, the server {how} at {CALLS // 2}")
    panel.set_ylabel("time of the call in ms, with its deadline")
    panel.set_title(f"Server {how}", fontsize=10)
    panel.legend(
        fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.45, -0.15), ncols=2
    )


def _epsilons(outcomes: Sequence[Outcome]) -> list[float]:
    return sorted({item.epsilon for item in outcomes})
