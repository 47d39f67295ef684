"""A report in one call, for rows that are in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hybridmodel.report.findings import Findings
from hybridmodel.report.gathering import Gatherer
from hybridmodel.report.origin import origin_of
from hybridmodel.report.page import render

if TYPE_CHECKING:
    import pandas as pd

    from hybridmodel.model import HybridOnnxModel

_BATCH_ROWS = 10_000


def report_of(
    model: HybridOnnxModel,
    rows: pd.DataFrame,
    labels: Any = None,
    *,
    title: str = "hybrid model",
    calls: int = 50,
    **subject: Any,
) -> str:
    """Ask both routes for the same rows, and return a page about their answers.

    Parameters
    ----------
    model : HybridOnnxModel
        With an endpoint, which is asked for every row.
    rows : DataFrame
        As `HybridOnnxModel.predict` takes it.
    labels : Series or sequence, optional
        The right answers, in the order of `rows`.
    title : str, optional
        The model's name on the page.
    calls : int, default=50
        Calls of one row that are timed on each route.
    **subject
        What `Gatherer` takes: ``score``, ``answer``, ``tolerance``, ``cosine``, ``shown``,
        ``timeout_s``.

    Returns
    -------
    str
        HTML that loads nothing and runs nothing, to be written as UTF-8.

    Raises
    ------
    ConfigurationError
        If the model has no endpoint, or cannot give what is asked for.
    InputMismatch
        If rows or labels do not fit the model, or there are no rows.
    EndpointError
        One of its kinds, when the endpoint did not answer.
    """
    return render(findings_of(model, rows, labels, title=title, calls=calls, **subject))


def findings_of(
    model: HybridOnnxModel,
    rows: pd.DataFrame,
    labels: Any = None,
    *,
    title: str,
    calls: int,
    **subject: Any,
) -> Findings:
    """Return what `report_of` shows."""
    import pandas as pd

    right = None if labels is None else pd.Series(labels).reset_index(drop=True)
    gatherer = Gatherer(model, **subject)
    for start in range(0, len(rows), _BATCH_ROWS):
        part = slice(start, start + _BATCH_ROWS)
        gatherer.add(rows.iloc[part], None if right is None else right.iloc[part])
    if gatherer.rows:
        gatherer.time(calls)
    told = "none" if right is None else str(getattr(labels, "name", None) or "given")
    return gatherer.findings(title, origin_of(model, gatherer, rows="memory", labels=told))
