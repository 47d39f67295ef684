"""Chooses the rows of a job that go to the endpoint, by one number for each row.

For a budget, the number is the score. For a threshold, it is the score of the rows below it, and
infinity for all others, since rounding to float32 must not move a row across the threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

import numpy as np

from hybridmodel.cascade.scores import escalated
from hybridmodel.data.tensors import Array
from hybridmodel.routing import Budget, Cascade
from hybridmodel.routing.choosing import LEAST_SURE, OVER, SURE, SURER, UNSURE

Blocks = Callable[[], Iterable[Array]]

_LARGEST = np.finfo(np.float32).max


class Choice(Protocol):
    """How a policy chooses among the rows of a job, and the reasons that their provenance gets."""

    sent: str
    kept: str
    over: str

    def numbers(self, scores: Array) -> Array:
        """Return a float32 for each row; the rows with the lowest numbers or NaN are sent first."""
        ...

    def count(self, rows: int, size: int, numbers: Blocks) -> int:
        """Return how many of `rows` rows are sent, in requests of `size` rows."""
        ...


class _ByBudget:
    sent, kept, over = LEAST_SURE, SURER, SURER

    def __init__(self, policy: Budget) -> None:
        self._policy = policy

    def numbers(self, scores: Array) -> Array:
        with np.errstate(over="ignore"):
            return scores.astype(np.float32)

    def count(self, rows: int, size: int, numbers: Blocks) -> int:
        del numbers
        return self._policy.most_rows(rows, size)[0]


class _ByThreshold:
    sent, kept, over = UNSURE, SURE, OVER

    def __init__(self, policy: Cascade) -> None:
        self._policy = policy

    def numbers(self, scores: Array) -> Array:
        doubtful = np.clip(scores, -_LARGEST, _LARGEST)
        return np.where(escalated(scores, self._policy.limit), doubtful, np.inf).astype(np.float32)

    def count(self, rows: int, size: int, numbers: Blocks) -> int:
        del size
        doubtful = sum(int(np.count_nonzero(block != np.inf)) for block in numbers())
        limit = self._policy.max_escalation
        return doubtful if limit is None else min(doubtful, int(limit * rows))


def choice_of(policy: Budget | Cascade) -> Choice:
    """Return how a policy chooses among the rows of a job."""
    return _ByBudget(policy) if isinstance(policy, Budget) else _ByThreshold(policy)
