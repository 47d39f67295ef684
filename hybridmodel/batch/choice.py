"""Which rows of a job go to the endpoint, told from one number that is kept of each row.

For a budget it is the score. For a threshold it is the score of the rows that are under it, and
infinity for all others, since rounding to float32 must not move a row over it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np

from hybridmodel.cascade.scores import escalated
from hybridmodel.routing import Budget, Cascade
from hybridmodel.routing.cascading import LEAST_SURE, OVER, SURE, SURER, UNSURE

Array = np.ndarray[Any, Any]
Blocks = Callable[[], Iterable[Array]]

_LARGEST = np.finfo(np.float32).max


class Choice(Protocol):
    """What a policy says of the rows of a job."""

    sent: str
    kept: str
    over: str

    def numbers(self, scores: Array) -> Array:
        """Return what is kept of each row: float32, less or NaN for rows that rather go."""
        ...

    def count(self, rows: int, size: int, numbers: Blocks) -> int:
        """Return how many of so many rows go, in requests of `size` rows."""
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
    """Return what a policy says of the rows of a job."""
    return _ByBudget(policy) if isinstance(policy, Budget) else _ByThreshold(policy)
