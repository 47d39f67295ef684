"""Trains a gate, which sees the inputs, and keeps it where it saves more than the plain score.

A score made from probabilities knows how sure the small model is. A gate also knows for which
inputs it errs. It learns from the answers to one half of a sample; the other half finds its
threshold. The plain score has the whole sample. Both make the promise with half of delta, so that
whichever is kept makes it with delta: the sum of both chances to break it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from hybridmodel.calibrating.asking import Asking, Remote, shown
from hybridmodel.calibrating.findings import find
from hybridmodel.calibrating.gathering import Evidence, Gathering
from hybridmodel.calibrating.kept import KeptAnswers
from hybridmodel.calibrating.sample import Sample, aligned, bind, fingerprint, taken
from hybridmodel.cascade import judges
from hybridmodel.cascade.calibration import Calibration
from hybridmodel.cascade.gate_graph import FEATURES, opsets, with_features, with_gate
from hybridmodel.cascade.gate_models import BOOSTING, KINDS, LEAST_LOSSES, exported, trained
from hybridmodel.cascade.loss_functions import facts_of
from hybridmodel.cascade.promises import Promise
from hybridmodel.cascade.promises_words import ACCURACY, LOSS
from hybridmodel.cascade.scores import Score, as_score, escalated
from hybridmodel.checks import check_seconds, check_share
from hybridmodel.data.binding import Bound
from hybridmodel.data.tensors import GATE, Array
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.local.session import LocalSession

if TYPE_CHECKING:
    import os

    from hybridmodel.model import HybridOnnxModel

LEAST_ROWS = 5_000
"""A gate that learns from fewer loses more rows than it saves."""

_SCORE = Score("uncertainty", GATE)


@dataclass(frozen=True, kw_only=True)
class Gated:
    """What training a gate has led to.

    Attributes
    ----------
    model : HybridOnnxModel
        With the gate in its local model, and with the cascade of `calibration` as its policy; the
        model that was given where the gate does not pay.
    calibration : Calibration
        Of the score that is kept.
    pays : bool
        Whether the gate is kept.
    plain, gate : float
        Share of the rows, of those that the gate did not learn from, that the plain score and the
        gate escalate; 1 for a gate that could not learn.
    """

    model: HybridOnnxModel
    calibration: Calibration
    pays: bool
    plain: float
    gate: float

    def __str__(self) -> str:
        kept = "the gate is kept" if self.pays else "the gate does not pay: the score is kept"
        return f"plain score {self.plain:.1%}, gate {self.gate:.1%} escalated: {kept}"


def train_gate(
    model: HybridOnnxModel,
    X: Any,  # noqa: N803 - as scikit-learn calls it
    y: Any = None,
    *,
    epsilon: float,
    delta: float = 0.1,
    promise: str = LOSS,
    kind: str = BOOSTING,
    score: Any = "margin",
    tolerance: float | None = None,
    answer: str | None = None,
    answers: str | os.PathLike[str] | None = None,
    credential: Any = None,
    seed: int = 0,
    timeout: float | None = None,
    progress: bool | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Gated:
    """Train a gate on the answers to a sample, and compare it with the plain score.

    A random half of the rows trains the gate, a classifier of losses by inputs and the small
    model's outputs. It is written into the local ONNX graph as the output ``hybridmodel_gate``,
    which the endpoint need not have and which `predict` returns by its name only. Of gate and plain
    score the one is kept that escalates fewer of the other half.

    Parameters
    ----------
    model : HybridOnnxModel
        With an endpoint; it is not changed.
    X, y, epsilon, delta, score, tolerance, answer, timeout, progress, now
        As `calibrate` takes them; of at least 5,000 rows. Every row needs an answer.
    promise : str, default="loss"
        ``"loss"`` or ``"accuracy"``.
    kind : str, default="boosting"
        Of the gate: ``"boosting"`` or ``"logistic"``.
    answers : path, optional
        A file of answers, as `calibrate` takes it: rows that have one there are not asked for.
    credential : object or callable, optional
        As `HybridOnnxModel` takes it: for the model with the gate.
    seed : int, default=0
        Chooses the halves.

    Returns
    -------
    Gated

    Raises
    ------
    ConfigurationError
        If there are fewer than 5,000 rows, an argument is none of these, or a gate cannot be added
        to the local model.
    MissingDependency
        If scikit-learn, onnx or skl2onnx is not installed: the extra ``gate`` brings them.
    InputMismatch, EndpointError, SpecMismatch
        As `calibrate` raises them.
    """
    whole = Promise(
        kind=_one_of("promise", promise, (LOSS, ACCURACY)),
        epsilon=check_share("epsilon", epsilon),
        delta=check_share("delta", delta),
    )
    _one_of("kind", kind, KINDS)
    plain_score = as_score(score).check(model.spec)
    asked = model.output if answer is None else answer
    judge = judges.judge_for(model.spec, plain_score, answer=asked, tolerance=tolerance)
    bound = bind(model, X)
    sample = _sample(model, bound)
    features = with_features(_content(model), model.spec)
    labels = None if y is None else judge.labels(aligned(y, bound))
    timeout_s = None if timeout is None else check_seconds("timeout", timeout)
    kept = _kept(model, answers)
    with shown(progress, sample.rows) as show:
        how = Asking(kept=kept, timeout_s=timeout_s, show=show)
        remote = Remote(model, sample, judge.needs, plain_score, how)
        known = _everything(model, plain_score, judge, sample, labels, remote)
    facts = {
        **facts_of(judge),
        "loss": judge.describe(y is not None),
        "big_sha256": None,
        "endpoint": model.client.endpoint.model_url,
        "model_version": remote.version,
        "data_sha256": fingerprint({**sample.feeds, "y": labels}),
        "date": now().isoformat(),
    }
    trial = _Trial(model, whole, known, sample.feeds, seed)
    found = trial.better(plain_score, trial.made(kind, features), facts, credential)
    for note in found.calibration.warnings:
        warnings.warn(note, stacklevel=2)
    return found


class _Trial:
    """The comparison of a gate with the plain score, each with half of delta."""

    def __init__(
        self,
        model: HybridOnnxModel,
        promise: Promise,
        known: Evidence,
        feeds: dict[str, Array],
        seed: int,
    ) -> None:
        self._model, self._promise, self._known, self._feeds = model, promise, known, feeds
        self._half = replace(promise, delta=promise.delta / 2)
        self._seed = seed
        order = np.random.default_rng(seed).permutation(len(known.scores))
        middle = len(order) // 2
        self._learned, self._held = np.sort(order[:middle]), np.sort(order[middle:])

    def made(self, kind: str, features: Any) -> bytes | None:
        """Return the file of the model with a gate, None where there is too little to learn."""
        lost = self._known.judged.losses.astype(bool)[self._learned]
        if min(lost.sum(), len(lost) - lost.sum()) < LEAST_LOSSES:
            return None
        seen = LocalSession(features.SerializeToString())
        rows = taken(self._feeds, self._learned)
        values = seen.run(rows, (FEATURES,))[FEATURES]
        gate = trained(kind, values, lost, self._seed)
        return with_gate(features, exported(gate, values.shape[1], opsets(features)))

    def better(
        self, plain_score: Score, made: bytes | None, facts: dict[str, Any], credential: Any
    ) -> Gated:
        """Return the one that escalates less of the rows that the gate did not learn from."""
        model, known = self._model, self._known
        plain = find(known, self._half)
        share = float(escalated(known.scores[self._held], plain["threshold"]).mean())
        session = None if made is None else _session(model, made)
        found = None if session is None else self._found(session)
        gate = 1.0 if found is None else float(found["escalation"])
        if session is None or found is None or gate >= share:
            calibration = self._calibration(plain, facts, plain_score, model.onnx.sha256)
            return Gated(model=model, calibration=calibration, pays=False, plain=share, gate=gate)
        calibration = self._calibration(found, facts, _SCORE, session.onnx.sha256)
        gated = _model_of(model, session, calibration, credential)
        return Gated(model=gated, calibration=calibration, pays=True, plain=share, gate=gate)

    def _found(self, session: LocalSession) -> dict[str, Any]:
        """Return what the other half says about the gate."""
        outputs = session.run(taken(self._feeds, self._held), (GATE,))
        return find(_part(self._known, self._held, _SCORE.of(outputs)), self._half)

    def _calibration(
        self, found: dict[str, Any], facts: dict[str, Any], score: Score, sha256: str
    ) -> Calibration:
        kept = {**found, "delta": self._promise.delta}
        return Calibration(**kept, **facts, score=score, small_sha256=sha256)


def _sample(model: HybridOnnxModel, bound: Bound) -> Sample:
    if (bound.rows or 0) < LEAST_ROWS:
        raise ConfigurationError(
            f"a gate needs at least {LEAST_ROWS:,} rows, and the sample has {bound.rows:,}: with "
            "fewer it costs more than it saves; use calibrate"
        )
    return Sample(model, bound)


def _kept(model: HybridOnnxModel, path: str | os.PathLike[str] | None) -> KeptAnswers | None:
    if path is None:
        return None
    return KeptAnswers(path, model.client.endpoint.model_url, model.spec)


def _session(model: HybridOnnxModel, content: bytes) -> LocalSession:
    """Return a session of another file with the settings of a model's own."""
    return LocalSession(
        content,
        providers=model.local.providers,
        provider_options=model.local.provider_options,
        session_options=model.local.session_options,
    )


