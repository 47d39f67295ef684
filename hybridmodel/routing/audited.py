"""One audited call: which rows are compared, what it costs to keep them, and what is promised."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hybridmodel.cascade.audit_state import AuditState
from hybridmodel.cascade.judges import ByClass, Judge, Outputs, judge_for
from hybridmodel.cascade.loss_functions import ByFunction
from hybridmodel.cascade.watch import Watch
from hybridmodel.data.tensors import Array, ModelSpec
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.routing.budget import Budget
from hybridmodel.routing.policies import Cascade

if TYPE_CHECKING:
    from hybridmodel.cascade.calibration import Calibration

AnyJudge = Judge | ByFunction

_ABOUT_LOSSES = ("loss", "mean_loss")
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
    losses = None if labelled else losses_of(judge, None, local, remote, len(rows))
    return Compared(rows, call.audited[rows], local, remote, losses)


def losses_of(judge: AnyJudge, y: Any, local: Any, remote: Any, rows: int) -> Array:
    """Return what it costs to keep each of `rows`, from 0 to 1; `y` is None without labels.

    Raises
    ------
    ConfigurationError
        If a loss function returns anything else.
    """
    if isinstance(judge, ByFunction):
        losses = np.asarray(judge.function(y, local, remote), dtype=np.float64)
    else:
        losses = judge.weigh(y, local, remote).losses.astype(np.float64)
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
    if found.promise not in (*_ABOUT_LOSSES, "accuracy"):
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
