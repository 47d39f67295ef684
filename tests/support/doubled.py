"""A run of the model of two outputs, for this process and for those that it forks."""

from __future__ import annotations

from typing import Any

import numpy as np

from hybridmodel.local.session import LocalSession

ONE = {"x": np.array([[1.0, 2.0, 3.0]], np.float32)}


def doubled(session: LocalSession) -> list[Any]:
    """Run the model of two outputs."""
    result: list[Any] = session.run(ONE, ["double"])["double"].tolist()
    return result
