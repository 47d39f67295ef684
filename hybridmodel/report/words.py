"""Numbers as a page writes them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

_LONGEST = 80


def count(value: int) -> str:
    """Write a whole number with its thousands apart."""
    return f"{value:,}"


def percent(share: float, digits: int = 1) -> str:
    """Write a share; nothing that is not all of it is called 100 %."""
    shown = round(100 * share, digits)
    step = 10.0**-digits
    if shown >= 100 > 100 * share:
        shown = 100 - step
    elif shown <= 0 < share:
        shown = step
    return f"{shown:.{digits}f} %"


def percent_writer(span: float) -> Callable[[float], str]:
    """Return what writes shares that lie so far apart on an axis."""
    digits = max(0, min(3, math.ceil(-math.log10(span)) - 1)) if span > 0 else 0
    return lambda share: f"{100 * share:.{digits}f} %"


def number(value: float) -> str:
    """Write a number with four digits."""
    return "infinity" if value == math.inf else f"{value:.4g}"


def milliseconds(seconds: float) -> str:
    """Write a duration."""
    value = seconds * 1e3
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{digits}f} ms"


def plain_milliseconds(seconds: float) -> str:
    """Write a round duration, as at an axis."""
    return f"{seconds * 1e3:g}"


def short(value: Any) -> str:
    """Write a value of JSON's types, not longer than a cell of a table has room for."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, dict)):
        value = json.dumps(_rounded(value), ensure_ascii=False)
    written = str(value)
    return written if len(written) <= _LONGEST else written[: _LONGEST - 1] + "…"


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value
