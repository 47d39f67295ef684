"""One audited call: which rows are compared, what it costs to keep them, and what is promised."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import numpy as np

from hybridmodel.cascade.audit_state import AuditState
from hybridmodel.cascade.judges import ByClass, ByFunction, Judge, Outputs, judge_for
from hybridmodel.cascade.watch import Watch
from hybridmodel.data.tensors import Array, ModelSpec
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.routing.budget import Budget
from hybridmodel.routing.policies import Cascade

AnyJudge = Judge | ByFunction

_TESTED = ("loss", "mean_loss")
"""Promises that are about what is lost in the rows that are kept."""


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
    rows = np.flatnonzero(call.audited)
    if most_sent:
        gone = np.flatnonzero(call.gone)
        rows = np.union1d(rows, gone[np.arange(most_sent) * len(gone) // most_sent])
    if not rows.size or call.remote is None:
        return None
    places = np.searchsorted(np.flatnonzero(call.gone | call.audited), rows)
    local = judge.read({name: call.local[name][rows] for name in judge.needs})
    remote = judge.read({name: call.remote[name][places] for name in judge.needs})
    losses = None if labelled else losses_of(judge, None, local, remote)
    return Compared(rows, call.audited[rows], local, remote, losses)


def losses_of(judge: AnyJudge, y: Any, local: Any, remote: Any) -> Array:
    """Return what it costs to keep each row, from 0 to 1; `y` is None without labels.

    Raises
    ------
    ConfigurationError
        If a loss function returns anything else.
    """
    losses = np.asarray(judge.weigh(y, local, remote).losses, dtype=np.float64)
    if losses.ndim != 1 or not ((losses >= 0) & (losses <= 1)).all():
        raise ConfigurationError("losses of an audit are one number from 0 to 1 for each row")
    return losses


def needs_labels(policy: Cascade | Budget) -> bool:
    """Tell whether a calibration's loss function was given labels, so that it needs them again."""
    found = policy.calibration
    return found is not None and found.loss_function is not None and "with labels" in found.loss


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
    if found is None or getattr(found, "promise", "loss") not in _TESTED:
        return AuditState(cascade=_identity(policy))
    # Within a tolerance, what was found without labels promises nothing about those with labels.
    has_labels = needs_labels(policy) or found.accuracy is not None
    tells_losses = has_labels or isinstance(judge, ByClass)
    return AuditState(
        cascade=_identity(policy),
        differences=Watch.of(None if needs_labels(policy) else found.difference_bound),
        losses=Watch.of(found.epsilon if tells_losses else None),
    )


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
