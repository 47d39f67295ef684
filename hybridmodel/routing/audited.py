"""One audited call: which rows are compared, what it costs to keep them, and what is promised."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hybridmodel.cascade.audit_state import AuditState
from hybridmodel.cascade.judges import ByClass, Judge, LossFunction, Outputs, judge_for
from hybridmodel.cascade.loss_functions import ByFunction
from hybridmodel.cascade.promises_words import ACCURACY, LOSS, MEAN_LOSS
from hybridmodel.cascade.scores import name_of
from hybridmodel.cascade.watch import Composition, Evidence, Watch
from hybridmodel.data.tensors import Array, ModelSpec
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.routing.budget import Budget
from hybridmodel.routing.policies import Cascade

if TYPE_CHECKING:
    from hybridmodel.cascade.calibration import Calibration

AnyJudge = Judge | ByFunction

_ABOUT_LOSSES = (LOSS, MEAN_LOSS)
"""Kinds of promises about what is lost in the rows that are kept."""


class AuditedCall(NamedTuple):
    """A call of an audited cascade.

    Attributes
    ----------
    rate : float
        Share of the kept rows that is audited.
    gone, audited : ndarray of bool, shape (n,)
        The rows that are escalated, and those that are kept and sent as well.
    local : mapping of str to ndarray
        The local model's outputs for all rows.
    remote : mapping of str to ndarray or None
        The endpoint's for the rows that were sent; None where it was unavailable.
    request_id : str or None
        Of the request.
    """

    rate: float
    gone: Array
    audited: Array
    local: Outputs
    remote: Outputs | None
    request_id: str | None = None


class Compared(NamedTuple):
    """Rows of a call that both models have answered.

    Attributes
    ----------
    rows : ndarray of int, shape (m,)
        Their positions in the call, in order.
    audited : ndarray of bool, shape (m,)
        Those that are kept; the others were escalated.
    local, remote : ndarray of shape (m,), or mapping of such
        Both answers, as the judge has read them.
    losses : ndarray of float64, shape (m,), or None
        What it costs to keep them; None where only labels tell.
    """

    rows: Array
    audited: Array
    local: Any
    remote: Any
    losses: Array | None


class Noted(NamedTuple):
    """What is left of a call: its arrays are not kept.

    Attributes
    ----------
    rate : float
        As in `AuditedCall`.
    rows, sent : int
        Of the call, and of those the ones that are escalated.
    is_answered : bool
        Whether the endpoint answered, if it was asked.
    request_id : str or None
    found : Compared or None
        None where no row was compared.
    """

    rate: float
    rows: int
    sent: int
    is_answered: bool
    request_id: str | None
    found: Compared | None

    @property
    def unseen(self) -> tuple[float, float]:
        """Rows without a loss, and rows that an outage has left here, as `Evidence` has them."""
        if self.is_answered:
            return self.rate * self.sent, 0.0
        # Nobody looks at the rows that are kept beside them: taken for rows without a loss.
        return self.rate * (self.rows - self.sent), self.rate * self.sent


def total(noted: Sequence[Noted]) -> tuple[Composition, Evidence]:
    """Add up some calls."""
    kept = sum(item.rows - item.sent for item in noted)
    left = sum(item.sent for item in noted if not item.is_answered)
    seen = [item.found for item in noted if item.found is not None]
    audited = sum(int(np.count_nonzero(found.audited)) for found in seen)
    rows = sum(item.rows for item in noted)
    unseen = [item.unseen for item in noted]
    evidence = Evidence(zeros=sum(one for one, _ in unseen), left=sum(two for _, two in unseen))
    judged = [(found.audited, found.losses) for found in seen if found.losses is not None]
    if judged:
        is_kept, losses = map(np.concatenate, zip(*judged, strict=True))
        evidence = evidence._replace(kept=losses[is_kept], sent=losses[~is_kept])
    return Composition(rows=rows, kept=kept, left=left, audited=audited), evidence


def compare(judge: AnyJudge, labelled: bool, call: AuditedCall, most_sent: int) -> Compared | None:
    """Compare the audited rows, and `most_sent` of those that were escalated.

    Returns
    -------
    Compared or None
        None where no row is compared.

    Raises
    ------
    Exception
        Whatever a loss function raises.
    """
    chosen = call.audited
    if most_sent:  # Evenly spread, as a call may be sorted.
        gone = np.flatnonzero(call.gone)
        chosen = chosen.copy()
        chosen[gone[np.arange(most_sent) * len(gone) // most_sent]] = True
    rows = np.flatnonzero(chosen)
    if not rows.size or call.remote is None:
        return None
    places = chosen[call.gone | call.audited]
    local = judge.read({name: call.local[name][rows] for name in judge.needs})
    remote = judge.read({name: call.remote[name][places] for name in judge.needs})
    losses = None if labelled else losses_of(judge, None, local, remote, len(rows))
    return Compared(rows, call.audited[rows], local, remote, losses)


def losses_of(judge: AnyJudge, y: Any, local: Any, remote: Any, rows: int) -> Array:
    """Return what it costs to keep each of `rows`, from 0 to 1; `y` is None without labels.

    Raises
    ------
    ConfigurationError
        If a loss function returns anything else.
    """
    if not isinstance(judge, ByFunction):
        return np.asarray(judge.weigh(y, local, remote).losses, dtype=np.float64)
    losses = np.asarray(judge.function(y, local, remote), dtype=np.float64)
    if losses.shape != (rows,) or not ((losses >= 0) & (losses <= 1)).all():
        raise ConfigurationError("a loss function returns one number from 0 to 1 for each row")
    return losses


def needs_labels(policy: Cascade | Budget) -> bool:
    """Tell whether a calibration's loss function was given labels, so that it needs them again."""
    found = policy.calibration
    return found is not None and found.loss_function is not None and _had_labels(found)


