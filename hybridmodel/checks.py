"""What callers give and machines have: checked, and shown in messages."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Real
from typing import Any

from hybridmodel.exceptions import ConfigurationError, MissingDependency

_MOST_BITS = 64

_LONGEST_S = 365 * 86_400.0
"""More than that overflows the timeouts of sockets."""


def check_seconds(name: str, value: Any) -> float:
    """Return a positive, finite duration as a float; more than a year counts as a year."""
    seconds = as_float(value)
    if not 0 < seconds < math.inf:
        raise ConfigurationError(f"{name} is a positive number of seconds, not {shown(value)}")
    return min(seconds, _LONGEST_S)


def check_count(name: str, value: Any, low: int, high: int) -> int:
    """Return a whole number from `low` to `high`."""
    if type(value) is not int or not low <= value <= high:
        raise ConfigurationError(
            f"{name} is a whole number from {low} to {high}, not {shown(value)}"
        )
    return value


def check_share(name: str, value: Any) -> float:
    """Return a number strictly between 0 and 1 as a float."""
    share = as_float(value)
    if not 0 < share < 1:
        raise ConfigurationError(f"{name} lies between 0 and 1, both excluded; got {shown(value)}")
    return share


def check_rate(name: str, value: Any, *, zero: bool = True) -> float:
    """Return a number from 0 to 1 as a float; 0 itself only where `zero` says so."""
    rate = as_float(value)
    if not 0 <= rate <= 1 or (rate == 0 and not zero):
        allowed = "from 0 to 1" if zero else "above 0 and up to 1"
        raise ConfigurationError(f"{name} is a number {allowed}, not {shown(value)}")
    return rate


def check_tolerance(name: str, value: Any) -> float:
    """Return a finite number from 0 up as a float."""
    tolerance = as_float(value)
    if not 0 <= tolerance < math.inf:
        raise ConfigurationError(f"{name} is a number from 0 up, not {shown(value)}")
    return tolerance


def as_float(value: Any) -> float:
    """Return a number as a float; NaN for what is no number, or too large for a float."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan


def shown(value: Any, longest: int = 60) -> str:
    """Return how a value looks in the source of a program, or its type where that is too long.

    An int of some thousand digits has no repr: Python refuses to write it.
    """
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        return f"a number of {value.bit_length()} bits"
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - the message is about something else
        text = ""
    return text if 0 < len(text) <= longest else f"a {type(value).__name__}"


@contextmanager
def needed_for(what: str) -> Iterator[None]:
    """Import a library of the package's dependencies, or say what cannot be done without it."""
    try:
        yield
    except ImportError as error:
        library = (error.name or "a library").partition(".")[0]
        raise MissingDependency(
            f"{what} needs {library}, which is not installed: pip install hybridmodel"
        ) from error
