"""On which rows the answers of both routes agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hybridmodel.cascade.judge_selection import judge_for
from hybridmodel.cascade.judges import ByClass, ByTolerance, Judge
from hybridmodel.cascade.scores import Score
from hybridmodel.compare.values import ATOL, RTOL, Values, compare_values
from hybridmodel.data.tensors import ModelSpec, TensorSpec
from hybridmodel.exceptions import ConfigurationError

Array = np.ndarray[Any, Any]
Outputs = Mapping[str, Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """The comparison of one call.

    Attributes
    ----------
    disagree : ndarray of bool, shape (n,)
    values : dict of str to Values
        By output.
    pairs : Counter of (Any, Any)
        Rows by local and remote class, where classes decide.
    """

    disagree: Array
    values: dict[str, Values]
    pairs: Counter[tuple[Any, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Compares answers of one model.

    Attributes
    ----------
    spec : ModelSpec
    judge : Judge or None
        As `find_judge` returns it; None where all values have to be equal.
    rtol, atol : float
        As `Comparison` takes them.
    """

    spec: ModelSpec
    judge: Judge | None
    rtol: float = RTOL
    atol: float = ATOL

    def __str__(self) -> str:
        if isinstance(self.judge, ByClass):
            kind = "the most probable class of" if self.judge.output.dtype.kind == "f" else "class"
            return f"{kind} {self.judge.output.name!r}"
        if isinstance(self.judge, ByTolerance):
            return f"{self.judge.output.name!r} within {self.judge.tolerance:g}"
        return f"every value, floats within {self.atol:g} + {self.rtol:g} of the local one"

    def compare(self, local: Outputs, remote: Outputs, rows: int | None) -> Compared:
        """Compare both answers to one call, as `Comparison.add` takes them.

        Where the output that the judge reads is not among them, all values have to be equal.
        """
        values = {name: self._values(name, local[name], remote[name], rows) for name in local}
        disagree = np.zeros(1 if rows is None else rows, bool)
        judge, pairs = self.judge, Counter[tuple[Any, Any]]()
        if judge is None or rows is None or not self._can_judge(judge, local, remote):
            for found in (item.differing for item in values.values()):
                disagree |= found if len(found) == len(disagree) else found.any()
            return Compared(disagree=disagree, values=values, pairs=pairs)
        disagree |= judge.judge(None, local, remote).losses
        if isinstance(judge, ByClass):
            pairs.update(zip(judge.read(local).tolist(), judge.read(remote).tolist(), strict=True))
        return Compared(disagree=disagree, values=values, pairs=pairs)

    def _values(self, name: str, local: Array, remote: Array, rows: int | None) -> Values:
        if rows is None or not self.spec.output(name).batched:
            local, remote = local[np.newaxis], remote[np.newaxis]
        return compare_values(local, remote, self.rtol, self.atol)

    def _can_judge(self, judge: Judge, local: Outputs, remote: Outputs) -> bool:
        return all(
            name in local
            and self.spec.output(name).batched
            and local[name].shape == remote[name].shape
            for name in judge.needs
        )


def find_judge(spec: ModelSpec, answer: str | None, tolerance: float | None) -> Judge | None:
    """Return the judge for what `Comparison` takes; None where all values have to be equal."""
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
