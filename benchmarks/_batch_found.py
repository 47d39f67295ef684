"""What ``batch.py`` found, as tables, ratios, a picture and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from _batch_budget import HEAD, Budgets
from _batch_remote import Remote
from _processes import Taken
from _results import Ratio, Results

POLARS, OURS, TWO = "polars + onnxruntime", "predict_files", "predict_files, 2 workers"
PROGRAMS = {POLARS: "polars", OURS: "ours", TWO: "two"}


@dataclass
class Found:
    """Everything measured."""

    pairs: dict[str, list[Taken]] = field(default_factory=dict)
    memory: dict[tuple[int, str, str], int] = field(default_factory=dict)
    durable: list[float] = field(default_factory=list)
    resume: dict[str, Any] = field(default_factory=dict)
    identity: dict[str, Any] = field(default_factory=dict)
    remote: Remote | None = None
    budget: Budgets | None = None

    def ratio(self, name: str, what: str) -> float:
        """Return ours of polars', the median over the pairs."""
        ours, theirs = (
            np.array([getattr(item, what) for item in self.pairs[key]]) for key in (name, POLARS)
        )
        return float(np.median(ours / theirs))


def show(results: Results, found: Found, rows: int) -> None:
    """Show the tables, and keep the ratios."""
    results.show(
        f"{rows:,} rows, whole processes, medians of {len(found.pairs[OURS])} turns",
        ["", "CPU s", "wall s", "MB", "CPU of polars'", "wall of polars'"],
        [
            [
                name,
                f"{median(runs, 'cpu_s'):.2f}",
                f"{median(runs, 'wall_s'):.2f}",
                f"{median(runs, 'peak_bytes') / 1e6:.0f}",
                f"{found.ratio(name, 'cpu_s'):.2f}",
                f"{found.ratio(name, 'wall_s'):.2f}",
            ]
            for name, runs in found.pairs.items()
        ],
    )
    results.show(
        "Peak memory, MB",
        ["rows", "row groups", POLARS, OURS],
        [
            [
                f"{size:,}",
                groups,
                *(f"{found.memory[size, groups, name] / 1e6:.0f}" for name in (POLARS, OURS)),
            ]
            for size, groups in dict.fromkeys((size, groups) for size, groups, _ in found.memory)
        ],
    )
    show_remote(results, found)
    what = f"{rows:,} x 30 from file to file"
    for name in (OURS, TWO):
        called = what + (", 2 workers" if name == TWO else "")
        results.ratios += [
            Ratio(called, POLARS, found.ratio(name, "cpu_s"), "processor time"),
            Ratio(called, POLARS, found.ratio(name, "wall_s")),
        ]
    for (size, groups, name), peak in found.memory.items():
        if name == OURS:
            theirs = found.memory[size, groups, POLARS]
            called = f"{size:,} x 30, {groups} row group{'s' * (groups == 'many')}"
            results.ratios.append(Ratio(called, POLARS, peak / theirs, "memory"))


def show_remote(results: Results, found: Found) -> None:
    """Show what was measured at a server."""
    if found.remote is None or found.budget is None:
        return
    capacity = found.remote.capacity
    results.show(
        "Rows a second that tritonclient.http gets, by requests at a time and their rows",
        ["at a time", *(f"{each:,}" for each in sorted({each for _, each in capacity.rows_per_s}))],
        [
            [
                f"{most}",
                *(f"{rate:,.0f}" for (at, _), rate in capacity.rows_per_s.items() if at == most),
            ]
            for most in sorted({most for most, _ in capacity.rows_per_s})
        ],
    )
    most, each = capacity.best
    results.show(
        f"Rows a second, by turns; tritonclient at its best, {most} at a time with {each:,} rows",
        ["", "rows/s"],
        [
            ["tritonclient.http, from memory", f"{np.median(found.remote.theirs):,.0f}"],
            ["predict_files, from file to file", f"{np.median(found.remote.ours):,.0f}"],
        ],
    )
    results.ratios.append(
        Ratio("a file at the endpoint", "tritonclient.http at its best", 1 / found.remote.share)
    )
    cells = [sent.cells() for sent in found.budget.by_name.values()]
    results.show("What a budget of 5 % sends", HEAD, cells)


def median(runs: Sequence[Taken], what: str) -> float:
    """Return the median of one of the things that runs took."""
    return float(np.median([getattr(item, what) for item in runs]))


def plot(found: Found, path: Path) -> None:
    """Draw processor time, wall time and memory of each contestant."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 3, figsize=(12, 2.4), constrained_layout=True)
    looks = dict(zip(PROGRAMS, ("#c8553d", "#0b6e4f", "#6bbf8a"), strict=True))
    measures = (("cpu_s", 1, "CPU s"), ("wall_s", 1, "wall s"), ("peak_bytes", 1e6, "MB"))
    for panel, (what, unit, label) in zip(panels, measures, strict=True):
        values = [median(found.pairs[name], what) / unit for name in looks]
        bars = panel.barh(list(looks), values, color=list(looks.values()))
        panel.bar_label(bars, fmt="{:.3g}", padding=3, fontsize=8)
        panel.invert_yaxis()
        panel.margins(x=0.16)
        panel.set_xlabel(label)
        panel.spines[["top", "right"]].set_visible(False)
        if panel is not panels[0]:
            panel.set_yticks([])
    figure.savefig(path, dpi=130)


def as_json(found: Found) -> dict[str, Any]:
    """Return everything measured."""
    return {
        "pairs": {
            name: [
                {"cpu_s": item.cpu_s, "wall_s": item.wall_s, "peak_bytes": item.peak_bytes}
                for item in runs
            ]
            for name, runs in found.pairs.items()
        },
        "memory": [
            {"rows": rows, "row_groups": groups, "who": name, "peak_bytes": peak}
            for (rows, groups, name), peak in found.memory.items()
        ],
        "durable": found.durable,
        "resume": found.resume,
        "identity": found.identity,
        "remote": found.remote and {"theirs": found.remote.theirs, "ours": found.remote.ours},
        "budget": found.budget and found.budget.to_dict(),
    }
