"""The picture of a calibration: what each threshold would have done to its sample."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hybridmodel.cascade.formatting import percent
from hybridmodel.cascade.panels import Panel, accuracy_panel, cost_panel, risk_panel
from hybridmodel.cascade.plots import draw
from hybridmodel.cascade.promises_words import ACCURACY, ESCALATION, LOSS, MEAN_LOSS, promised

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hybridmodel.cascade.calibration import Calibration

_LABELS = {
    LOSS: "kept at a loss",
    ACCURACY: "right less often",
    MEAN_LOSS: "mean loss",
    ESCALATION: "escalated",
}


def picture(found: Calibration, cost_local: float, cost_remote: float) -> Figure:
    """Draw accuracy, what is promised, and cost against the share of rows escalated."""
    low, high = found.escalation_interval
    return draw(
        [*panels_of(found), cost_panel(found.escalation, cost_local, cost_remote)],
        f"{found.escalation:.1%} escalated (95%: {low:.1%} to {high:.1%}); with "
        f"{1 - found.delta:.0%} confidence {promised(found)}",
        f"rows escalated, least sure first ({found.score})",
        (found.escalation, found.escalation_interval),
    )


def panels_of(found: Calibration) -> list[Panel]:
    """Return accuracy, where it is known, and what is promised."""
    if not found.curve.accuracy:
        return [_risk(found)]
    right = None if found.accuracy is None else (found.escalation, found.accuracy.cascade)
    return [accuracy_panel(found.curve, right), _risk(found)]


def _risk(found: Calibration) -> Panel:
    panel = risk_panel(found.curve, (found.escalation, found.risk_bound), found.epsilon)
    if found.promise == LOSS:
        return panel
    label = _LABELS[found.promise]
    said = (found.escalation, found.risk_bound, f"{percent(found.risk_bound, 2)} {label}")
    return replace(panel, label=label, point=said, from_zero=found.promise != ACCURACY)
