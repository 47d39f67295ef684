"""One module checks the numbers that callers give, and every message names what was given."""

from __future__ import annotations

import importlib
import sys
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from hybridmodel.checks import (
    check_count,
    check_rate,
    check_seconds,
    check_share,
    check_tolerance,
    needed_for,
    shown,
)
from hybridmodel.exceptions import ConfigurationError, MissingDependency

NO_NUMBERS = ["0.1", None, True, [0.1], float("nan"), 10**400, np.bool_(True), 1j]


@pytest.mark.parametrize("value", [*NO_NUMBERS, 0, 1, -0.1, 1.5, float("inf")])
def test_a_share_lies_between_0_and_1(value: Any) -> None:
    """What is no number strictly between is refused by name."""
    with pytest.raises(ConfigurationError, match="epsilon is a number between 0 and 1, both"):
        check_share("epsilon", value)


@pytest.mark.parametrize("value", [*NO_NUMBERS, -0.1, 1.5])
def test_a_rate_may_be_0_and_1(value: Any) -> None:
    """Nothing else than a number from 0 to 1 is taken, and 0 only where nothing speaks against."""
    assert (check_rate("share", 0), check_rate("share", 1)) == (0.0, 1.0)
    with pytest.raises(ConfigurationError, match="share is a number from 0 to 1, not"):
        check_rate("share", value)
    with pytest.raises(ConfigurationError, match="patience is a number above 0 and up to 1, not 0"):
        check_rate("patience", 0, zero=False)


@pytest.mark.parametrize("value", [*NO_NUMBERS, -1, float("inf")])
def test_a_tolerance_is_finite(value: Any) -> None:
    """A number from 0 up is taken, and no other."""
    assert check_tolerance("tolerance", 0) == 0.0
    with pytest.raises(ConfigurationError, match="tolerance is a number from 0 up, not"):
        check_tolerance("tolerance", value)


@pytest.mark.parametrize("value", [*NO_NUMBERS, 0, -1, float("inf")])
def test_seconds_are_positive_and_finite(value: Any) -> None:
    """Anything but a positive, finite number is refused; more than a year counts as one."""
    assert check_seconds("timeout", 1e300) == 365 * 86_400.0
    with pytest.raises(ConfigurationError, match="timeout is a positive number of seconds, not"):
        check_seconds("timeout", value)


@pytest.mark.parametrize("value", [*NO_NUMBERS, 0, 5, 1.0, np.int64(2)])
def test_a_count_is_an_int_within_bounds(value: Any) -> None:
    """Both ends are allowed, and nothing that is no int."""
    assert (check_count("max", 1, 1, 4), check_count("max", 4, 1, 4)) == (1, 4)
    with pytest.raises(ConfigurationError, match="max is a whole number from 1 to 4, not"):
        check_count("max", value, 1, 4)


@pytest.mark.parametrize("value", [0.1, np.float32(0.5), np.float64(0.9), Fraction(1, 3)])
@pytest.mark.parametrize("check", [check_share, check_rate, check_tolerance, check_seconds])
def test_numbers_come_out_as_floats(check: Any, value: Any) -> None:
    """Numbers of numpy are taken as well."""
    assert type(check("delta", value)) is float


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what cannot be done, without which library, and what installs it."""
    monkeypatch.setitem(sys.modules, "scipy.special", None)
    with (
        pytest.raises(
            MissingDependency, match=r"^a bound needs scipy, which is not installed: pip"
        ),
        needed_for("a bound"),
    ):
        importlib.import_module("scipy.special")


def test_what_a_message_shows_is_short() -> None:
    """A value of thousands of digits or letters is shown by its kind."""
    assert shown(10**5000) == "a number of 16610 bits"
    assert shown("x" * 100) == "a str"
    assert shown("x") == "'x'"
