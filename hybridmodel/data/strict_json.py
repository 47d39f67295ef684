"""JSON from files that anyone may have written: read without guessing, or refused."""

from __future__ import annotations

import json
from typing import Any

from hybridmodel.exceptions import ConfigurationError

MOST_LEVELS = 50
"""Deeper nesting is refused; a saved model has ten levels at the most."""

_TOO_DEEP = f"nests deeper than {MOST_LEVELS} levels"


def loads(content: str | bytes, where: str) -> Any:
    """Read a JSON text in UTF-8.

    Parameters
    ----------
    content : str or bytes
        The whole text.
    where : str
        Begins the message of the error.

    Raises
    ------
    ConfigurationError
        If it is no JSON; names a key of an object twice, where readers differ in which one counts;
        has a NaN or an infinity, which are no JSON; or nests deeper than `MOST_LEVELS`.
    """
    try:
        text = content if isinstance(content, str) else content.decode()
        value = json.loads(text, object_pairs_hook=_distinct, parse_constant=_refused)
        _check_depth(value)
    except RecursionError:
        raise ConfigurationError(f"{where}: {_TOO_DEEP}") from None
    except ValueError as error:
        raise ConfigurationError(f"{where}: {error}") from error
    return value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the key {name[:80]!r} stands twice in one object")
        found[name] = value
    return found


def _refused(constant: str) -> float:
    raise ValueError(f"{constant} is no number of JSON")


def _check_depth(value: Any) -> None:
    level, depth = [value], 0
    while level := [item for outer in level for item in _inside(outer)]:
        depth += 1
        if depth > MOST_LEVELS:
            raise ValueError(_TOO_DEEP)


def _inside(value: Any) -> Any:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
