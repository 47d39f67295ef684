"""Names of columns and inputs: those that came are those that the model takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from hybridmodel.data.tensors import WILDCARD, TensorSpec
from hybridmodel.exceptions import ConfigurationError, InputMismatch


def checked_names(names: Sequence[str] | None, single: TensorSpec | None) -> list[str] | None:
    """Return the names of features as a list.

    Raises
    ------
    ConfigurationError
        If they do not fit `single`, the only input of the model.
    """
    if names is None:
        return None
    names = list(names)
    if single is None or len(single.shape) != 2:
        raise ConfigurationError(
            "feature_names are for a model with one input of shape (n, k); several inputs have "
            "names of their own"
        )
    if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        raise ConfigurationError(f"feature_names must be distinct strings, not {listed(names)}")
    if single.shape[1] not in (WILDCARD, len(names)):
        raise ConfigurationError(f"input {single}: got {len(names)} feature_names")
    return names


def check_same(what: str, given: Sequence[Any], expected: Sequence[str]) -> None:
    """Refuse names of which one is missing, unexpected or there twice, and say which.

    Raises
    ------
    InputMismatch
        With all of them.
    """
    counts, wanted = Counter(given), set(expected)
    problems = {
        "missing": [name for name in expected if name not in counts],
        "unexpected": [name for name in counts if name not in wanted],
        "repeated": [name for name, count in counts.items() if count > 1],
    }
    found = [f"{problem} {listed(names)}" for problem, names in problems.items() if names]
    if found:
        raise InputMismatch(f"{what} names: {'; '.join(found)}; the model takes {listed(expected)}")


def listed(names: Iterable[Any], most: int = 30) -> str:
    """Return names for a message, and how many more there are."""
    shown = [repr(name) for name in names]
    rest = f", … {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + rest
