"""Find the threshold of a cascade on a sample of rows, with a promise about all others."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from hybridmodel.cascade.bounds import interval, required_rows, upper_bound
from hybridmodel.cascade.calibration import Calibration
from hybridmodel.cascade.fingerprint import fingerprint
from hybridmodel.cascade.judge_selection import judge_for
from hybridmodel.cascade.judges import Judge, Judged, LossFunction
from hybridmodel.cascade.scores import Score, as_score, escalated
from hybridmodel.cascade.thresholds import Accuracy, find_threshold, jump, trace
from hybridmodel.checks import check_seconds, check_share
from hybridmodel.data.binding import Binding, Bound
from hybridmodel.exceptions import ConfigurationError, InputMismatch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hybridmodel.model import HybridOnnxModel

Array = np.ndarray[Any, Any]

_COARSE = 0.10
"""Share of the rows that one step of the threshold may move without a warning."""


def calibrate(
    model: HybridOnnxModel,
    X: Any,  # noqa: N803 - as scikit-learn calls it
    y: Any = None,
    *,
    epsilon: float,
    delta: float = 0.1,
    score: Any = "margin",
    loss: LossFunction | None = None,
    tolerance: float | None = None,
    answer: str | None = None,
    big_sha256: str | None = None,
    timeout: float | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Calibration:
    """Find the cheapest threshold that keeps a promise, asking both models for every row.

    With probability at least ``1 - delta`` over samples, at most a share `epsilon` of all rows are
    kept local at a loss: with labels, rows that the big model gets right and the small one wrong;
    without, rows on which the two differ, of which there are at least as many. The sample has to
    be drawn independently from the rows that the promise is about, and not from those that either
    model was trained on. See `hybridmodel.cascade.thresholds` for the method.

    Parameters
    ----------
    model : HybridOnnxModel
        With an endpoint.
    X : DataFrame, ndarray, list, or dict of arrays by input name
        The sample, as `HybridOnnxModel.predict` takes it.
    y : Series, ndarray or list of n labels, optional
        As the model answers them: its classes, or numbers with `tolerance`. A Series needs the
        index of `X` where that is pandas.
    epsilon, delta : float
        The promise; between 0 and 1, both excluded.
    score : Score, str or callable, default="margin"
        As `hybridmodel.cascade.scores.as_score` takes it.
    loss : callable, optional
        Takes `y` (or None), the small and the big model's outputs by name; returns 0 or 1 for each
        row, 1 where it is a loss to keep the row.
    tolerance : float, optional
        For numbers: the largest difference that does not matter.
    answer : str, optional
        The output that is acted upon; by default that which the model was told to return, else the
        only one that can be meant.
    big_sha256 : str, optional
        Of the file that the endpoint serves, to be kept with the rest.
    timeout : float, optional
        Total time in seconds for the endpoint; default is the endpoint's.
    now : callable
        Tells the date, with its time zone.

    Returns
    -------
    Calibration
        With a threshold of infinity, which escalates everything, when the sample is too small or
        the promise cannot be kept otherwise; its `warnings`, which are issued as well, say so.

    Raises
    ------
    ConfigurationError
        If the model has no endpoint, cannot give the score or answer, or an argument is out of
        range.
    InputMismatch
        If `X` does not fit the model or has no rows, or `y` does not fit `X` or the model.
    EndpointError
        One of its kinds, when the endpoint did not answer.
    SpecMismatch
        If both models are judged by their probabilities, and the endpoint's are none.
    """
    epsilon, delta = check_share("epsilon", epsilon), check_share("delta", delta)
    timeout_s = None if timeout is None else check_seconds("timeout", timeout)
    score = as_score(score).check(model.spec)
    answer = model.output if answer is None else answer
    judge = judge_for(model.spec, score, answer=answer, loss=loss, tolerance=tolerance)
    endpoint = model.client.endpoint
    sample = _read_sample(model, judge, X, y)
    asked = _ask_both(model, score, judge, sample, timeout_s)
    found = _find(asked.scores, asked.judged, epsilon, delta)
    for note in found["warnings"]:
        warnings.warn(note, stacklevel=2)
    return Calibration(
        **found,
        **judge.facts,
        score=score,
        loss=judge.describe(y is not None),
        small_sha256=model.onnx.sha256,
        big_sha256=big_sha256,
        endpoint=endpoint.model_url,
        model_version=asked.model_version,
        data_sha256=sample.sha256,
        date=now().isoformat(),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sample:
    feeds: dict[str, Array]
    rows: int
    labels: Any

    @property
    def sha256(self) -> str:
        labels = None if self.labels is None else np.asarray(self.labels)
        return fingerprint({**self.feeds, "y": labels})


def _read_sample(model: HybridOnnxModel, judge: Judge, data: Any, y: Any) -> _Sample:
    bound = Binding(model.spec, model.feature_names).bind(data)
    if bound.rows is None:
        raise InputMismatch(
            "a calibration needs a model that answers row by row: no input counts rows, or the "
            "inputs have different numbers of rows"
        )
    if bound.rows == 0:
        raise InputMismatch("a calibration needs at least one row; the sample has none")
    labels = None if y is None else judge.labels(_aligned(y, bound))
    return _Sample(feeds=bound.feeds, rows=bound.rows, labels=labels)


def _aligned(y: Any, bound: Bound) -> Any:
    try:
        count = len(y)
    except TypeError as error:
        raise InputMismatch(
            f"labels have to be one for each row, not a {type(y).__name__}"
        ) from error
    if count != bound.rows:
        raise InputMismatch(f"{count} labels came for {bound.rows} rows")
    index: Any = getattr(y, "index", None)  # A list has a method of that name.
    labelled = bound.frame_index is not None and hasattr(index, "equals")
    if labelled and not index.equals(bound.frame_index):
        raise InputMismatch(
            "the labels have another index than the rows; reorder them with y.loc[X.index], or "
            "pass y.to_numpy() if they are in order already"
        )
    return y


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    scores: Array
    judged: Judged
    model_version: str | None


def _ask_both(
    model: HybridOnnxModel, score: Score, judge: Judge, sample: _Sample, timeout_s: float | None
) -> _Asked:
    """Ask the local model for scores, and both models for what the judge reads."""
    wanted = dict.fromkeys((*score.needs(model.spec), *judge.needs))
    local = model.local.run(sample.feeds, tuple(wanted))
    scores = score.of(local, sample.rows)
    remote = model.client.infer(sample.feeds, judge.needs, rows=sample.rows, timeout_s=timeout_s)
    score.check_endpoint(remote.outputs)
    small = {name: local[name] for name in judge.needs}
    judged = judge.judge(sample.labels, small, remote.outputs)
    if len(judged.losses) != sample.rows:
        raise ConfigurationError(
            f"the loss function has to return 0 or 1 for each of {sample.rows} rows; it returned "
            f"{len(judged.losses)}"
        )
    return _Asked(scores=scores, judged=judged, model_version=remote.model_version)


def _find(scores: Array, judged: Judged, epsilon: float, delta: float) -> dict[str, Any]:
    rows, required = len(scores), required_rows(epsilon, delta)
    threshold = find_threshold(scores, judged.losses, epsilon=epsilon, delta=delta)
    gone = escalated(scores, threshold)
    return {
        "threshold": threshold,
        "epsilon": epsilon,
        "delta": delta,
        "rows": rows,
        "required_rows": required,
        "escalation": float(gone.mean()),
        "escalation_interval": (
            (1.0, 1.0) if threshold == math.inf else interval(int(gone.sum()), rows)
        ),
        "risk": float((judged.losses & ~gone).mean()),
        "risk_bound": _bound(judged.losses & ~gone, gone, delta),
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
