"""Find the threshold of a cascade on a sample of rows, with a promise about all others."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hybridmodel.calibrating.findings import find
from hybridmodel.calibrating.sample import aligned, bind, fingerprint
from hybridmodel.cascade import judges
from hybridmodel.cascade.calibration import Calibration
from hybridmodel.cascade.scores import Score, as_score
from hybridmodel.checks import check_seconds, check_share
from hybridmodel.data.binding import Bound
from hybridmodel.data.tensors import Array
from hybridmodel.exceptions import ConfigurationError

if TYPE_CHECKING:
    from hybridmodel.model import HybridOnnxModel


def calibrate(
    model: HybridOnnxModel,
    X: Any,  # noqa: N803 - as scikit-learn calls it
    y: Any = None,
    *,
    epsilon: float,
    delta: float = 0.1,
    score: Any = "margin",
    loss: judges.LossFunction | None = None,
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
    judge = _judge(model, score, loss, answer, tolerance)
    model_url = model.client.endpoint.model_url
    bound = bind(model, X)
    labels = None if y is None else judge.labels(aligned(y, bound))
    scores, judged, version = _ask_both(model, score, judge, bound, labels, timeout_s)
    found = find(scores, judged, epsilon, delta)
    for note in found["warnings"]:
        warnings.warn(note, stacklevel=2)
    return Calibration(
        **found,
        **judges.facts_of(judge),
        score=score,
        loss=judge.describe(y is not None),
        small_sha256=model.onnx.sha256,
        big_sha256=big_sha256,
        endpoint=model_url,
        model_version=version,
        data_sha256=fingerprint({**bound.feeds, "y": labels}),
        date=now().isoformat(),
    )


def _judge(
    model: HybridOnnxModel, score: Score, loss: Any, answer: str | None, tolerance: float | None
) -> judges.Judge | judges.ByFunction:
    if loss is None:
        answer = model.output if answer is None else answer
        return judges.judge_for(model.spec, score, answer=answer, tolerance=tolerance)
    if tolerance is not None or not callable(loss):
        raise ConfigurationError(
            "loss has to be a function, and cannot be passed together with tolerance"
        )
    return judges.ByFunction(loss, model.spec.output_names)


def _ask_both(
    model: HybridOnnxModel,
    score: Score,
    judge: judges.Judge | judges.ByFunction,
    bound: Bound,
    labels: Any,
    timeout_s: float | None,
) -> tuple[Array, judges.Judged, str | None]:
    """Return the scores, what the judge found, and the version that the endpoint names."""
    wanted = dict.fromkeys((*score.needs(model.spec), *judge.needs))
    local = model.local.run(bound.feeds, tuple(wanted))
    scores = score.of(local, bound.rows)
    remote = model.client.infer(bound.feeds, judge.needs, rows=bound.rows, timeout_s=timeout_s)
    score.check_endpoint(remote.outputs)
    small = judge.read({name: local[name] for name in judge.needs})
    judged = judge.compare(labels, small, judge.read(remote.outputs))
    if len(judged.losses) != bound.rows:
        raise ConfigurationError(
            f"the loss function has to return 0 or 1 for each of {bound.rows} rows; it returned "
            f"{len(judged.losses)}"
        )
    return scores, judged, remote.model_version
