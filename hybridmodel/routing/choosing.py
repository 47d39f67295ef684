"""Which rows of a call a cascade or a budget sends to the endpoint."""

from __future__ import annotations

import threading
from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from hybridmodel.cascade.least_sure import least_sure
from hybridmodel.cascade.scores import escalated
from hybridmodel.data.tensors import Array
from hybridmodel.routing.budget import Budget
from hybridmodel.routing.policies import Cascade

SURE, UNSURE, OVER = "sure", "unsure", "over the limit"
"""Reasons why a row is kept, is escalated, or is kept in spite of its score."""

SURER, LEAST_SURE = "surer", "least sure"
"""With a budget: reasons why a row is kept, and is escalated."""

SPARE_ROWS = 16
"""Rows that calls may leave unused of `Cascade.max_escalation` for later ones, at most.

Doubtful rows do not come evenly: of single rows, a cap of 20 % would else let through 3 % where
15 % are doubtful.
"""


class Chosen(NamedTuple):
    """Which rows are doubtful, which of them go to the endpoint, and which others are audited."""

    doubtful: Array
    gone: Array
    audited: Array | None = None


class RowChooser:
    """Chooses rows by their scores, and remembers what earlier calls have left of a share.

    Parameters
    ----------
    random : callable
        Returns so many numbers from 0 to 1, for the choice of rows to audit.
    """

    def __init__(self, random: Callable[[int], Array]) -> None:
        self._draw = random
        self._lock = threading.Lock()
        self._cap: float | None = None
        self._spare = 0.0
        self._budget: Budget | None = None
        self._left_of_budget: Fraction | int = 0

    def of_cascade(self, policy: Cascade, scores: Array, audits: bool) -> Chosen:
        """Choose the rows under the threshold, up to the limit."""
        doubtful = escalated(scores, policy.limit)
        gone = self._limited(policy, scores, doubtful)
        if not audits:
            return Chosen(doubtful, gone)
        return Chosen(doubtful, gone, (self._draw(len(scores)) < policy.audit_rate) & ~gone)

    def of_budget(
        self, policy: Budget, scores: Array, audits: bool, request_rows: int | None
    ) -> Chosen:
        """Choose the least sure rows; those that go are the doubtful ones."""
        allowed = self._allowed(policy, len(scores), request_rows)
        if not audits:
            gone = least_sure(scores, allowed)
            return Chosen(gone, gone)
        # A fraction of a row becomes one as often as it is large.
        drawn = int(policy.audit_rate * allowed + self._draw(1)[0])
        gone = least_sure(scores, allowed - drawn)
        others = np.flatnonzero(~gone)
        audited = np.zeros(len(scores), bool)
        audited[others[least_sure(self._draw(len(others)), drawn)]] = True
        return Chosen(gone, gone, audited)

    def _allowed(self, policy: Budget, rows: int, request_rows: int | None) -> int:
        if policy.share is None:
            return policy.most_rows(rows, request_rows)[0]
        with self._lock:
            if policy != self._budget:
                self._budget, self._left_of_budget = policy, 0
            allowed, self._left_of_budget = policy.most_rows(rows, left_over=self._left_of_budget)
        return allowed

    def _limited(self, policy: Cascade, scores: Array, doubtful: Array) -> Array:
        """Return which of the doubtful rows are escalated: those of the lowest scores."""
        if policy.max_escalation is None:
            return doubtful
        candidates = np.flatnonzero(doubtful)
        most = self._taken(policy.max_escalation, len(scores), len(candidates))
        if len(candidates) == most:
            return doubtful
        doubt = np.where(np.isnan(scores), -np.inf, scores)[candidates]
        gone = np.zeros(len(scores), bool)
        gone[candidates[np.argsort(doubt, kind="stable")[:most]]] = True
        return gone

    def _taken(self, cap: float, rows: int, wanted: int) -> int:
        """Take so many rows of those that the cap allows, and leave the rest for later calls.

        Nothing is left at the beginning, so that all calls together never exceed the cap, and those
        since any moment exceed it by at most `SPARE_ROWS`.
        """
        with self._lock:
            if cap != self._cap:
                self._cap, self._spare = cap, 0.0
            allowed = cap * rows + self._spare
            taken = min(wanted, int(allowed))
            self._spare = min(allowed - taken, float(SPARE_ROWS))
        return taken
