"""Scores of how sure the local model is, and thresholds below which rows are escalated."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any

from hybridmodel.cascade.calibration import Calibration
from hybridmodel.cascade.loss_functions import CostMatrix
from hybridmodel.cascade.scores import Score, as_score, escalated
from hybridmodel.cascade.thresholds import Accuracy, Curve, find_threshold

__all__ = [
    "Accuracy",
    "Calibration",
    "CostMatrix",
    "Curve",
    "Score",
    "as_score",
    "escalated",
    "find_threshold",
]


def __getattr__(name: str) -> Any:
    """Return `hybridmodel.calibrate` by its older name."""
    if name != "calibrate":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(
        "hybridmodel.cascade.calibrate is now hybridmodel.calibrate",
        DeprecationWarning,
        stacklevel=2,
    )
    return import_module("hybridmodel.calibrating").calibrate
