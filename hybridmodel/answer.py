"""`Answer`: what a call computed, and who did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Answer:
    """What a call computed, and who did.

    Attributes
    ----------
    outputs : dict of str to ndarray
        The asked outputs by name; writable, and the caller's own.
    route : str
        ``"local"`` or ``"azure"``.
    attempts : int
        Requests sent; 0 for the local route and for zero rows.
    elapsed_s : float
        From the data handed in to the outputs.
    model_version : str or None
        Version that the endpoint says has answered.
    request_id : str or None
        Id of the request, for the server's logs.
    """

    outputs: dict[str, Array]
    route: str
    attempts: int
    elapsed_s: float
    model_version: str | None = None
    request_id: str | None = None
