"""What is known of a sample says which threshold keeps a promise, and what that does."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from hybridmodel.calibrating.gathering import Evidence
from hybridmodel.cascade.bounds import interval, upper_bound
from hybridmodel.cascade.classes import ClassShare, by_class, destroyed
from hybridmodel.cascade.partial_curves import with_drawn_rows
from hybridmodel.cascade.promises import Promise
from hybridmodel.cascade.scores import escalated
from hybridmodel.cascade.thresholds import Accuracy, Curve, jump
from hybridmodel.data.tensors import Array

if TYPE_CHECKING:
    from collections.abc import Iterator

# Share of the rows that one step of the threshold may move without a warning.
_COARSE = 0.10


def find(known: Evidence, promise: Promise) -> dict[str, Any]:
    """Return what `Calibration` says about the threshold of a sample."""
    scores, rows, judged = known.scores, len(known.scores), known.judged
    threshold = promise.threshold(scores, known.losses)
    required = promise.required_rows(rows)
    gone = escalated(scores, threshold)
    lost = known.losses & ~gone
    classes = _classes(known, gone, lost)
    is_all = threshold == math.inf
    warnings = (
        *_notes(scores, threshold, required),
        *_note_of_missing(known.missing),
        *judged.warnings,
        *destroyed(classes, promise.epsilon),
    )
    return {
        "threshold": threshold,
        "epsilon": promise.epsilon,
        "delta": promise.delta,
        "rows": rows,
        "required_rows": required,
        "escalation": float(gone.mean()),
        "escalation_interval": (1.0, 1.0) if is_all else interval(int(gone.sum()), rows),
        "risk": promise.risk(known.losses, gone),
        "risk_bound": promise.bound(known.losses, gone),
        "difference_bound": max(promise.epsilon, _difference_bound(known, gone, promise.delta)),
        "missing_scores": int(np.isnan(scores).sum()),
        "accuracy": Accuracy.of(judged.right, _of_drawn(known, gone)),
        "warnings": warnings,
        "curve": _curve(known, promise),
        "asked_rows": known.asked,
        "drawn_rows": None if known.drawn is None else len(known.drawn),
        "classes": classes,
    }


def _of_drawn(known: Evidence, values: Array) -> Array:
    """Return the values of the rows that tell about all."""
    return values if known.drawn is None else values[known.drawn]


def _difference_bound(known: Evidence, gone: Array, delta: float) -> float:
    if gone.all():
        # No sample is needed to know that keeping no row risks nothing.
        return 0.0
    if known.losses_are_differences:
        return float(upper_bound((known.losses & ~gone).sum(), len(gone), delta))
    kept = ~_of_drawn(known, gone)
    # Without a row nothing is known.
    differ = (known.judged.differ & kept).sum()
    return float(upper_bound(differ, len(kept), delta)) if kept.size else 1.0


def _curve(known: Evidence, promise: Promise) -> Curve:
    judged = known.judged
    right = judged.right if known.drawn is None else None
    curve = promise.curve(known.scores, known.losses, right)
    if known.drawn is None:
        return curve
    scores = known.scores[known.drawn]
    return with_drawn_rows(
        curve, known.settled, scores, judged.losses, judged.right, delta=promise.delta
    )


def _classes(known: Evidence, gone: Array, lost: Array) -> tuple[ClassShare, ...]:
    judged, drawn, classes = known.judged, known.drawn, known.classes
    gone_drawn = _of_drawn(known, gone)
    if classes is None:
        # Without labels a class is what the big model says, which is known of these rows only.
        if judged.classes is None or not len(judged.classes):
            return ()
        return by_class(judged.classes, _of_drawn(known, lost), None)
    if judged.right is None:
        return by_class(classes, lost, None)
    small, big = judged.right
    return by_class(classes, lost, (small, big, np.where(gone_drawn, big, small)), drawn)


def _note_of_missing(missing: int) -> Iterator[str]:
    if missing:
        yield (
            f"{missing:,} rows have no answer, and count as losses: the promise holds, but with "
            "answers to them less may be escalated"
        )


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
