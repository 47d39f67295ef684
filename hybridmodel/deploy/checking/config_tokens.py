"""Splits the text format of protocol buffers into tokens with their lines.

The format: protobuf.dev/reference/protobuf/textformat-spec.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

END = ""
"""The text of the token after the last one."""

_TOKEN = re.compile(
    r"""
    (?P<blank>\s+|\#[^\n]*)
  | (?P<text>"(?:[^"\\\n]|\\[^\n])*"|'(?:[^'\\\n]|\\[^\n])*')
  | (?P<word>[A-Za-z_][\w+-]*)
  | (?P<number>(?:[\d+-]|\.\d)[\w.+-]*)
  | (?P<sign>.)
    """,
    re.VERBOSE | re.ASCII,
)
_ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|x([0-9A-Fa-f]{1,2})|(.))", re.DOTALL)
_SIGNS = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11} | {
    sign: ord(sign) for sign in "\\'\"?"
}
_BYTE = 256


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of text: its kind is text, word, number, sign or end."""

    kind: str
    text: str
    line: int


def tokens(text: str) -> Iterator[Token]:
    """Yield the tokens of a text, and one that ends them."""
    line, position = 1, 0
    while match := _TOKEN.match(text, position):
        kind, found = match.lastgroup or "", match[0]
        if kind != "blank":
            yield Token(kind, found, line)
        line += found.count("\n")
        position = match.end()
    yield Token("end", END, line)


def unquoted(text: str) -> str:
    """Return what a quoted text stands for; raise ValueError with the reason if nothing."""
    parts: list[bytes] = []
    position = 1
    for match in _ESCAPE.finditer(text, 1, len(text) - 1):
        parts.append(text[position : match.start()].encode("utf-8", "surrogatepass"))
        parts.append(bytes([_escaped(match)]))
        position = match.end()
    parts.append(text[position:-1].encode("utf-8", "surrogatepass"))
    try:
        return b"".join(parts).decode()
    except UnicodeDecodeError:
        raise ValueError("its escapes are not UTF-8") from None


def _escaped(match: re.Match[str]) -> int:
    octal, hexadecimal, sign = match.groups()
    number = int(octal, 8) if octal else int(hexadecimal, 16) if hexadecimal else _SIGNS.get(sign)
    if number is None or number >= _BYTE:
        raise ValueError(f"\\{sign or octal} is no escape")
    return number
