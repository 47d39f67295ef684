"""What the doctor finds, as records, and how text of unknown origin is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["session-entry", "run-entry", "provider", "auth-key", "builder", "node"]
Level = Literal["certain", "possible"]

_TITLES: Mapping[str, str] = {
    "session-entry": "session entry {!r}",
    "run-entry": "run entry {!r}",
    "provider": "execution provider {!r}",
    "auth-key": "key written out for {!r} (not shown)",
    "builder": "code that makes the operator {!r}",
    "node": "operator {!r}",
}


class NotRead(Exception):
    """Raise when a file is not read; the message tells why, and goes on after the file's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One place that relies on the dead execution provider.

    Attributes
    ----------
    kind : str
        ``"session-entry"``, ``"run-entry"``, ``"provider"``, ``"auth-key"`` (a key written into
        the file), ``"builder"`` (code that makes a node) or ``"node"`` (one of a graph).
    name : str
        The entry, the provider's name as it is spelled, or the operator.
    change : str
        What to do about it, in one or more lines.
    level : str
        ``"certain"``, or ``"possible"`` where nothing in the file shows that the name is used.
    path : str
        The file.
    line : int or None
        Counted from 1, in the file or, in a notebook, in the cell; None for a graph.
    cell : int or None
        Of a notebook, counted from 1 over all cells, those with text among them.
    node : str or None
        Where in a graph.
    endpoint : mapping or None
        Arguments for the `hybridmodel.TritonEndpoint` that replaces a node.
    """

    kind: Kind
    name: str
    change: str
    level: Level = "certain"
    path: str = ""
    line: int | None = None
    cell: int | None = None
    node: str | None = None
    endpoint: Mapping[str, Any] | None = None

    @property
    def title(self) -> str:
        """What was found, in a few words."""
        return _TITLES[self.kind].format(self.name)

    @property
    def place(self) -> str:
        """Where in the file."""
        if self.node is not None:
            return self.node
        return f"line {self.line}" if self.cell is None else f"cell {self.cell}, line {self.line}"


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file or folder that was not read, or not wholly.

    Attributes
    ----------
    path : str
        As it was reached.
    reason : str
        Why.
    """

    path: str
    reason: str


def shown(text: str, limit: int = 200) -> str:
    """Return a text that may be printed: not too long, without control or half characters."""
    cut = text if len(text) <= limit else f"{text[: limit - 1]}…"
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in cut)
