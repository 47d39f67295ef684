"""The doctor's findings as records, and how text of unknown origin is shown."""

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
    """Raise when a file is not read; the message is a predicate, such as "is empty"."""


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
        What to change, in one or more lines.
    level : str
        ``"certain"``, or ``"possible"`` if nothing in the file shows that the name is used.
    path : str
        The file.
    line : int or None
        Counted from 1 in the file, or in the cell of a notebook; None for a graph.
    cell : int or None
        The cell of a notebook, counted from 1 over all cells, including text.
    node : str or None
        The place in a graph.
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
        """The finding in a few words."""
        return _TITLES[self.kind].format(self.name)

    @property
    def place(self) -> str:
        """The place in the file."""
        if self.node is not None:
            return self.node
        return f"line {self.line}" if self.cell is None else f"cell {self.cell}, line {self.line}"


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file or folder that was not read, or only in part.

    Attributes
    ----------
    path : str
        Its path.
    reason : str
        Why it was not read.
    """

    path: str
    reason: str
