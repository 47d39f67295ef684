"""Checks of what callers pass and of what is installed, and values in messages."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from numbers import Real
from typing import Any

from hybridmodel.exceptions import ConfigurationError, MissingDependency

_MOST_BITS = 64

_LONGEST_S = 365 * 86_400.0
"""A longer time overflows the timeouts of sockets."""


def check_seconds(name: str, value: Any) -> float:
    """Return a positive, finite duration as a float; more than a year counts as a year."""
    seconds = _number(name, value, "a positive number of seconds", lambda s: 0 < s < math.inf)
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
    return _number(name, value, "a number between 0 and 1, both excluded", lambda n: 0 < n < 1)


def check_rate(name: str, value: Any, *, zero: bool = True) -> float:
    """Return a number from 0 to 1 as a float; 0 itself only where `zero` says so."""
    if not zero:
        return _number(name, value, "a number above 0 and up to 1", lambda n: 0 < n <= 1)
    return _number(name, value, "a number from 0 to 1", lambda n: 0 <= n <= 1)


def check_tolerance(name: str, value: Any) -> float:
    """Return a finite number from 0 up as a float."""
    return _number(name, value, "a number from 0 up", lambda n: 0 <= n < math.inf)


def _number(name: str, value: Any, expected: str, is_good: Callable[[float], bool]) -> float:
    number = as_float(value)
    if not is_good(number):
        raise ConfigurationError(f"{name} is {expected}, not {shown(value)}")
    return number


def as_float(value: Any) -> float:
    """Return a number as a float; NaN for anything else, and for one too large for a float."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan


def printable(text: str, longest: int = 200) -> str:
    """Return text of unknown origin cut to a length, with nothing that controls a terminal."""
    cut = text if len(text) <= longest else f"{text[: longest - 1]}…"
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in cut)


def counted(number: int, what: str) -> str:
    """Return a number with what it counts, such as ``2 errors``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def shown(value: Any, longest: int = 60) -> str:
    """Return a value as Python source, or its type where that is too long.

    Python refuses to write an int of some thousand digits.
    """
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        return f"a number of {value.bit_length()} bits"
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - the message is about something else
        text = ""
    return text if 0 < len(text) <= longest else f"a {type(value).__name__}"


@contextmanager
def needed_for(what: str, install: str = "hybridmodel") -> Iterator[None]:
    """Import a library, or raise `MissingDependency`, which says what needs it."""
    try:
        yield
    except ImportError as error:
        library = (error.name or "a library").partition(".")[0]
        raise MissingDependency(
            f"{what} needs {library}, which is not installed: pip install {install}"
        ) from error
