"""Provenance: the route, score and reason of each row beside the outputs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np

from hybridmodel.data.answer import Answer
from hybridmodel.data.binding import Bound
from hybridmodel.exceptions import ConfigurationError

__all__ = ["PROVENANCE", "Answer", "with_provenance"]

PROVENANCE = ("route", "score", "reason")
"""``local`` or ``azure``; the local model's score, or NaN; and the reason for the route."""


def with_provenance(restored: Any, answer: Answer, bound: Bound) -> Any:
    """Add the provenance of each row to what `Binding.restore` returned.

    A frame or table gets three more columns; arrays become a dict with three more arrays. Raises
    `ConfigurationError` if the model has an output of such a name.
    """
    rows = bound.rows
    if rows is None:  # No input of the model counts them.
        rows = 1 if bound.frame_index is None else len(bound.frame_index)
        rows = rows if bound.container is None else bound.container.rows
    answer = replace(answer, row_count=rows)
    scores = np.full(rows, np.nan) if answer.scores is None else answer.scores
    added = dict(zip(PROVENANCE, (answer.routes, scores, answer.reasons), strict=True))
    if bound.frame_index is not None:
        import pandas as pd

        restored = restored.to_frame() if isinstance(restored, pd.Series) else restored
        _check_names(set(map(str, restored.columns)))
        return restored.assign(**added)
    if bound.container is not None:
        _check_names(getattr(restored, "column_names", getattr(restored, "columns", ())))
        return bound.container.with_columns(restored, added)
    _check_names(answer.outputs)
    return {**answer.outputs, **added}


def _check_names(taken: Collection[str]) -> None:
    clash = [name for name in PROVENANCE if name in taken]
    if clash:
        raise ConfigurationError(
            f"the model has outputs named {', '.join(map(repr, clash))}, so provenance=True cannot "
            "add columns of these names; infer() returns them separately"
        )
