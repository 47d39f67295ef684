"""Scores of how sure the local model is, and thresholds below which rows are escalated."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hybridmodel.cascade.calibration import Calibration
    from hybridmodel.cascade.loss_functions import CostMatrix
    from hybridmodel.cascade.scores import Score, as_score, escalated
    from hybridmodel.cascade.thresholds import Accuracy, Curve, find_threshold

_LATER = {
    "Accuracy": "thresholds",
    "Calibration": "calibration",
    "CostMatrix": "loss_functions",
    "Curve": "thresholds",
    "Score": "scores",
    "as_score": "scores",
    "escalated": "scores",
    "find_threshold": "thresholds",
}
"""The modules of names that importing this package does not load."""

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
    """Return a name of this package, or `hybridmodel.calibrate` by its older name."""
    if name in _LATER:
        return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
    if name != "calibrate":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(
        "hybridmodel.cascade.calibrate is now hybridmodel.calibrate",
        DeprecationWarning,
        stacklevel=2,
    )
    return import_module("hybridmodel.calibrating").calibrate
