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

    `upper` is the upper edge of a band around the curve, and `lower` its lower edge, which is the
    curve itself where there are no points. `levels` are horizontal lines with their
    labels, `point` is the model's own threshold on the curve and what it says. `write` writes
    values of the vertical axis, whose title is `label`.
    """

    name: str
    label: str
    line: Points
    write: Callable[[float], str]
    title: str = ""
    description: str = ""
    upper: Points = ()
    lower: Points = ()
    levels: tuple[tuple[float, str], ...] = ()
    point: tuple[float, float, str] | None = None
    from_zero: bool = True

    @property
    def heights(self) -> list[float]:
        """All values of the curve and its band."""
        return [y for _, y in (*self.line, *self.upper, *self.lower)]


def accuracy_panel(curve: Curve, chosen: tuple[float, float] | None) -> Panel:
    """Return the share of rows answered rightly, of a curve that was made with labels.

    `chosen` is the model's own share of escalated rows, and its accuracy.
    """
    accuracy = curve.accuracy or ()
    line = tuple(zip(curve.escalation, accuracy, strict=True))
    small, big, span = accuracy[0], accuracy[-1], max(accuracy) - min(accuracy)
    return Panel(
        name="accuracy",
        title="Share of rows answered rightly",
        description=(
            f"From {percent(small)} right when no row is sent on to {percent(big)} when all are."
        ),
        label="answered rightly",
        line=line,
        upper=_over(curve, curve.accuracy_high),
        lower=_over(curve, curve.accuracy_low),
        levels=(
            (big, f"endpoint alone {percent(big)}"),
            (small, f"local model alone {percent(small)}"),
        ),
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
        upper=_over(curve, curve.risk_bound),
        lower=_over(curve, curve.risk_low),
        levels=() if epsilon is None else ((epsilon, f"promised: {percent(epsilon, 2)}"),),
        point=None if chosen is None else (*chosen, f"{percent(chosen[1], 2)} kept at a loss"),
        write=percent_writer(max(*curve.risk_bound, 0.001)),
    )


def cost_panel(escalation: float, cost_local: float, cost_remote: float) -> Panel:
    """Return the cost of a row, where `escalation` of the rows are sent on."""
    line = ((0.0, cost_local), (1.0, cost_local + cost_remote))
    cost = cost_local + escalation * cost_remote
    return Panel(
        name="cost",
        label="cost of a row",
        line=line,
        levels=((cost_remote, f"endpoint alone {cost_remote:.3g}"),),
        point=(escalation, cost, f"{cost:.3g}"),
        write="{:.3g}".format,
    )


def _over(curve: Curve, values: tuple[float, ...] | None) -> Points:
    """Return values over the share of rows escalated, or no points."""
    return () if values is None else tuple(zip(curve.escalation, values, strict=True))


def spread(panel: Panel, least: float = 0.08) -> tuple[tuple[float, str], ...]:
    """Return the levels of a panel whose labels do not overlap, in order.

    `least` is the share of the vertical axis that has to lie between two of them.
    """
    heights = panel.heights
    low = 0.0 if panel.from_zero else min(heights)
    span = max(max(heights) - low, 1e-12)
    kept = list(panel.levels)
    for (one, _), (other, label) in pairwise(panel.levels):
        if abs(one - other) / span <= least:
            kept.remove((other, label))
    return tuple(kept)
