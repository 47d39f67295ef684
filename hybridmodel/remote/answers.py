"""What the remote route gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class RemoteAnswer:
    """What the endpoint computed, and how it was asked.

    Attributes
    ----------
    outputs : dict of str to ndarray
        In the order asked; writable, and the caller's own.
    model_version : str or None
        The version that answered, as the server says.
    attempts : int
        Requests sent, the last included.
    request_id : str
        The id they carried.
    """

    outputs: dict[str, Array]
    model_version: str | None
    attempts: int
    request_id: str
