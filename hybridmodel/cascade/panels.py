"""What the pictures of a cascade show, whatever draws them: matplotlib, or a report's page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from hybridmodel.cascade.formatting import percent, percent_writer
from hybridmodel.cascade.thresholds import Curve

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A curve over the share of rows escalated, 0 to 1.

    Attributes
    ----------
    name, title, description : str
        The description says in words what the picture shows.
    label : str
        Of the vertical axis.
    line : tuple of (float, float)
        Points of the curve, by rising share.
    upper : tuple of (float, float)
        Upper edge of a band above the curve; empty for none.
    levels : tuple of (float, str)
        Horizontal lines with their labels.
    mark : (float, str) or None
        A vertical line with its label.
    point : (float, float, str) or None
        One point of the curve, and what it says.
    write : callable
        Writes a value of the vertical axis.
    from_zero : bool
        Whether the vertical axis begins at 0.
    """

    name: str
    title: str
    description: str
    label: str
    line: Points
    write: Callable[[float], str]
    upper: Points = ()
    levels: tuple[tuple[float, str], ...] = ()
    mark: tuple[float, str] | None = None
    point: tuple[float, float, str] | None = None
    from_zero: bool = True


def accuracy_panel(curve: Curve, chosen: tuple[float, float] | None = None) -> Panel | None:
    """Return the share of rows answered rightly; None for a curve without labels.

    `chosen` is the model's own share of escalated rows, and its accuracy.
    """
    if curve.accuracy is None:
        return None
    line = tuple(zip(curve.escalation, curve.accuracy, strict=True))
    small, big = line[0][1], line[-1][1]
    span = max(curve.accuracy) - min(curve.accuracy)
    return Panel(
        name="accuracy",
        title="Share of rows answered rightly",
        description=(
            f"From {percent(small)} right when no row is sent on to {percent(big)} when all are."
        ),
        label="answered rightly",
        line=line,
        levels=(
            (big, f"endpoint alone {percent(big)}"),
            (small, f"local model alone {percent(small)}"),
        ),
        mark=_threshold(chosen),
        point=None if chosen is None else (*chosen, f"{percent(chosen[1])} right"),
        write=percent_writer(max(span, 0.01)),
        from_zero=False,
    )


def risk_panel(
    curve: Curve, chosen: tuple[float, float] | None = None, epsilon: float | None = None
) -> Panel:
    """Return the share of all rows kept at a loss, with its bound.

    `chosen` is the model's own share of escalated rows, and its risk; `epsilon` is the
    promised risk.
    """
    line = tuple(zip(curve.escalation, curve.risk, strict=True))
    return Panel(
        name="risk",
        title="Share of all rows kept at a loss",
        description=(
            f"{percent(line[0][1])} of all rows when none is sent on, falling to none when all are."
        ),
        label="kept at a loss",
        line=line,
        upper=tuple(zip(curve.escalation, curve.risk_bound, strict=True)),
        levels=() if epsilon is None else ((epsilon, f"promised: {percent(epsilon, 2)}"),),
        mark=_threshold(chosen),
        point=None if chosen is None else (*chosen, f"{percent(chosen[1], 2)} kept at a loss"),
        write=percent_writer(max(*curve.risk_bound, 0.001)),
    )


def cost_panel(escalation: float, cost_local: float, cost_remote: float) -> Panel:
    """Return the cost of a row, where `escalation` of the rows are sent on."""
    line = ((0.0, cost_local), (1.0, cost_local + cost_remote))
    cost = cost_local + escalation * cost_remote
    return Panel(
        name="cost",
        title="Cost of a row",
        description=f"{cost:.3g} for a row with the threshold, {cost_remote:.3g} without cascade.",
        label="cost of a row",
        line=line,
        levels=((cost_remote, f"endpoint alone {cost_remote:.3g}"),),
        point=(escalation, cost, f"{cost:.3g}"),
        write="{:.3g}".format,
    )


def spread(panel: Panel, least: float = 0.08) -> tuple[tuple[float, str], ...]:
    """Return the levels of a panel whose labels do not overlap, in order.

    `least` is the share of the vertical axis that has to lie between two of them.
    """
    heights = [y for _, y in (*panel.line, *panel.upper)]
    low = 0.0 if panel.from_zero else min(heights)
    span = max(max(heights) - low, 1e-12)
    kept = list(panel.levels)
    for (one, _), (other, label) in pairwise(panel.levels):
        if abs(one - other) / span <= least:
            kept.remove((other, label))
    return tuple(kept)


def _threshold(chosen: tuple[float, float] | None) -> tuple[float, str] | None:
    if chosen is None:
        return None
    return chosen[0], f"the model's threshold: {percent(chosen[0])} sent on"
