"""Panels of a cascade drawn as SVG, for pages and notebooks."""

from __future__ import annotations

from hybridmodel.cascade.formatting import percent, percent_writer
from hybridmodel.cascade.panels import Panel, spread
from hybridmodel.looks.axes import Axis, Chart, Picture, linear

_SHARES = tuple(step / 5 for step in range(6))
_KINDS = {"accuracy": "both", "risk": "remote"}
_whole_percent = percent_writer(1.0)


def drawn(panel: Panel) -> Picture:
    """Draw a panel of a cascade as SVG."""
    heights = panel.heights
    low, kind = 0.0 if panel.from_zero else min(heights), _KINDS[panel.name]
    chart = Chart(
        Axis("rows sent on to the endpoint, least sure first", 0.0, 1.0, _SHARES, _whole_percent),
        linear(panel.label, low, max(heights), panel.write),
    )
    marks = [chart.band(panel.lower or panel.line, panel.upper, kind)] if panel.upper else []
    for height, label in spread(panel):
        marks += chart.level(height, label)
    marks += [chart.line(panel.line, kind), chart.dots(panel.line, f"dot {kind}")]
    if panel.point is not None:
        share, height, title = panel.point
        marks += chart.mark(share, f"the model's threshold: {percent(share)} sent on")
        marks.append(chart.point(share, height, kind, title))
    return Picture(
        name=panel.name,
        title=panel.title,
        description=panel.description,
        chart=chart,
        marks=marks,
    )
