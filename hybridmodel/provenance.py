"""Who answered each row, beside the answers themselves."""

from __future__ import annotations

from typing import Any

import numpy as np

from hybridmodel.data.binding import Bound
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.routing.routed import Routed

PROVENANCE = ("route", "score", "reason")
"""``local`` or ``azure``; how sure the local model was, NaN where nobody asked; and why."""


def with_provenance(restored: Any, routed: Routed, bound: Bound) -> Any:
    """Add who answered to what `Binding.restore` returned.

    Parameters
    ----------
    restored : Series, DataFrame, table, ndarray or dict of str to ndarray
        The answer.
    routed : Routed
        Where it came from.
    bound : Bound
        The data.

    Returns
    -------
    DataFrame or table with three more columns, or dict of str to ndarray with three more arrays

    Raises
    ------
    ConfigurationError
        If the model has an output of such a name.
    """
    rows = _rows(bound)
    scores = np.full(rows, np.nan) if routed.scores is None else routed.scores
    added = dict(
        zip(PROVENANCE, (routed.routes(rows), scores, routed.each_reason(rows)), strict=True)
    )
    if bound.frame_index is not None:
        import pandas as pd

        restored = restored.to_frame() if isinstance(restored, pd.Series) else restored
        _check(set(map(str, restored.columns)))
        return restored.assign(**added)
    if bound.container is not None:
        _check(set(getattr(restored, "column_names", getattr(restored, "columns", ()))))
        return bound.container.with_columns(restored, added)
    named = routed.outputs
    _check(set(named))
    return {**named, **added}


def _rows(bound: Bound) -> int:
    """Return the rows of the answer, also of a model of which no input counts them."""
    if bound.rows is not None:
        return bound.rows
    if bound.frame_index is not None:
        return len(bound.frame_index)
    return 1 if bound.container is None else bound.container.rows


def _check(taken: set[str]) -> None:
    clash = [name for name in PROVENANCE if name in taken]
    if clash:
        raise ConfigurationError(
            f"the model's answer has {', '.join(map(repr, clash))} itself, so provenance cannot be "
            "added to it; infer() gives it beside the outputs"
        )
