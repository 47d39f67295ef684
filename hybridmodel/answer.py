"""`Answer`: what a call computed, and who did."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hybridmodel.routing.routed import Routed

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Answer:
    """What a call computed, and who did.

    Attributes
    ----------
    outputs : dict of str to ndarray
        The asked outputs by name; writable, and the caller's own.
    route : str
        ``"local"``, ``"azure"``, or ``"mixed"`` where each answered some rows.
    attempts : int
        Requests sent; 0 for the local route and for zero rows.
    elapsed_s : float
        From the data handed in to the outputs.
    model_version : str or None
        Version that the endpoint says has answered.
    request_id : str or None
        Id of the request, for the server's logs.
    routes : ndarray of str, shape (n,)
        Who answered each row: ``"local"`` or ``"azure"``.
    scores : ndarray of float64, shape (n,), or None
        How sure the local model was of each row, where a cascade asked.
    reasons : ndarray of str, shape (n,)
        Why each row was answered by whom it was: ``"asked"``; in a cascade ``"sure"``,
        ``"unsure"``, ``"over the limit"``; the error's name where one side stood in for the other.
    """

    outputs: dict[str, Array]
    route: str
    attempts: int
    elapsed_s: float
    model_version: str | None = None
    request_id: str | None = None
    routes: Array = field(default_factory=lambda: np.empty(0, str), repr=False)
    scores: Array | None = field(default=None, repr=False)
    reasons: Array = field(default_factory=lambda: np.empty(0, str), repr=False)


def answer_of(routed: Routed, rows: int | None, elapsed_s: float) -> Answer:
    """Return what a call hands out, from what its policy made of it; no rows are one answer."""
    rows = 1 if rows is None else rows
    there = routed.there
    return Answer(
        routed.outputs,
        routed.route,
        0 if there is None else there.attempts,
        elapsed_s,
        None if there is None else there.model_version,
        None if there is None else there.request_id,
        routed.routes(rows),
        routed.scores,
        routed.each_reason(rows),
    )
