"""Find the threshold of a cascade on a sample of rows, with a promise about all others."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from hybridmodel.calibrating.asking import Asking, Remote, shown
from hybridmodel.calibrating.findings import checked_cost, find
from hybridmodel.calibrating.gathering import (
    AnyJudge,
    Evidence,
    Gathering,
    check_losses,
    only_scores,
)
from hybridmodel.calibrating.kept import KeptAnswers
from hybridmodel.calibrating.sample import Sample, aligned, bind, fingerprint
from hybridmodel.cascade import judges
from hybridmodel.cascade.calibration import Calibration
from hybridmodel.cascade.labels import check_with_answers
from hybridmodel.cascade.loss_functions import ByFunction, NoJudge, facts_of
from hybridmodel.cascade.promises import Promise
from hybridmodel.cascade.promises_groups import group_names
from hybridmodel.cascade.promises_words import ACCURACY, ESCALATION, LOSS, MEAN_LOSS
from hybridmodel.cascade.scores import Score, as_score
from hybridmodel.checks import check_count, check_seconds, check_share
from hybridmodel.data.tensors import Array
from hybridmodel.exceptions import ConfigurationError

if TYPE_CHECKING:
    from hybridmodel.call_types import Column, Data
    from hybridmodel.model import HybridOnnxModel


def calibrate(
    model: HybridOnnxModel,
    X: Data,  # noqa: N803 - as scikit-learn calls it
    y: Column | None = None,
    *,
    epsilon: float,
    delta: float = 0.1,
    promise: str = LOSS,
    by: Column | None = None,
    score: Score | str | Callable[..., Any] = "margin",
    cost_remote: float | None = None,
    sample_weight: None = None,
    loss: judges.LossFunction | None = None,
    tolerance: float | None = None,
    answer: str | None = None,
    big_sha256: str | None = None,
    subsample: int | None = 1000,
    seed: int = 0,
    answers: str | os.PathLike[str] | None = None,
    ask: bool = True,
    timeout: float | None = None,
    progress: bool | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Calibration:
    """Find the cheapest threshold that keeps a promise.

    With probability at least ``1 - delta`` over samples, at most a share `epsilon` of all rows are
    kept local at a loss: with labels, rows that the big model gets right and the small one wrong;
    without, rows on which the two differ. Of classes there are at least as many of these. Numbers
    that are within `tolerance` of each other may lie on both sides of being right: without labels,
    the promise is about rows that the big model gets right within `tolerance`, and the small one
    not within twice that.

    The sample has to be drawn independently from the rows that the promise is about, and not from
    those that either model was trained on. See `hybridmodel.cascade.thresholds` for the method.

    The endpoint is asked only for rows that can move the threshold, and for a random part of the
    sample, which tells the rest: how often each model is right, recall by class, and the curve.
    Threshold and promise are those that asking for every row would give.

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
    promise : str, default="loss"
        What is at most `epsilon`: ``"loss"`` as above; ``"accuracy"`` how much less often than the
        big model the cascade is right, which needs labels; ``"mean_loss"`` the mean of what `loss`
        returns, from 0 to 1; ``"escalation"`` the share of rows that go to the endpoint, which is
        not asked at all. See `hybridmodel.cascade.promises`.
    by : Series, ndarray or list of n values, optional
        The group of each row, such as its label or a region: the promise is kept in every group,
        each with its part of `delta`, by the highest of their thresholds. `Calibration.groups` has
        those of each group.
    score : Score, str or callable, default="margin"
        As `hybridmodel.cascade.scores.as_score` takes it.
    cost_remote : float, optional
        What it costs to ask the endpoint for a row, where a loss of 1 costs 1: of all thresholds
        that keep the promise, the one is taken that costs least on the sample.
    sample_weight : None
        Weights are refused: the tests count rows.
    loss : callable, optional
        Takes `y` (or None), the small and the big model's outputs by name; returns 0 or 1 for each
        row, 1 where it is a loss to keep it; with ``promise="mean_loss"`` anything from 0 to 1. It
        is called with some of the rows at a time, and before anybody is asked with the small
        model's outputs for both.
    tolerance : float, optional
        For numbers: the largest difference that does not matter.
    answer : str, optional
        The output that is acted upon; by default that which the model was told to return, else the
        only one that can be meant.
    big_sha256 : str, optional
        Of the file that the endpoint serves, to be kept with the rest.
    subsample : int or None, default=1000
        Size of the random part. 0 asks only for what can move the threshold, None for every row,
        as happens to smaller samples, and to promises about accuracy and mean losses.
    seed : int, default=0
        Chooses the random part; the same rows each time.
    answers : path, optional
        A file in which the endpoint's answers are kept (Arrow IPC), and looked for first: another
        try with another score, epsilon or loss, or with more rows, pays for new rows only.
        `hybridmodel.calibrating.keep_answers` adds answers that came elsewhere.
    ask : bool, default=True
        False asks nobody: rows without an answer in `answers` count as losses.
    timeout : float, optional
        Total time in seconds for asking. By default each request has the endpoint's time, and
        all of them an hour.
    progress : bool, optional
        Whether stderr shows how many rows were answered; by default only a terminal does.
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
        If the model has no endpoint, cannot give the score or answer, an argument is out of range,
        the file of answers is not one for this endpoint, or the version that answers changes.
    InputMismatch
        If `X` does not fit the model or has no rows, or `y` does not fit `X` or the model.
    EndpointError
        One of its kinds, when the endpoint did not answer.
    SpecMismatch
        If both models are judged by their probabilities, and the endpoint's are none.
    """
    epsilon, delta = check_share("epsilon", epsilon), check_share("delta", delta)
    wanted = Promise(kind=promise, epsilon=epsilon, delta=delta)
    cost_remote = checked_cost(wanted, cost_remote, sample_weight)
    timeout_s = None if timeout is None else check_seconds("timeout", timeout)
    size = None if subsample is None else check_count("subsample", subsample, 0, sys.maxsize)
    score = as_score(score).check(model.spec, model.client.vectors)
    judge = _judge(model, score, wanted, loss, answer, tolerance)
    model_url = model.client.endpoint.model_url
    kept = None if answers is None else KeptAnswers(answers, model_url, model.spec)
    bound = bind(model, X)
    sample = Sample(model, bound)
    labels = None if y is None else judge.labels(aligned(y, bound))
    groups = None if by is None else group_names(aligned(by, bound, "groups"), sample.rows)
    question = _Question(judge, score, wanted, labels, groups)
    with shown(progress, sample.rows if size is None else None) as show:
        how = Asking(kept=kept, may_ask=ask, timeout_s=timeout_s, show=show)
        known, version = _known(model, sample, question, how, size, seed)
    found = find(known, wanted, groups, cost_remote)
    found["warnings"] = (*sample.warnings(), *found["warnings"])
    for note in found["warnings"]:
        warnings.warn(note, stacklevel=2)
    return Calibration(
        **found,
        **facts_of(judge),
        score=score,
        loss=judge.describe(y is not None),
        small_sha256=model.onnx.sha256,
        big_sha256=big_sha256,
        endpoint=model_url,
        model_version=version,
        data_sha256=fingerprint({**bound.feeds, "y": labels}),
        date=now().isoformat(),
    )


class _Question(NamedTuple):
    """What a calibration wants to know of a sample."""

    judge: AnyJudge | NoJudge
    score: Score
    promise: Promise
    labels: Any
    groups: Array | None


def _known(
    model: HybridOnnxModel,
    sample: Sample,
    question: _Question,
    how: Asking,
    size: int | None,
    seed: int,
) -> tuple[Evidence, str | None]:
    """Ask both models, and return what is known then, and the version that answered."""
    judge, score, labels = question.judge, question.score, question.labels
    scores, small = _local(model, score, judge, sample, labels)
    if isinstance(judge, NoJudge):
        return only_scores(scores), None
    remote = Remote(model, sample, judge.needs, score, how)
    gathering = Gathering(judge, labels, small, scores, remote)
    known = gathering.enough_for(question.promise, size, seed, question.groups)
    return known, remote.version


def _judge(
    model: HybridOnnxModel,
    score: Score,
    promise: Promise,
    loss: Any,
    answer: str | None,
    tolerance: float | None,
) -> AnyJudge | NoJudge:
    if promise.kind == ESCALATION:
        if (loss, tolerance, answer) != (None, None, None):
            raise ConfigurationError(
                "promise='escalation' is about scores alone: leave out loss, tolerance and answer"
            )
        return NoJudge()
    if loss is None:
        if promise.kind == MEAN_LOSS:
            raise ConfigurationError(
                "promise='mean_loss' is about losses from 0 to 1: pass the function that returns "
                "them, loss=..., such as hybridmodel.cascade.CostMatrix"
            )
        answer = model.output if answer is None else answer
        return judges.judge_for(model.spec, score, answer=answer, tolerance=tolerance)
    if tolerance is not None or not callable(loss):
        raise ConfigurationError(
            "loss has to be a function, and cannot be passed together with tolerance"
        )
    if promise.kind == ACCURACY:
        raise ConfigurationError(
            "promise='accuracy' compares who is right: pass labels, and no loss function"
        )
    return ByFunction(loss, model.spec.answered_names, promise.kind == MEAN_LOSS)


def _local(
    model: HybridOnnxModel,
    score: Score,
    judge: AnyJudge | NoJudge,
    sample: Sample,
    labels: Any,
) -> tuple[Array, Any]:
    """Return the scores, and what the judge reads of the small model's answers.

    A loss function is tried out, so that a mistake in it shows before anybody is asked.
    """
    wanted = dict.fromkeys((*score.needs(model.spec), *judge.needs))
    local = model.local.run(sample.feeds, tuple(wanted))
    scores = score.of(local, sample.rows)
    small = judge.read({name: local[name] for name in judge.needs})
    check_with_answers(labels, small)
    if isinstance(judge, ByFunction):
        check_losses(len(judge.weigh(labels, small, small).losses), sample.rows)
    return scores, small
