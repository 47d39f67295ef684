"""Panels drawn by matplotlib, one above the other."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any

from hybridmodel.cascade.panels import Panel, spread
from hybridmodel.checks import needed_for

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = {"accuracy": "#0b6e4f", "risk": "#c8553d", "cost": "#0b62a8"}
_GREY = "#5f6b6d"
_TITLE_WIDTH = 90
"""Characters of a line of a title that fit the figure's width."""

# A dot for each share that can be had: equal scores leave gaps.
_LINE: dict[str, Any] = {"markersize": 3, "linewidth": 1.2}
_TEXT: dict[str, Any] = {"textcoords": "offset points", "fontsize": 8}


def draw(
    panels: Sequence[Panel], title: str, x_label: str, escalation: tuple[float, tuple[float, float]]
) -> Figure:
    """Draw panels from top to bottom over the share of rows escalated, with the chosen share.

    The figure is not registered with pyplot, so there is nothing to close; a notebook shows it.
    """
    with needed_for("a plot"):
        import matplotlib.figure  # noqa: F401
    from hybridmodel.cascade.figures import ShownFigure

    figure = ShownFigure(figsize=(7.5, 2.6 * len(panels)), layout="constrained")
    all_axes: Any = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, panel in zip(all_axes, panels, strict=True):
        _draw(axes, panel)
        axes.axvline(escalation[0], color=_GREY, linewidth=1, linestyle=":")
        axes.axvspan(*escalation[1], color=_GREY, alpha=0.15, linewidth=0)
    all_axes[0].set_title(fill(title, _TITLE_WIDTH), fontsize=10, loc="left")
    all_axes[-1].set_xlabel(x_label)
    all_axes[-1].set_xlim(0, 1)
    return figure


def _draw(axes: Axes, panel: Panel) -> None:
    from matplotlib.ticker import PercentFormatter

    colour = _COLOURS[panel.name]
    if panel.upper:
        shares, low = zip(*(panel.lower or panel.line), strict=True)
        high = [y for _, y in panel.upper]
        axes.fill_between(shares, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.plot(*zip(*panel.line, strict=True), ".-", color=colour, **_LINE)
    for height, label in spread(panel):
        axes.axhline(height, color=_GREY, linewidth=1, linestyle="--")
        above = height <= sum(axes.get_ylim()) / 2
        axes.annotate(
            label, (1, height), xytext=(0, 3 if above else -11), ha="right", color=_GREY, **_TEXT
        )
    if panel.point is not None:
        x, y, text = panel.point
        side, align = (6, "left") if x < 0.8 else (-6, "right")
        axes.plot(x, y, "o", color=colour, clip_on=False)
        axes.annotate(text, (x, y), xytext=(side, -11), ha=align, color=colour, **_TEXT)
    if panel.from_zero:
        axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_ylabel(panel.label)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.yaxis.set_major_formatter(lambda value, _: panel.write(value))
