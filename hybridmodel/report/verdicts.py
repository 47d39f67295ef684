"""Derives the findings of a report from answers, scores and labels of all rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from hybridmodel.cascade.judges import ByClass, ByTolerance, Judged
from hybridmodel.cascade.scores import escalated
from hybridmodel.cascade.thresholds import Accuracy, trace
from hybridmodel.compare.values import plain
from hybridmodel.data.tensors import Array
from hybridmodel.report.findings import Chosen, ClassRight, Errors, Escalation, Labelled, Numbers
from hybridmodel.report.subject import Subject

_MOST_PAIRS = 1000
_BINS = 41
_DELTA = 0.1


class Column(NamedTuple):  # A tuple, since `joined` goes through its fields.
    """What is kept of every row, in arrays of shape (n,); None for what is unknown."""

    local: Array | None = None
    remote: Array | None = None
    labels: Array | None = None
    scores: Array | None = None
    differ: Array = np.empty(0, bool)

    @classmethod
    def joined(cls, parts: Sequence[Column]) -> Column:
        """Join the rows of several; what one of them lacks, the result lacks."""
        return cls(*map(_joined, zip(*parts, strict=True))) if parts else cls()


def judged_rows(subject: Subject, column: Column) -> Judged | None:
    """Compare the answers of all rows; None where nothing tells which of them agree.

    InputMismatch says that neither route ever answers any of the labels.
    """
    if subject.judge is None or column.local is None or column.remote is None:
        return None
    return subject.judge.compare(column.labels, column.local, column.remote)


def escalation(
    subject: Subject, column: Column, judged: Judged | None, why_no_score: str
) -> tuple[Escalation | None, str]:
    """Return what each share of escalated rows would cost, or why that is unknown."""
    if column.scores is None or subject.score is None:
        return None, why_no_score or "the model does not answer each row independently"
    if judged is None or subject.judge is None:
        return None, (
            "the answer is not a class; for numbers pass --tolerance, and --answer if several "
            "outputs hold numbers"
        )
    loss = subject.judge.describe(column.labels is not None)
    delta = _DELTA if subject.calibration is None else subject.calibration.delta
    found = Escalation(
        score=str(subject.score),
        loss=loss.replace("big", "the endpoint").replace("small", "the local model"),
        curve=trace(column.scores, judged.losses, judged.right, delta=delta),
        delta=delta,
        chosen=_chosen(subject, column.scores, judged),
    )
    return found, ""


def labelled(subject: Subject, column: Column, judged: Judged | None) -> Labelled | None:
    """Return how often each route is right; None without labels or a judge."""
    if judged is None or judged.right is None:
        return None
    local, remote = judged.right
    return Labelled(
        both=int((local & remote).sum()),
        only_local=int((local & ~remote).sum()),
        only_remote=int((remote & ~local).sum()),
        neither=int((~local & ~remote).sum()),
        classes=_by_label(column, local, remote) if isinstance(subject.judge, ByClass) else (),
    )


def numbers(subject: Subject, column: Column) -> Numbers | None:
    """Compare the numbers of both routes; None where the answer is not a number."""
    reader, labels = subject.reader, column.labels
    if not isinstance(reader, ByTolerance) or column.local is None or column.remote is None:
        return None
    local, remote = column.local.astype(np.float64), column.remote.astype(np.float64)
    good = np.isfinite(local) & np.isfinite(remote)
    few = np.flatnonzero(good)
    few = few[np.unique(np.linspace(0, len(few) - 1, _MOST_PAIRS).astype(int))] if len(few) else few
    counts, edges = np.histogram((remote - local)[good], bins=_BINS)
    return Numbers(
        output=reader.output.name,
        pairs=tuple(zip(local[few].tolist(), remote[few].tolist(), strict=True)),
        edges=tuple(edges.tolist()),
        counts=tuple(counts.tolist()),
        skipped=int((~good).sum()),
        local_errors=None if labels is None else _errors(local, labels),
        remote_errors=None if labels is None else _errors(remote, labels),
    )


def _chosen(subject: Subject, scores: Array, judged: Judged) -> Chosen | None:
    if subject.cascade is None:
        return None
    threshold, calibration = subject.cascade.limit, subject.calibration
    gone = escalated(scores, threshold)
    return Chosen(
        threshold=threshold,
        escalation=float(gone.mean()),
        risk=float((judged.losses & ~gone).mean()),
        accuracy=Accuracy.of(judged.right, gone),
        epsilon=None if calibration is None else calibration.epsilon,
    )


def _by_label(column: Column, local: Array, remote: Array) -> tuple[ClassRight, ...]:
    import pandas as pd

    flags = {"rows": 1, "agreed": ~column.differ, "local": local, "remote": remote}
    counts: dict[Any, Any] = pd.DataFrame(flags).groupby(column.labels).sum().to_dict("index")
    return tuple(ClassRight(label=plain(name), **row) for name, row in counts.items())


def _errors(answers: Array, labels: Array) -> Errors:
    distances = np.abs(answers - labels)
    distances = distances[np.isfinite(distances)]
    if not distances.size:
        return Errors(mean_abs=np.nan, root_mean_square=np.nan)
    return Errors(
        mean_abs=float(distances.mean()),
        root_mean_square=float(np.sqrt(np.mean(distances**2))),
    )


def _joined(parts: tuple[Array | None, ...]) -> Any:
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if len(known) == len(parts) else None
