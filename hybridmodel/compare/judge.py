"""Which output decides whether both routes agree on a row."""

from __future__ import annotations

from hybridmodel.cascade.judges import Judge, judge_for
from hybridmodel.cascade.scores import Score
from hybridmodel.data.tensors import ModelSpec, TensorSpec
from hybridmodel.exceptions import ConfigurationError


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
