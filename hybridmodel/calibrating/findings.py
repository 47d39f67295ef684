"""What is known of a sample says which threshold keeps a promise, and what that does."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from hybridmodel.calibrating.gathering import Evidence
from hybridmodel.cascade.bounds import interval, upper_bound
from hybridmodel.cascade.classes import ClassShare, by_class, destroyed
from hybridmodel.cascade.partial_curves import with_drawn_rows
from hybridmodel.cascade.promises import Promise, cheapest
from hybridmodel.cascade.promises_groups import Group, find_by_group
from hybridmodel.cascade.promises_groups import notes as group_notes
from hybridmodel.cascade.promises_words import ESCALATION, LOSS
from hybridmodel.cascade.scores import escalated
from hybridmodel.cascade.thresholds import Accuracy, Curve, jump
from hybridmodel.checks import check_tolerance
from hybridmodel.data.tensors import Array
from hybridmodel.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

# Share of the rows that one step of the threshold may move without a warning.
_COARSE = 0.10


def checked_cost(promise: Promise, cost_remote: Any, sample_weight: Any) -> float | None:
    """Return a cost that can choose a threshold; raise `ConfigurationError` for one that cannot."""
    if sample_weight is not None:
        raise ConfigurationError(
            "sample_weight is refused: the tests count independent rows, and no weight makes one "
            "row count as two. Draw the sample as often as the rows are to count, or promise for "
            "each group with by="
        )
    if cost_remote is None:
        return None
    if promise.kind == ESCALATION:
        raise ConfigurationError(
            "cost_remote weighs losses against rows escalated, and promise='escalation' knows of "
            "no losses"
        )
    return check_tolerance("cost_remote", cost_remote)


def find(
    known: Evidence,
    promise: Promise,
    names: Array | None = None,
    cost_remote: float | None = None,
) -> dict[str, Any]:
    """Return what `Calibration` says about the threshold of a sample.

    `names` are those of groups, one for each row; `cost_remote` is as `calibrate` takes it.
    """
    scores, rows, judged = known.scores, len(known.scores), known.judged
    promise = promise.for_rows(rows)
    harm = known.losses if promise.kind in (LOSS, ESCALATION) else promise.harm(judged)
    threshold, groups = _threshold(promise, scores, harm, names)
    if cost_remote is not None:
        threshold = cheapest(scores, harm, threshold, cost_remote)
    gone = escalated(scores, threshold)
    classes = _classes(known, gone)
    warnings = (
        *(group_notes(promise, groups) if groups else ()),
        *_notes(scores, threshold, promise),
        *_note_of_missing(known.missing),
        *judged.warnings,
        *destroyed(classes, promise.epsilon),
    )
    return {
        **_shares(known, promise, harm, gone),
        "threshold": threshold,
        "epsilon": promise.epsilon,
        "delta": promise.delta,
        "rows": rows,
        "required_rows": promise.required_rows(rows),
        "missing_scores": int(np.isnan(scores).sum()),
        "warnings": warnings,
        "curve": _curve(known, promise, harm),
        "promise": promise.kind,
        "method": promise.method,
        "groups": groups,
        "cost_remote": cost_remote,
        "asked_rows": known.asked,
        "drawn_rows": None if known.drawn is None else len(known.drawn),
        "classes": classes,
    }


def _shares(known: Evidence, promise: Promise, harm: Array, gone: Array) -> dict[str, Any]:
    """Return what becomes of the sample where the rows `gone` are escalated."""
    count, rows = int(gone.sum()), len(gone)
    return {
        "escalation": float(gone.mean()),
        # Where all rows go, it is the promise that sends them.
        "escalation_interval": (1.0, 1.0) if count == rows else interval(count, rows),
        "risk": promise.risk(harm, gone),
        "risk_bound": promise.bound(harm, gone),
        "difference_bound": max(promise.epsilon, _difference_bound(known, gone, promise.delta)),
        "accuracy": Accuracy.of(known.judged.right, _of_drawn(known, gone)),
    }


def _threshold(
    promise: Promise, scores: Array, harm: Array, names: Array | None
) -> tuple[float, tuple[Group, ...]]:
    if names is None:
        return promise.threshold(scores, harm), ()
    return find_by_group(promise, scores, harm, names)


def _of_drawn(known: Evidence, values: Array) -> Array:
    """Return the values of the rows that tell about all."""
    return values if known.drawn is None else values[known.drawn]


def _difference_bound(known: Evidence, gone: Array, delta: float) -> float:
    if gone.all():
        # No sample is needed to know that keeping no row risks nothing.
        return 0.0
    if known.losses_are_differences:
        lost = known.losses.astype(bool) & ~gone
        return float(upper_bound(lost.sum(), len(gone), delta))
    kept = ~_of_drawn(known, gone) if len(known.judged.differ) else gone[:0]
    # Without a row nothing is known.
    differ = (known.judged.differ & kept).sum()
    return float(upper_bound(differ, len(kept), delta)) if kept.size else 1.0


def _curve(known: Evidence, promise: Promise, harm: Array) -> Curve:
    judged = known.judged
    right = judged.right if known.drawn is None else None
    curve = promise.curve(known.scores, harm, right)
    if known.drawn is None:
        return curve
    scores = known.scores[known.drawn]
    return with_drawn_rows(
        curve, known.settled, scores, judged.losses, judged.right, delta=promise.delta
    )


def _classes(known: Evidence, gone: Array) -> tuple[ClassShare, ...]:
    judged, drawn, classes = known.judged, known.drawn, known.classes
    lost = known.losses.astype(bool) & ~gone
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


def _notes(scores: Array, threshold: float, promise: Promise) -> Iterator[str]:
    rows, missing = len(scores), int(np.isnan(scores).sum())
    required = promise.required_rows(rows)
    if missing:
        yield f"{missing} of {rows} rows have no score (NaN); such rows are always escalated"
    if rows < required:
        way = "nothing" if promise.kind == ESCALATION else "everything"
        yield (
            f"{rows} rows are too few to keep this promise without escalating {way}: at least "
            f"{required} are needed"
        )
        return
    if threshold == -math.inf:
        yield "nothing is escalated but rows without a score: already these may be too many"
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
