"""Numbers and texts as JSON has them: written so that nothing is lost, read without guessing."""

from __future__ import annotations

import math
from typing import Any

_INFINITIES = {"inf": math.inf, "-inf": -math.inf}


def as_json(value: Any) -> Any:
    """Return a value in JSON's types: tuples become lists, infinities the texts ``inf, -inf``."""
    if isinstance(value, tuple):
        return [as_json(item) for item in value]
    return str(value) if isinstance(value, float) and math.isinf(value) else value


def text(value: Any) -> str:
    """Return a text; raise TypeError for anything else, as the others here do."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def texts(values: Any) -> tuple[str, ...]:
    """Return texts; one text is no list of its letters."""
    if isinstance(values, str):
        raise TypeError(f"{values!r} is no list")
    return tuple(map(text, values))


def optional_text(value: Any) -> str | None:
    """Return a text or None."""
    return None if value is None else text(value)


def count(value: Any) -> int:
    """Return a whole number."""
    if type(value) is not int:
        raise TypeError(f"{value!r} is no whole number")
    return value


def number(value: Any) -> float:
    """Return a float, which may be infinite but not NaN."""
    if value in ("inf", "-inf"):
        return _INFINITIES[value]
    if type(value) not in (int, float) or math.isnan(value):
        raise TypeError(f"{value!r} is no number")
    return float(value)


def optional_number(value: Any) -> float | None:
    """Return a float or None."""
    return None if value is None else number(value)


def numbers(values: Any) -> tuple[float, ...]:
    """Return floats."""
    return tuple(map(number, values))
