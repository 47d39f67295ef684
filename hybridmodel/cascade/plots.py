"""The picture of a calibration: accuracy, risk and cost against the share of rows escalated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hybridmodel.exceptions import MissingDependency

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from hybridmodel.cascade.calibration import Calibration

_GREEN, _RED, _GREY = "#0b6e4f", "#c8553d", "#5f6b6d"

# A dot for each share that can be had: equal scores leave gaps.
_LINE: dict[str, Any] = {"markersize": 3, "linewidth": 1.2}


def draw(calibration: Calibration, cost_local: float = 0.0, cost_remote: float = 1.0) -> Figure:
    """Draw a calibration.

    Parameters
    ----------
    calibration : Calibration
        Its curve is drawn; accuracy only where labels told it.
    cost_local, cost_remote : float
        Of a row answered here, and of asking the endpoint for one, in the same unit.

    Returns
    -------
    matplotlib.figure.Figure
        Not registered anywhere, so there is nothing to close.

    Raises
    ------
    MissingDependency
        If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import PercentFormatter
    except ImportError as error:
        raise MissingDependency(
            "plots need matplotlib: pip install 'hybridmodel[cascade]'"
        ) from error

    panels: list[Callable[[Axes, Calibration], None]] = [_draw_risk]
    if calibration.curve.accuracy is not None:
        panels.insert(0, _draw_accuracy)
    panels.append(lambda axes, it: _draw_cost(axes, it, cost_local, cost_remote))

    figure = Figure(figsize=(7.5, 2.6 * len(panels)), layout="constrained")
    all_axes: Any = figure.subplots(len(panels), 1, sharex=True)
    for axes, panel in zip(all_axes, panels, strict=True):
        panel(axes, calibration)
        axes.axvline(calibration.escalation, color=_GREY, linewidth=1, linestyle=":")
        axes.axvspan(*calibration.escalation_interval, color=_GREY, alpha=0.15, linewidth=0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.set_major_formatter(PercentFormatter(1))
    all_axes[0].set_title(_title(calibration), fontsize=10, loc="left")
    all_axes[-1].set_xlabel(f"rows escalated, least sure first ({calibration.score})")
    all_axes[-1].set_xlim(0, 1)
    return figure


def _title(calibration: Calibration) -> str:
    low, high = calibration.escalation_interval
    return (
        f"{calibration.escalation:.1%} escalated (95%: {low:.1%} to {high:.1%}); with "
        f"{1 - calibration.delta:.0%} confidence at most {calibration.epsilon:.2%} kept at a loss"
    )


def _draw_accuracy(axes: Axes, calibration: Calibration) -> None:
    from matplotlib.ticker import PercentFormatter

    curve, accuracy = calibration.curve, calibration.accuracy
    if curve.accuracy is None or accuracy is None:
        return
    axes.plot(curve.escalation, curve.accuracy, ".-", color=_GREEN, **_LINE)
    for value, name in ((accuracy.small, "small model alone"), (accuracy.big, "big model alone")):
        axes.axhline(value, color=_GREY, linewidth=1, linestyle="--")
        axes.annotate(
            name,
            (1, value),
            xytext=(0, -3 if name.startswith("big") else 3),
            textcoords="offset points",
            ha="right",
            va="top" if name.startswith("big") else "bottom",
            fontsize=8,
            color=_GREY,
        )
    axes.plot(calibration.escalation, accuracy.cascade, "o", color=_GREEN, clip_on=False)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_ylabel("accuracy")


def _draw_risk(axes: Axes, calibration: Calibration) -> None:
    from matplotlib.ticker import PercentFormatter

    curve = calibration.curve
    axes.fill_between(
        curve.escalation,
        curve.risk,
        curve.risk_bound,
        color=_RED,
        alpha=0.2,
        linewidth=0,
        label=f"up to the bound with {1 - calibration.delta:.0%} confidence",
    )
    label = "kept at a loss, in the sample"
    axes.plot(curve.escalation, curve.risk, ".-", color=_RED, label=label, **_LINE)
    axes.axhline(calibration.epsilon, color=_GREY, linewidth=1, linestyle="--")
    axes.annotate(
        f"epsilon = {calibration.epsilon:.2%}",
        (1, calibration.epsilon),
        xytext=(0, 3),
        textcoords="offset points",
        ha="right",
        fontsize=8,
        color=_GREY,
    )
    axes.plot(calibration.escalation, calibration.risk_bound, "o", color=_RED, clip_on=False)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_ylabel("risk")
    axes.legend(fontsize=8, frameon=False, loc="upper right")


def _draw_cost(axes: Axes, calibration: Calibration, cost_local: float, cost_remote: float) -> None:
    ends = [cost_local, cost_local + cost_remote]
    here = cost_local + calibration.escalation * cost_remote
    axes.plot([0, 1], ends, color=_GREEN)
    axes.plot(calibration.escalation, here, "o", color=_GREEN, clip_on=False)
    axes.annotate(
        f"{here:.3g}",
        (calibration.escalation, here),
        xytext=(6, -10) if calibration.escalation < 0.9 else (-6, -12),
        textcoords="offset points",
        ha="left" if calibration.escalation < 0.9 else "right",
        fontsize=8,
    )
    axes.axhline(cost_remote, color=_GREY, linewidth=1, linestyle="--")
    axes.annotate(
        "endpoint alone",
        (0, cost_remote),
        xytext=(3, -3),
        textcoords="offset points",
        va="top",
        fontsize=8,
        color=_GREY,
    )
    axes.set_ylim(bottom=0)
    axes.set_ylabel("cost of a row")
