"""A cascade that keeps its promise: how sure a row is, and the threshold under which it goes on."""

from __future__ import annotations

from hybridmodel.cascade.calibration import Accuracy, Calibration
from hybridmodel.cascade.scores import Score, as_score, escalated
from hybridmodel.cascade.thresholds import Curve, find_threshold

__all__ = [
    "Accuracy",
    "Calibration",
    "Curve",
    "Score",
    "as_score",
    "calibrate",
    "escalated",
    "find_threshold",
]
