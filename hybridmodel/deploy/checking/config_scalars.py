"""Reads the numbers, texts and names of a ``config.pbtxt``."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from typing import Any

from hybridmodel.deploy.checking.config_schema import ENUMS, Field
from hybridmodel.deploy.checking.config_tokens import Token, unquoted

_INTEGER = re.compile(r"-?(?:0[xX][0-9a-fA-F]{1,16}|0[0-7]{0,22}|[1-9]\d{0,19})", re.ASCII)
_ENUM_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,9})", re.ASCII)
_FLOAT = re.compile(
    r"-?(?:(?!0\d)(?:\d{1,400}\.?\d{0,400}|\.\d{1,400})(?:[eE][+-]?\d{1,9})?|inf(?:inity)?|nan)"
    r"[fF]?",
    re.ASCII,
)
_BOUNDS = {
    "int32": (-(1 << 31), (1 << 31) - 1),
    "int64": (-(1 << 63), (1 << 63) - 1),
    "uint32": (0, (1 << 32) - 1),
    "uint64": (0, (1 << 64) - 1),
}
_BOOLEANS = {
    **dict.fromkeys(("true", "True", "t", "1"), True),
    **dict.fromkeys(("false", "False", "f", "0"), False),
}


def read_scalar(known: Field, texts: list[Token]) -> Any:
    """Return the value of a field; raise ValueError, with the reason if there is more to say."""
    token = texts[0]
    if known.kind == "string":
        if token.kind != "text":
            raise ValueError
        return "".join(unquoted(part.text) for part in texts)
    if token.kind == "text":
        raise ValueError("it stands in quotes")
    if known.kind in ENUMS:
        return _name(known, token.text)
    return _READERS[known.kind](token.text)


def _integer(kind: str) -> Callable[[str], int]:
    low, high = _BOUNDS[kind]

    def read(text: str) -> int:
        if not _INTEGER.fullmatch(text):
            raise ValueError
        digits = text.removeprefix("-")
        base = 16 if digits[:2].lower() == "0x" else 8 if digits[:1] == "0" else 10
        number = int(text, base)
        if not low <= number <= high:
            raise ValueError(f"it is not between {low} and {high}")
        return number

    return read


def _boolean(text: str) -> bool:
    if text not in _BOOLEANS:
        raise ValueError
    return _BOOLEANS[text]


def _float(text: str) -> float:
    if not _FLOAT.fullmatch(text):
        raise ValueError
    return float(text if text[-1] not in "fF" or text.endswith("inf") else text[:-1])


_READERS: Mapping[str, Callable[[str], Any]] = {
    **{kind: _integer(kind) for kind in _BOUNDS},
    "bool": _boolean,
    "float": _float,
    "double": _float,
}


def _name(known: Field, text: str) -> str:
    """Return the name of an enumeration; a number that has none stays a text of digits."""
    names = ENUMS[known.kind]
    if text in names:
        return text
    if not _ENUM_NUMBER.fullmatch(text) or not -(1 << 31) <= int(text) < 1 << 31:
        raise ValueError
    return names[int(text)] if 0 <= int(text) < len(names) else text


def default_of(known: Field) -> Any:
    """Return the value of a field that is not given."""
    return ENUMS[known.kind][0] if known.kind in ENUMS else 0


def expected_of(known: Field, came: str = "") -> str:
    """Say what a field takes; of an enumeration the names that are like what came."""
    if known.kind in ENUMS:
        names = ENUMS[known.kind]
        near = difflib.get_close_matches(came.strip("'\"").upper(), names, 3, 0.5)
        return f"one of {', '.join(near or names)}"
    words = {"string": "a text in quotes", "bool": "true or false"}
    return words.get(known.kind, "a number" if known.kind in ("float", "double") else "an integer")
