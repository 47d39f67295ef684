"""Whether two sides say the same of a row, and how far apart their numbers are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from hybridmodel.cascade.judges import ByClass, ByTolerance, Judge
from hybridmodel.cascade.losses import judge_for
from hybridmodel.cascade.scores import Score
from hybridmodel.compare.closeness import ATOL, RTOL, closeness
from hybridmodel.data.tensors import ModelSpec, TensorSpec
from hybridmodel.exceptions import ConfigurationError

Array = np.ndarray[Any, Any]
Outputs = Mapping[str, Array]


class Distance(NamedTuple):
    """How far apart one output is in one call.

    Attributes
    ----------
    differing : ndarray of bool, shape (n,)
        Rows with a value that is not the same; one for the whole call where the output does not
        count rows.
    largest, total : float
        Of the absolute differences.
    numbers : int
        How many of these there are: where both values are finite.
    """

    differing: Array
    largest: float = 0.0
    total: float = 0.0
    numbers: int = 0


class Compared(NamedTuple):
    """What a call says about two sides.

    Attributes
    ----------
    disagree : ndarray of bool, shape (n,)
    distances : dict of str to Distance
        By output.
    pairs : Counter of (Any, Any)
        Rows by local and endpoint's class, where sides agree by class.
    """

    disagree: Array
    distances: dict[str, Distance]
    pairs: Counter[tuple[Any, Any]]


class Agreement:
    """Compares answers of one model; parameters as those of `Comparison`.

    Attributes
    ----------
    judge : Judge or None
        None where all values have to be the same.
    """

    def __init__(
        self, spec: ModelSpec, answer: str | None = None, tolerance: float | None = None
    ) -> None:
        self._spec = spec
        self.judge = _judge(spec, answer, tolerance)

    def __str__(self) -> str:
        if isinstance(self.judge, ByClass):
            kind = "the most probable class of" if self.judge.output.dtype.kind == "f" else "class"
            return f"{kind} {self.judge.output.name!r}"
        if isinstance(self.judge, ByTolerance):
            return f"{self.judge.output.name!r} within {self.judge.tolerance:g}"
        return f"every value, floats within {ATOL:g} + {RTOL:g} of the local one"

    def compare(self, local: Outputs, azure: Outputs, rows: int | None) -> Compared:
        """Compare both answers to one call, as `Comparison.add` takes them.

        Where the output by which sides agree is not among them, all values have to be the same.
        """
        distances = {
            name: _distance(self._spec.output(name), local[name], azure[name], rows)
            for name in local
        }
        disagree = np.zeros(1 if rows is None else rows, bool)
        judge, pairs = self.judge, Counter[tuple[Any, Any]]()
        if judge is None or rows is None or not self._can_judge(judge, local, azure):
            for item in distances.values():
                disagree |= item.differing
            return Compared(disagree, distances, pairs)
        disagree |= judge.judge(None, local, azure).losses
        if isinstance(judge, ByClass):
            pairs.update(zip(judge.read(local).tolist(), judge.read(azure).tolist(), strict=True))
        return Compared(disagree, distances, pairs)

    def _can_judge(self, judge: Judge, local: Outputs, azure: Outputs) -> bool:
        return all(
            name in local
            and self._spec.output(name).batched
            and local[name].shape == azure[name].shape
            for name in judge.needs
        )


def _judge(spec: ModelSpec, answer: str | None, tolerance: float | None) -> Judge | None:
    tables = [item.name for item in spec.outputs if _is_table(item)]
    score = Score("margin", tables[0]) if len(tables) == 1 else Score("confidence")
    try:
        return judge_for(spec, score, answer=answer, tolerance=tolerance)
    except ConfigurationError:
        if answer is not None or tolerance is not None:
            raise
        return None


def _is_table(spec: TensorSpec) -> bool:
    width = len(spec.labels) or (spec.shape[1] if len(spec.shape) == 2 else 0)
    return spec.dtype.kind == "f" and width > 1


def _distance(spec: TensorSpec, local: Array, azure: Array, rows: int | None) -> Distance:
    if rows is None or not spec.batched:
        local, azure = local[np.newaxis], azure[np.newaxis]
    if local.shape != azure.shape:
        return Distance(np.ones(len(local), bool))
    unequal, distances = closeness(local, azure)
    return Distance(
        _by_row(unequal), float(distances.max(initial=0.0)), float(distances.sum()), distances.size
    )


def _by_row(unequal: Array) -> Array:
    return np.asarray(unequal.any(axis=tuple(range(1, unequal.ndim))))