def _everything(
    model: HybridOnnxModel,
    score: Score,
    judge: judges.Judge,
    sample: Sample,
    labels: Any,
    remote: Remote,
) -> Evidence:
    """Ask both models for every row."""
    local = model.local.run(sample.feeds, tuple({*score.needs(model.spec), *judge.needs}))
    small = judge.read({name: local[name] for name in judge.needs})
    return Gathering(judge, labels, small, score.of(local, sample.rows), remote).all()


def _part(known: Evidence, rows: Array, scores: Array) -> Evidence:
    """Return what is known of some rows, with other scores.

    All losses count: the gate may keep a row for which the plain score has no number.
    """
    judged = known.judged
    right = None if judged.right is None else (judged.right[0][rows], judged.right[1][rows])
    some = replace(
        judged,
        losses=judged.losses[rows],
        differ=judged.differ[rows],
        right=right,
        classes=taken(judged.classes, rows),
    )
    classes, losses = taken(known.classes, rows), some.losses * ~np.isnan(scores)
    return replace(known, scores=scores, losses=losses, judged=some, classes=classes)


def _model_of(
    model: HybridOnnxModel, session: LocalSession, calibration: Calibration, credential: Any
) -> HybridOnnxModel:
    from hybridmodel.routing.policies import Cascade

    return type(model)(
        session,
        endpoint=model.endpoints or None,
        credential=credential,
        feature_names=model.feature_names,
        output=model.output,
        routing=Cascade(calibration=calibration),
    )


def _content(model: HybridOnnxModel) -> bytes:
    if model.onnx.external_files or model.onnx.external_hashes:
        raise ConfigurationError(
            "the local model keeps its weights in files beside it, and a gate is added to one "
            "file: save it as one file first (onnx.save does)"
        )
    return model.onnx.content()


def _one_of(name: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise ConfigurationError(
            f"{name} of a gate is one of {', '.join(map(repr, known))}, not {value!r}"
        )
    return value
