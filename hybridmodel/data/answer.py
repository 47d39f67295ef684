"""`Answer`: what a call computed, and which route computed it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hybridmodel.data.tensors import Array
from hybridmodel.looks import shown_by
from hybridmodel.switch import AZURE, LOCAL

MIXED = "mixed"
"""Route of an answer in which each route computed some rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reasons:
    """One reason for each row: `codes` of shape (n,) are positions in `texts`."""

    codes: Array
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call computed, and which route computed it.

    Attributes
    ----------
    outputs : dict of str to ndarray
        The requested outputs by name; writable, and the caller's own.
    route : str
        ``"local"``, ``"azure"``, or ``"mixed"`` where each route computed some rows.
    attempts : int
        Requests sent; 0 for the local route and for zero rows.
    elapsed_s : float
        Seconds from the call of `infer` to its outputs.
    model_version : str or None
        Version of the model that the endpoint says it used.
    request_id : str or None
        Id of the request, which also is in the server's logs.
    endpoint : str or None
        URL of the model at the endpoint that answered, of several the one that did.
    shared_request_id : str or None
        Id of the request that took the rows of several calls together, which then is in the
        server's logs instead (``coalesce_rows``).
    routes : ndarray of str, shape (n,)
        The route of each row: ``"local"`` or ``"azure"``.
    scores : ndarray of float64, shape (n,), or None
        How sure the local model was of each row, where a cascade or a budget computed it.
    reasons : ndarray of str, shape (n,)
        Why each row took its route: ``"asked"``; in a cascade ``"sure"``, ``"unsure"``,
        ``"over the limit"``; with a budget ``"surer"``, ``"least sure"``; the
        error's name where one route replaced the other.
    """

    outputs: dict[str, Array]
    route: str
    attempts: int = 0
    elapsed_s: float = 0.0
    model_version: str | None = None
    request_id: str | None = None
    endpoint: str | None = field(default=None, kw_only=True)
    shared_request_id: str | None = field(default=None, kw_only=True)
    scores: Array | None = field(default=None, repr=False, kw_only=True)
    # `routes` and `reasons` are made from these when they are read, which saves 1.3 µs per call.
    row_count: int = field(default=1, repr=False, kw_only=True)
    remote_rows: Array | None = field(default=None, repr=False, kw_only=True)
    reason: str | Reasons = field(default="asked", repr=False, kw_only=True)

    @property
    def routes(self) -> Array:
        """The route of each row."""
        if self.remote_rows is None:
            return np.full(self.row_count, self.route)
        return np.where(self.remote_rows, AZURE, LOCAL)

    @property
    def reasons(self) -> Array:
        """Why each row took its route."""
        if isinstance(self.reason, str):
            return np.full(self.row_count, self.reason)
        return np.array(self.reason.texts)[self.reason.codes]

    def __repr__(self) -> str:
        from hybridmodel.data.looks import text_of

        return text_of(self)

    _repr_html_ = shown_by("hybridmodel.data.looks")


def set_elapsed(answer: Answer, elapsed_s: float) -> Answer:
    """Set the time of an answer that no caller has yet; `dataclasses.replace` would take 2 µs."""
    object.__setattr__(answer, "elapsed_s", elapsed_s)
    return answer