def judge_of(policy: Cascade | Budget, spec: ModelSpec) -> Judge:
    """Return the judge that finds whether two answers differ, as the calibration did.

    Raises
    ------
    ConfigurationError
        If the outputs do not determine a judge.
    """
    found = policy.calibration
    if found is None:
        return judge_for(spec, policy.score)
    return judge_for(spec, policy.score, answer=found.answer, tolerance=found.tolerance)


def judge_with(
    policy: Cascade | Budget, spec: ModelSpec, function: LossFunction | None
) -> AnyJudge:
    """Return the judge of an audit, which was given a loss function or none.

    Raises
    ------
    ConfigurationError
        If the outputs do not determine a judge, or the function is not that of the calibration.
    """
    found = policy.calibration
    if found is None or found.loss_function is None:
        return judge_of(policy, spec)
    used = f"the calibration used the loss function {found.loss_function}"
    if function is None:
        raise ConfigurationError(
            f"{used}, which is not stored: give it with model.audit.judge_by(function), or leave "
            "audit_rate out"
        )
    if name_of(function) != found.loss_function:
        raise ConfigurationError(f"{used}, and the audit was given {name_of(function)}")
    return ByFunction(function, spec.answered_names, found.promise == MEAN_LOSS)


def check_auditable(policy: Cascade | Budget, spec: ModelSpec) -> None:
    """Raise `ConfigurationError` if nothing determines what an audit compares.

    A calibration's loss function, which is not stored, may be given later: `Audit.judge_by`.
    """
    found = policy.calibration
    if found is None or found.loss_function is None:
        judge_of(policy, spec)


def fresh_state(policy: Cascade | Budget, judge: AnyJudge) -> AuditState:
    """Return the state of an audit that has seen nothing yet."""
    found = policy.calibration
    differ, lost = (None, None) if found is None else _bounds(found, judge)
    state = AuditState(cascade=_identity(policy))
    return replace(state, differences=Watch.of(differ), losses=Watch.of(lost))


def _bounds(found: Calibration, judge: AnyJudge) -> tuple[float | None, float | None]:
    """Return the shares that are not to be exceeded: of differing rows, and of those with a loss.

    A promise about net accuracy says nothing of single losses, and one about the rows escalated
    nothing of what is kept. Within a tolerance, what was found without labels promises nothing
    about losses with labels.
    """
    if found.promise not in (*_ABOUT_LOSSES, ACCURACY):
        return None, None
    if isinstance(judge, ByFunction):
        return (None, found.epsilon) if _had_labels(found) else (found.epsilon, None)
    had_labels = found.accuracy is not None
    tells = found.promise in _ABOUT_LOSSES and (had_labels or isinstance(judge, ByClass))
    return found.difference_bound, found.epsilon if tells else None


def _had_labels(found: Calibration) -> bool:
    """Tell whether a calibration's loss function was given labels."""
    return found.loss.endswith(", with labels")


def _identity(policy: Cascade | Budget) -> str:
    """Return a hash of what the audited rows depend on; not of who is asked, and how often."""
    known: tuple[Any, ...] = (policy.mode, str(policy.score))
    if isinstance(policy, Budget):
        costs = (policy.cost, policy.cost_per_call, policy.cost_per_row)
        known = (*known, policy.share, policy.rows, *costs)
    else:
        known = (*known, policy.threshold, policy.max_escalation)
    found = policy.calibration
    if found is not None:
        known = (*known, found.data_sha256, found.small_sha256, found.epsilon, found.date)
    return hashlib.sha256(repr(known).encode()).hexdigest()
