"""What was read of a short text, kept for the next time that the same text comes."""

from __future__ import annotations

from typing import TypeVar

V = TypeVar("V")

_MOST_ENTRIES = 64
_MOST_BYTES = 2048


class Memo(dict[bytes, V]):
    """What was read of at most 64 texts of at most 2 kB each; safe to share between threads.

    What it gives out is shared as well, so that nobody may change it. Texts that can hold a secret
    or a caller's data have no place in it.
    """

    __slots__ = ()

    def keep(self, text: bytes, value: V) -> None:
        """Keep what was read of a text, if that is short; when there are too many, start anew."""
        if len(text) > _MOST_BYTES:
            return
        if len(self) >= _MOST_ENTRIES:
            self.clear()
        self[text] = value
