"""What a sample of scores and losses says about a threshold."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from hybridmodel.cascade import judges
from hybridmodel.cascade.bounds import interval, required_rows, upper_bound
from hybridmodel.cascade.scores import escalated
from hybridmodel.cascade.thresholds import Accuracy, find_threshold, jump, trace
from hybridmodel.data.tensors import Array

if TYPE_CHECKING:
    from collections.abc import Iterator

# Share of the rows that one step of the threshold may move without a warning.
_COARSE = 0.10


def find(scores: Array, judged: judges.Judged, epsilon: float, delta: float) -> dict[str, Any]:
    """Return what `Calibration` says about the threshold of a sample."""
    rows, required = len(scores), required_rows(epsilon, delta)
    threshold = find_threshold(scores, judged.losses, epsilon=epsilon, delta=delta)
    gone = escalated(scores, threshold)
    lost = judged.losses & ~gone
    is_all = threshold == math.inf
    return {
        "threshold": threshold,
        "epsilon": epsilon,
        "delta": delta,
        "rows": rows,
        "required_rows": required,
        "escalation": float(gone.mean()),
        "escalation_interval": (1.0, 1.0) if is_all else interval(int(gone.sum()), rows),
        "risk": float(lost.mean()),
        "risk_bound": _bound(lost, gone, delta),
        "difference_bound": max(epsilon, _bound(judged.differ & ~gone, gone, delta)),
        "missing_scores": int(np.isnan(scores).sum()),
        "accuracy": Accuracy.of(judged.right, gone),
        "warnings": (*_notes(scores, threshold, required), *judged.warnings),
        "curve": trace(scores, judged.losses, judged.right, delta=delta),
    }


def _bound(lost: Array, gone: Array, delta: float) -> float:
    # No sample is needed to know that keeping no row risks nothing.
    return 0.0 if gone.all() else float(upper_bound(lost.sum(), len(lost), delta))


def _notes(scores: Array, threshold: float, required: int) -> Iterator[str]:
    rows, missing = len(scores), int(np.isnan(scores).sum())
    if missing:
        yield f"{missing} of {rows} rows have no score (NaN); such rows are always escalated"
    if rows < required:
        yield (
            f"{rows} rows are too few to keep this promise without escalating everything: at least "
            f"{required} are needed"
        )
        return
    if threshold == math.inf:
        yield "everything is escalated: even the surest rows are kept at a loss too often"
    low, high = jump(scores, threshold)
    share = float(escalated(scores, threshold).mean())
    if max(share - low, high - share) > max(_COARSE, 1 / rows):
        possible = " or ".join(f"{item:.1%}" for item in sorted({low, share, high}))
        yield (
            f"many rows have the same score, so the share escalated can only be {possible}; a "
            "score with more values may escalate less"
        )
