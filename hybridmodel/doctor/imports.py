"""Whose `InferenceSession` a module makes, and which import has to change."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from hybridmodel.doctor.bindings import Index

DROP_IN = "hybridmodel.azure_ep"

_ORIGINAL = "onnxruntime"
_SESSION = "InferenceSession"
_LONGEST = 80


@dataclass(frozen=True)
class Sessions:
    """How a module comes to its sessions.

    Attributes
    ----------
    has_drop_in : bool
        Whether it imports the drop-in.
    has_original : bool
        Whether it makes a session of onnxruntime itself.
    change : str
        The import to write, and in place of what.
    """

    has_drop_in: bool
    has_original: bool
    change: str


def sessions(index: Index) -> Sessions:
    """Look through the imports of a module, and the sessions that it makes."""
    names: dict[str, str] = {}
    change = f"write `from {DROP_IN} import {_SESSION}` in place of {_ORIGINAL}'s"
    for node in reversed(index.nodes):
        if isinstance(node, ast.Import):
            change = _import_change(node) or change
        elif isinstance(node, ast.ImportFrom):
            change = _from_change(node) or change
    for node in index.nodes:
        names.update(_bound(node))
    made = {_full_name(node.func, names) for node in index.nodes if isinstance(node, ast.Call)}
    return Sessions(
        has_drop_in=any(full.startswith(DROP_IN) for full in names.values()),
        has_original=f"{_ORIGINAL}.{_SESSION}" in made,
        change=change,
    )


def _bound(node: ast.AST) -> dict[str, str]:
    """Return the names that an import makes, and what each one stands for."""
    if isinstance(node, ast.Import):
        # `import a.b` makes only the name a, and leads to a.b nevertheless.
        return {alias.asname or alias.name: alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return {
            alias.asname or alias.name.replace("*", _SESSION): (
                f"{node.module}.{alias.name.replace('*', _SESSION)}"
            )
            for alias in node.names
        }
    return {}


def _full_name(node: ast.expr, names: dict[str, str]) -> str:
    words: list[str] = []
    while isinstance(node, ast.Attribute):
        words.append(node.attr)
        node = node.value
    words.append(names.get(node.id, node.id) if isinstance(node, ast.Name) else "")
    return ".".join(reversed(words))


def _import_change(node: ast.Import) -> str | None:
    for alias in node.names:
        if alias.name == _ORIGINAL:
            new = f"import {DROP_IN} as {alias.asname or _ORIGINAL}"
            return f"write `{new}` in place of `{_written('import', [alias])}`"
    return None


def _from_change(node: ast.ImportFrom) -> str | None:
    if node.module != _ORIGINAL or node.level:
        return None
    new = _written(f"from {DROP_IN} import", node.names)
    old = _written(f"from {_ORIGINAL} import", node.names)
    if len(old) > _LONGEST:
        return f"import the same names from {DROP_IN} in place of {_ORIGINAL}"
    return f"write `{new}` in place of `{old}`"


def _written(start: str, names: list[ast.alias]) -> str:
    return f"{start} {', '.join(map(ast.unparse, names))}"
