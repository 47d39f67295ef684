"""On which rows the answers of both routes agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hybridmodel.cascade.judges import ByClass, Judge, judge_for
from hybridmodel.cascade.scores import Score
from hybridmodel.compare.values import Values, compare_values
from hybridmodel.data.tensors import ModelSpec, TensorSpec
from hybridmodel.exceptions import ConfigurationError

Array = np.ndarray[Any, Any]
Outputs = Mapping[str, Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """The comparison of one call: rows that disagree, values by output, and pairs of classes."""

    disagree: Array
    values: dict[str, Values]
    pairs: Counter[tuple[Any, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Compares answers of one model; without a judge, all values have to be equal."""

    spec: ModelSpec
    judge: Judge | None
    rtol: float
    atol: float

    def __str__(self) -> str:
        judge = self.judge
        if judge is None:
            return f"every value, floats within {self.atol:g} + {self.rtol:g} of the local one"
        if isinstance(judge, ByClass):
            kind = "the most probable class of" if judge.output.dtype.kind == "f" else "class"
            return f"{kind} {judge.output.name!r}"
        return f"{judge.output.name!r} within {judge.tolerance:g}"

    def compare(self, local: Outputs, remote: Outputs, rows: int | None) -> Compared:
        """Compare both answers to one call, as `Comparison.add` takes them.

        Where the output that the judge reads is not among them, all values have to be equal.
        """
        values = {name: self._values(name, local[name], remote[name], rows) for name in local}
        disagree = np.zeros(1 if rows is None else rows, bool)
        judge, pairs = self.judge, Counter[tuple[Any, Any]]()
        if judge is None or rows is None or not _can_judge(judge, local, remote):
            for found in (item.differing for item in values.values()):
                disagree |= found if len(found) == len(disagree) else found.any()
        else:
            answers = judge.read(local), judge.read(remote)
            disagree |= judge.compare(None, *answers).differ
            if isinstance(judge, ByClass):
                pairs.update(zip(*(item.tolist() for item in answers), strict=True))
        return Compared(disagree=disagree, values=values, pairs=pairs)

    def _values(self, name: str, local: Array, remote: Array, rows: int | None) -> Values:
        if rows is None or not self.spec.output(name).batched:
            local, remote = local[np.newaxis], remote[np.newaxis]
        return compare_values(local, remote, self.rtol, self.atol)


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


def _can_judge(judge: Judge, local: Outputs, remote: Outputs) -> bool:
    name = judge.output.name
    same_shape = name in local and local[name].shape == remote[name].shape
    return same_shape and judge.output.batched


def _is_table(spec: TensorSpec) -> bool:
    width = len(spec.labels) or (spec.shape[1] if len(spec.shape) == 2 else 0)
    return spec.dtype.kind == "f" and width > 1
