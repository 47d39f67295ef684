"""Answers to a sample without an endpoint, which count how many rows were asked for."""

from __future__ import annotations

from typing import Any

import numpy as np

from hybridmodel.calibrating.gathering import Evidence, Gathering
from hybridmodel.cascade.judges import ByClass, ByTolerance
from hybridmodel.cascade.promises import Promise
from hybridmodel.data.tensors import TensorSpec
from tests.support.strategies import Array

CLASS = ByClass(TensorSpec("label", "INT64", (-1,)))


def by_tolerance(tolerance: float) -> ByTolerance:
    """Return a judge of numbers."""
    return ByTolerance(TensorSpec("value", "FP64", (-1,)), tolerance)


class AnswersAtHand:
    """Stands for the endpoint's answers to one sample; each row that is asked for is paid."""

    by_row = may_ask = True

    def __init__(self, name: str, values: Array) -> None:
        self._name, self._values = name, values
        self.known = np.zeros(len(values), bool)
        self.requests: list[int] = []

    @property
    def asked(self) -> int:
        """How many rows were asked for."""
        return sum(self.requests)

    def ask(self, rows: Array) -> None:
        """Ask for rows that are not known."""
        unknown = rows[~self.known[rows]]
        if len(unknown):
            self.requests.append(len(unknown))
        self.known[rows] = True

    def outputs(self, rows: Array) -> dict[str, Array]:
        """Return the answers to rows, all of which have to be known."""
        assert self.known[rows].all(), "nobody answered this"
        return {self._name: self._values[rows]}


def gather(
    judge: ByClass | ByTolerance,
    labels: Array | None,
    small: Array,
    big: Array,
    scores: Array,
    *,
    promise: Promise,
    size: int | None,
    seed: int = 0,
) -> tuple[Evidence, AnswersAtHand]:
    """Gather the evidence of a sample: with `size` None of all rows."""
    remote: Any = AnswersAtHand(judge.output.name, big)
    gathering = Gathering(judge, labels, small, scores, remote)
    known = gathering.all() if size is None else gathering.down_to(promise, size, seed)
    return known, remote
