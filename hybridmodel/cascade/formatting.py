"""Shares and values as texts, for messages, pictures and pages."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np


def percent(share: float, digits: int = 1) -> str:
    """Write a share; only all of it is written as 100 %, and only nothing as 0 %."""
    shown = round(100 * share, digits)
    step = 10.0**-digits
    if shown >= 100 > 100 * share:
        shown = 100 - step
    elif shown <= 0 < share:
        shown = step
    return f"{shown:.{digits}f} %"


def percent_writer(span: float) -> Callable[[float], str]:
    """Return a function that writes shares on an axis of this span."""
    digits = max(0, min(3, math.ceil(-math.log10(span)) - 1)) if span > 0 else 0
    return lambda share: f"{100 * share:.{digits}f} %"


def some(values: Iterable[Any], most: int = 10) -> str:
    """Write the first of some values, and how many more follow."""
    shown = [repr(item) for item in np.asarray(list(values), dtype=object).tolist()]
    rest = f", … {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + rest
