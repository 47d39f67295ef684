"""The fields of every kind of endpoint, read from text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args, get_type_hints

from hybridmodel.exceptions import ConfigurationError
from hybridmodel.remote.endpoints import KINDS
from hybridmodel.switch import parse_use_azure

_HINTS = {name: hint for kind in KINDS.values() for name, hint in get_type_hints(kind).items()}
_NAMES = dict.fromkeys(name for kind in KINDS.values() for name in kind.field_names())
FIELD_TYPES: Mapping[str, Any] = {
    name: next(iter(get_args(_HINTS[name])), _HINTS[name]) for name in _NAMES
}
"""The type of each field; several may also be None."""

_NUMBERS = {int: "a whole number such as '3'", float: "a number such as '30'"}


def read_field(name: str, text: str, where: str) -> Any:
    """Read a field from text by its type; an error says `where` the text stands."""
    kind = FIELD_TYPES[name]
    if kind is bool:
        return parse_use_azure(text, where)
    try:
        return kind(text)
    except ValueError:
        raise ConfigurationError(f"{where} is {_NUMBERS[kind]}, not {text[:20]!r}") from None
