"""A strict reader of JSON, for files that anyone may have written."""

from __future__ import annotations

import json
from typing import Any

from hybridmodel.exceptions import ConfigurationError

MOST_LEVELS = 50
"""Deeper nesting is refused; a saved model has ten levels at the most."""


def loads(content: str | bytes, where: str) -> Any:
    """Read a JSON text in UTF-8; `where` begins the message of an error.

    A text is refused if it is not JSON, has a key twice in one object (readers differ in which one
    counts), has a NaN or an infinity, or nests deeper than `MOST_LEVELS`.
    """
    try:
        text = content if isinstance(content, str) else content.decode()
        value = json.loads(text, object_pairs_hook=_distinct, parse_constant=_refused)
        is_too_deep = _depth(value) > MOST_LEVELS
    except RecursionError:
        is_too_deep = True
    except ValueError as error:
        raise ConfigurationError(f"{where}: {error}") from error
    if is_too_deep:
        raise ConfigurationError(f"{where}: nests deeper than {MOST_LEVELS} levels")
    return value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the key {name[:80]!r} occurs twice in one object")
        found[name] = value
    return found


def _refused(constant: str) -> float:
    raise ValueError(f"{constant} is not a number in JSON")


def _depth(value: Any) -> int:
    items = value.values() if isinstance(value, dict) else value
    return 1 + max(map(_depth, items), default=0) if isinstance(value, (dict, list)) else 0
