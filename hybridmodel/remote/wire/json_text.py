"""JSON that somebody else wrote, read only as far as its size and its number of values allow.

A few bytes of JSON become many in memory, and a reader in C lets no other thread run meanwhile. So
a text is looked over before it is read: how long it is, and how many values and lists it can hold.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any

from hybridmodel.exceptions import ProtocolError

JSON_BYTES = 1 << 20
"""The largest JSON without values: names, shapes, a model's configuration."""

ERROR_BYTES = 1 << 16
"""The most that is read of a refusal, and of text that needs several times its size in memory."""

_MAX_DIGITS = 4300
"""Python's default limit for integers: the time grows with the square of the digits."""


@dataclass(frozen=True, slots=True)
class JsonLimit:
    """What a JSON text may hold: its size, commas (also in texts), and lists with objects.

    None stands for any number of them. `plain` says that a long text has to be plain ASCII where
    its values are counted.
    """

    size_bytes: int
    values: int | None
    lists: int | None
    plain: bool = True


ERROR_LIMIT = JsonLimit(ERROR_BYTES, 1000, 1000)


def decode_object(
    body: bytes | bytearray | memoryview, limit: JsonLimit | None = None
) -> dict[str, Any]:
    """Read a JSON object within a limit; every header and every other answer is one."""
    if limit is not None:
        _look_over(body, limit)
    many_digits = not 0 < sys.get_int_max_str_digits() <= _MAX_DIGITS
    try:
        text = str(body, "utf-8").removeprefix("\ufeff")
        head = json.loads(text, parse_int=_short if many_digits else None)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"the JSON part cannot be read: {str(error)[:200]}") from error
    if not isinstance(head, dict):
        raise ProtocolError(f"the JSON part is a {type(head).__name__}, not an object")
    return head


def _short(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _look_over(body: bytes | bytearray | memoryview, limit: JsonLimit) -> None:
    size = len(body)
    if size > limit.size_bytes:
        raise ProtocolError(
            f"the answer has {size} bytes of JSON, and at most {limit.size_bytes} were expected"
        )
    text = bytes(body) if isinstance(body, memoryview) else body
    if limit.values is not None:
        if limit.plain and size > ERROR_BYTES and not (text.isascii() and b"\\" not in text):
            # One letter beyond the usual ones makes all of them four times as large.
            raise ProtocolError(
                f"the answer has {size} bytes of JSON that are not all plain ASCII, more than "
                f"{ERROR_BYTES}"
            )
        _at_most(text.count(b","), limit.values, "values")
    if limit.lists is not None:
        _at_most(text.count(b"[") + text.count(b"{"), limit.lists, "lists and objects")


def _at_most(count: int, most: int, what: str) -> None:
    if count > most:
        raise ProtocolError(f"the JSON part holds {count} {what}, and at most {most} were expected")


def shown(value: Any) -> str:
    """Write any JSON value into a message, whatever its size or depth."""
    try:
        # Of a text only the beginning is looked at: it may be as long as the answer.
        return repr(value[:80] if isinstance(value, str) else value)[:80]
    except RecursionError:
        return f"a deeply nested {type(value).__name__}"
