"""The pictures of a report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hybridmodel.report.axes import Axis, Chart, figure, linear, logarithmic
from hybridmodel.report.findings import Durations, Escalation, Numbers
from hybridmodel.report.markup import Html
from hybridmodel.report.words import (
    count,
    milliseconds,
    number,
    percent,
    percent_writer,
    plain_milliseconds,
)

_SHARES = tuple(step / 5 for step in range(6))
_MOST_STEPS = 200


def _escalated_axis() -> Axis:
    title = "rows sent on to the endpoint, least sure first"
    return Axis(title, 0.0, 1.0, _SHARES, percent_writer(1.0))


def accuracy_curve(found: Escalation) -> Html | None:
    """Draw how much is right against the share of rows escalated; None without labels."""
    curve = found.curve
    if curve.accuracy is None:
        return None
    low, high = min(curve.accuracy), max(curve.accuracy)
    axis = linear("answered rightly", low, high, percent_writer(max(high - low, 0.01)))
    chart = Chart(_escalated_axis(), axis)
    points = list(zip(curve.escalation, curve.accuracy, strict=True))
    small, big = points[0][1], points[-1][1]
    parts = [chart.frame(), chart.level(big, f"endpoint alone {percent(big)}")]
    if abs(axis.place(small) - axis.place(big)) > 0.08:
        parts.append(chart.level(small, f"local model alone {percent(small)}"))
    parts += [chart.line(points, "both"), chart.dots(points, "dot both")]
    if found.chosen is not None and found.chosen.accuracy is not None:
        share, value = found.chosen.escalation, found.chosen.accuracy.cascade
        parts.append(chart.mark(share, f"the model's threshold: {percent(share)} sent on"))
        parts.append(chart.point(share, value, "both", f"{percent(value)} right"))
    description = (
        f"From {percent(small)} right when no row is sent on to {percent(big)} when all are."
    )
    return figure("accuracy", "Share of rows answered rightly", description, *parts)


def risk_curve(found: Escalation) -> Html:
    """Draw how many rows are kept at a loss against the share of rows escalated."""
    curve, chosen = found.curve, found.chosen
    high = max(curve.risk_bound)
    chart = Chart(
        _escalated_axis(), linear("kept at a loss", 0.0, high, percent_writer(max(high, 0.001)))
    )
    points = list(zip(curve.escalation, curve.risk, strict=True))
    bounds = list(zip(curve.escalation, curve.risk_bound, strict=True))
    parts = [chart.frame(), chart.band(points, bounds, "azure")]
    parts += [chart.line(points, "azure"), chart.dots(points, "dot azure")]
    if chosen is not None:
        if chosen.epsilon is not None:
            parts.append(chart.level(chosen.epsilon, f"promised: {percent(chosen.epsilon, 2)}"))
        label = f"the model's threshold: {percent(chosen.escalation)} sent on"
        parts.append(chart.mark(chosen.escalation, label))
        title = f"{percent(chosen.risk, 2)} kept at a loss"
        parts.append(chart.point(chosen.escalation, chosen.risk, "azure", title))
    description = (
        f"{percent(points[0][1])} of all rows when none is sent on, falling to none when all are."
    )
    return figure("risk", "Share of all rows kept at a loss", description, *parts)


def latency_curves(found: Durations) -> Html:
    """Draw for each side how many of its calls took at most so long."""
    every = [*found.local_s, *found.azure_s]
    low = max(min(every), 1e-7)
    x = logarithmic("milliseconds, each step a factor", low, max(*every, low), plain_milliseconds)
    chart = Chart(x, Axis("calls done", 0.0, 1.0, _SHARES, percent_writer(1.0)))
    parts = [chart.frame()]
    told = []
    sides = (("local", "local", found.local_s), ("azure", "endpoint", found.azure_s))
    legend = []
    for kind, name, seconds in sides:
        middle = float(np.median(seconds))
        parts += [chart.mark(middle), chart.line(_steps(seconds), kind)]
        legend.append((kind, f"{name}: half in {milliseconds(middle)}"))
        told.append(f"{name}: half of the calls within {milliseconds(middle)}")
    parts.append(chart.legend(*legend))
    title = "How long calls took"
    return figure("latency", title, f"{'; '.join(told)}.", *parts)


def scatter(found: Numbers) -> Html:
    """Draw the endpoint's numbers against the local model's."""
    flat = [value for pair in found.pairs for value in pair]
    low, high = min(flat, default=0.0), max(flat, default=1.0)
    slack = (high - low) * 0.03
    low, high = low - slack, high + slack
    chart = Chart(
        linear(f"local model's {found.output}", low, high, number, widen=False),
        linear(f"endpoint's {found.output}", low, high, number, widen=False),
    )
    ends = chart.x.low, chart.x.high
    parts = [
        chart.frame(),
        chart.line(((end, end) for end in ends), "rule"),
        chart.dots(found.pairs, "faint local"),
    ]
    description = f"{count(len(found.pairs))} rows; on the line both give the same number."
    return figure("scatter", "Endpoint's against local number of each row", description, *parts)


def histogram(found: Numbers) -> Html:
    """Draw how often the numbers are how far apart."""
    chart = Chart(
        linear(
            f"endpoint's minus local {found.output}",
            found.edges[0],
            found.edges[-1],
            number,
            widen=False,
        ),
        linear("rows", 0.0, max(*found.counts, 1), lambda value: count(round(value))),
    )
    parts = [chart.frame(), chart.bars(found.edges, found.counts, "local")]
    description = f"From {number(found.edges[0])} to {number(found.edges[-1])}."
    return figure("histogram", "Difference of both numbers", description, *parts)


def _steps(seconds: Sequence[float]) -> list[tuple[float, float]]:
    """Return the corners of the distribution function, thinned where there are very many."""
    ordered = np.sort(np.asarray(seconds, dtype=np.float64))
    shares = np.arange(1, len(ordered) + 1) / len(ordered)
    places = np.unique(np.linspace(0, len(ordered) - 1, _MOST_STEPS).round().astype(int))
    points = [(float(ordered[0]), 0.0)]
    for value, share in zip(ordered[places].tolist(), shares[places].tolist(), strict=True):
        points += [(value, points[-1][1]), (value, share)]
    return points
