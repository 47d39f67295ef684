"""Strict readers of JSON, for files that anyone may have written.

`loads` reads a text. The other readers make records of its values; their errors have the path of
keys to a wrong value.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar

from hybridmodel.checks import as_float, shown
from hybridmodel.exceptions import ConfigurationError

T = TypeVar("T")

MOST_LEVELS = 50
"""Deeper nesting is refused; a saved model has at most ten levels."""

_INFINITIES = {"inf": math.inf, "-inf": -math.inf}


def loads(content: str | bytes, where: str) -> Any:
    """Read a JSON text in UTF-8; `where` begins the message of an error.

    A text is refused if it is not JSON, has a key twice in one object (readers differ in which one
    counts), has a NaN or an infinity, or nests deeper than `MOST_LEVELS`.
    """
    try:
        decoded = content if isinstance(content, str) else content.decode()
        value = json.loads(decoded, object_pairs_hook=_distinct, parse_constant=_refused)
        is_too_deep = _depth(value) > MOST_LEVELS
    except RecursionError:
        is_too_deep = True
    except ValueError as error:
        raise ConfigurationError(f"{where}: {error}") from error
    if is_too_deep:
        raise ConfigurationError(f"{where}: nests deeper than {MOST_LEVELS} levels")
    return value


class MalformedRecord(ConfigurationError):
    """Raise when a value of a record is wrong.

    `problem` says what is wrong with it, and `path` has the keys that lead to it, as in
    ``model.outputs[2].shape``.
    """

    def __init__(self, problem: str, path: str = "") -> None:
        super().__init__(f"{path}: {problem}" if path else problem)
        self.problem, self.path = problem, path


def expected(what: str, value: Any) -> MalformedRecord:
    """Return the error for a value of another kind."""
    return MalformedRecord(f"expected {what}, got {shown(value)}")


def read_at(key: str, read: Callable[[Any], T], value: Any) -> T:
    """Read the value of a key; an error gets the key at the start of its path."""
    try:
        return read(value)
    except MalformedRecord as error:
        inner = error.path if error.path.startswith("[") or not error.path else f".{error.path}"
        raise MalformedRecord(error.problem, key + inner) from error
    except ConfigurationError as error:
        raise MalformedRecord(str(error), key) from error


def required(stored: Any, key: str, read: Callable[[Any], T]) -> T:
    """Read the value of a key that must exist."""
    if key not in mapping(stored):
        raise MalformedRecord("is missing", key)
    return read_at(key, read, stored[key])


def read_record(kind: type[T], stored: Any, readers: Mapping[str, Callable[[Any], Any]]) -> T:
    """Read a dataclass; a field with a default may be missing."""
    item: Any = kind
    optional = {field.name for field in fields(item) if field.default is not MISSING}
    given = mapping(stored)
    names = [name for name in readers if name in given or name not in optional]
    return kind(**{name: required(given, name, readers[name]) for name in names})


def nullable(read: Callable[[Any], T]) -> Callable[[Any], T | None]:
    """Return a reader that accepts null as well."""
    return lambda value: None if value is None else read(value)


def listed(read: Callable[[Any], T], of: str) -> Callable[[Any], tuple[T, ...]]:
    """Return a reader of lists; a text is not a list of its letters."""

    def read_list(values: Any) -> tuple[T, ...]:
        if not isinstance(values, (list, tuple)):
            raise expected(f"a list of {of}", values)
        try:
            return tuple(map(read, values))
        except ConfigurationError:  # Read once more, to find out which one it is.
            return tuple(read_at(f"[{place}]", read, value) for place, value in enumerate(values))

    return read_list


def mapping(value: Any) -> Mapping[str, Any]:
    """Return a JSON object."""
    if not isinstance(value, (dict, Mapping)):  # A dict is recognised faster.
        raise expected("an object", value)
    return value


def text(value: Any) -> str:
    """Return a text."""
    if not isinstance(value, str):
        raise expected("a text", value)
    return value


def flag(value: Any) -> bool:
    """Return true or false."""
    if not isinstance(value, bool):
        raise expected("true or false", value)
    return value


def count(value: Any) -> int:
    """Return a whole number."""
    if type(value) is not int:
        raise expected("a whole number", value)
    return value


def number(value: Any) -> float:
    """Return a float, which may be infinite (the texts ``inf`` and ``-inf``) but not NaN."""
    if isinstance(value, str) and value in _INFINITIES:
        return _INFINITIES[value]
    found = as_float(value)
    if math.isnan(found):
        raise expected("a number", value)
    return found


texts = listed(text, "texts")
counts = listed(count, "whole numbers")
numbers = listed(number, "numbers")


def as_json(value: Any) -> Any:
    """Return a value in JSON's types: a record as a dict, an infinity as ``inf`` or ``-inf``."""
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if is_dataclass(value):
        return members(value)
    if isinstance(value, tuple):
        return [as_json(item) for item in value]
    return str(value) if isinstance(value, float) and math.isinf(value) else value


def members(record: Any) -> dict[str, Any]:
    """Return the fields of a dataclass in JSON's types."""
    return {item.name: as_json(getattr(record, item.name)) for item in fields(record)}


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
