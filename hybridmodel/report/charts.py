"""The pictures of a report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hybridmodel.cascade.drawing import drawn
from hybridmodel.cascade.formatting import percent_writer
from hybridmodel.cascade.panels import accuracy_panel, risk_panel
from hybridmodel.looks.axes import Axis, Chart, Mark, Picture, linear, logarithmic
from hybridmodel.report.filters import count, milliseconds, number
from hybridmodel.report.findings import Durations, Escalation, Numbers

_SHARES = tuple(step / 5 for step in range(6))
_MOST_STEPS = 200
_whole_percent = percent_writer(1.0)


def accuracy_curve(found: Escalation) -> Picture:
    """Draw how much is right against the share of rows escalated."""
    right = None
    if found.chosen is not None and found.chosen.accuracy is not None:
        right = found.chosen.escalation, found.chosen.accuracy.cascade
    return drawn(accuracy_panel(found.curve, right))


def risk_curve(found: Escalation) -> Picture:
    """Draw how many rows are kept at a loss against the share of rows escalated."""
    chosen = found.chosen
    if chosen is None:
        return drawn(risk_panel(found.curve))
    return drawn(risk_panel(found.curve, (chosen.escalation, chosen.risk), chosen.epsilon))


def latency_curves(found: Durations) -> Picture:
    """Draw for each route how many of its calls took at most so long."""
    every = [*found.local_s, *found.remote_s]
    low = max(min(every), 1e-7)
    title, high = "milliseconds, each step a factor", max(*every, low)
    chart = Chart(
        logarithmic(title, low, high, lambda seconds: f"{seconds * 1e3:g}"),
        Axis("calls done", 0.0, 1.0, _SHARES, _whole_percent),
    )
    marks, halves, legend = list[Mark](), [], []
    routes = (("local", "local", found.local_s), ("remote", "endpoint", found.remote_s))
    for kind, name, seconds in routes:
        middle = float(np.median(seconds))
        marks += [*chart.mark(middle), chart.line(_steps(seconds), kind)]
        legend.append((kind, f"{name}: half in {milliseconds(middle)}"))
        halves.append(f"{name}: half of the calls within {milliseconds(middle)}")
    return Picture(
        name="latency",
        title="How long calls took",
        description=f"{'; '.join(halves)}.",
        chart=chart,
        marks=marks + chart.legend(*legend),
    )


def scatter(found: Numbers) -> Picture:
    """Draw the endpoint's numbers against the local model's."""
    flat = [value for pair in found.pairs for value in pair]
    low, high = min(flat, default=0.0), max(flat, default=1.0)
    slack = (high - low) * 0.03
    low, high = low - slack, high + slack
    chart = Chart(
        linear(f"local model's {found.output}", low, high, number, widen=False),
        linear(f"endpoint's {found.output}", low, high, number, widen=False),
    )
    diagonal = chart.line(((end, end) for end in (chart.x.low, chart.x.high)), "rule")
    return Picture(
        name="scatter",
        title="Endpoint's against local number of each row",
        description=f"{count(len(found.pairs))} rows; on the line both give the same number.",
        chart=chart,
        marks=[diagonal, chart.dots(found.pairs, "faint local")],
    )


def histogram(found: Numbers) -> Picture:
    """Draw how often the numbers are how far apart."""
    first, last = found.edges[0], found.edges[-1]
    chart = Chart(
        linear(f"endpoint's minus local {found.output}", first, last, number, widen=False),
        linear("rows", 0.0, max(*found.counts, 1), lambda value: count(round(value))),
    )
    return Picture(
        name="histogram",
        title="Difference of both numbers",
        description=f"From {number(first)} to {number(last)}.",
        chart=chart,
        marks=chart.bars(found.edges, found.counts, "local"),
    )


def _steps(seconds: Sequence[float]) -> list[tuple[float, float]]:
    """Return the corners of the distribution function, thinned where there are very many."""
    ordered = np.sort(np.asarray(seconds, dtype=np.float64))
    shares = np.arange(1, len(ordered) + 1) / len(ordered)
    places = np.unique(np.linspace(0, len(ordered) - 1, _MOST_STEPS).round().astype(int))
    points = [(float(ordered[0]), 0.0)]
    for value, share in zip(ordered[places].tolist(), shares[places].tolist(), strict=True):
        points += [(value, points[-1][1]), (value, share)]
    return points
