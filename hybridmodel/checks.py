"""Values as a message shows them: short, and whatever they are."""

from __future__ import annotations

from typing import Any

_MOST_BITS = 64


def shown(value: Any, longest: int = 60) -> str:
    """Return how a value looks in the source of a program, or its type where that is too long.

    An int of some thousand digits has no repr: Python refuses to write it.
    """
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        return f"a number of {value.bit_length()} bits"
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - the message is about something else
        text = ""
    return text if 0 < len(text) <= longest else f"a {type(value).__name__}"
