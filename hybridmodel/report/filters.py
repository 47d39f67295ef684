"""Values as a page writes them; the templates use these functions as filters."""

from __future__ import annotations

import json
import math
from typing import Any

_LONGEST = 80


def count(value: int) -> str:
    """Write a whole number with its thousands apart."""
    return f"{value:,}"


def number(value: float | None) -> str:
    """Write a number with four digits."""
    if value is None:
        return "–"
    return "infinity" if value == math.inf else f"{value:.4g}"


def milliseconds(seconds: float) -> str:
    """Write a duration."""
    value = seconds * 1e3
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{digits}f} ms"


def short(value: Any) -> str:
    """Write a value of JSON's types, not longer than a cell of a table has room for."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, dict)):
        rounded = json.loads(
            json.dumps(value), parse_float=lambda text: float(f"{float(text):.4g}")
        )
        value = json.dumps(rounded, ensure_ascii=False)
    written = str(value)
    return written if len(written) <= _LONGEST else written[: _LONGEST - 1] + "…"
