"""Finds entries of sessions and runs that the dead execution provider was to read."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hybridmodel.doctor import changes
from hybridmodel.doctor.bindings import Index, Value, last_name
from hybridmodel.doctor.contexts import is_handed_on
from hybridmodel.doctor.dead_names import (
    AUDIO_NAME,
    is_auth_key,
    is_documented_entry,
    is_entry,
    is_run_entry,
    shown_entry,
)
from hybridmodel.doctor.findings import Finding, Kind, Level
from hybridmodel.doctor.resolving import Resolver, Text

METHODS: Mapping[str, Kind] = {
    "add_session_config_entry": "session-entry",
    "add_run_config_entry": "run-entry",
}
_MLFLOW = "extra_session_config"
_PLACEHOLDER = re.compile(r"\W*|\s*[<{\[(].*[>}\])]\s*", re.DOTALL)


@dataclass(frozen=True)
class _Use:
    """A name that reaches an entry, and the values that it may come with."""

    kind: Kind
    key: Text
    value: Value
    through_mlflow: bool = False


def find_entries(
    index: Index, resolver: Resolver, new_import: str
) -> Iterator[tuple[ast.expr, Finding]]:
    """Yield each entry with its node, and each key that is written out beside one.

    Parameters
    ----------
    index, resolver : Index, Resolver
        Of one module.
    new_import : str
        The import that lets the entries work again.
    """
    uses, complete = _uses(index, resolver)
    seen: set[ast.AST] = set()
    for use in uses:
        if is_entry(use.key.text) and use.key.node not in seen:
            seen.add(use.key.node)
            yield from _findings(use, resolver, new_import, "certain")
    for node in () if complete else index.nodes:
        text = _documented(node)
        if text and node not in seen and is_handed_on(index, node):
            kind: Kind = "run-entry" if is_run_entry(text.text) else "session-entry"
            use = _Use(kind, text, index.partners.get(node))
            yield from _findings(use, resolver, new_import, "possible")


def _uses(index: Index, resolver: Resolver) -> tuple[list[_Use], bool]:
    """Return all names that reach an entry, and whether every call could be followed."""
    uses: list[_Use] = []
    complete = True
    for node in index.nodes:
        found: list[_Use] = []
        done = True
        if isinstance(node, ast.Call):
            found, done = _uses_of_call(node, index, resolver)
        elif isinstance(node, ast.Attribute) and node.attr in METHODS:
            done = isinstance(index.parents.get(node), (ast.Call, ast.Assign))
        elif (mapping := _for_mlflow(node, index)) is not None:
            found, done = _uses_of_mapping(mapping, resolver)
        uses += found
        complete = complete and done
    return uses, complete


def _uses_of_call(call: ast.Call, index: Index, resolver: Resolver) -> tuple[list[_Use], bool]:
    kind = _kind(call, resolver)
    if kind is None:
        # The method itself may be handed on, as to functools.partial.
        return [], not any(last_name(argument) in METHODS for argument in call.args)
    uses: list[_Use] = []
    complete = bool(call.args)
    for key in _keys(call, resolver):
        texts, done = resolver.texts(key)
        complete = complete and done
        default = call.args[1] if len(call.args) > 1 else None
        uses += [_Use(kind, text, index.partners.get(text.node, default)) for text in texts]
    return uses, complete


def _kind(call: ast.Call, resolver: Resolver) -> Kind | None:
    """Tell which kind of entry a call adds, also through another name for the method."""
    name = last_name(call.func)
    if isinstance(call.func, ast.Name) and name not in METHODS:
        leaves, _ = resolver.leaves(call.func)
        name = next((last for leaf in leaves if (last := last_name(leaf)) in METHODS), name)
    return METHODS.get(name)


def _keys(call: ast.Call, resolver: Resolver) -> list[Value]:
    first = call.args[0] if call.args else None
    return resolver.part(first.value, 0) if isinstance(first, ast.Starred) else [first]


def _for_mlflow(node: ast.AST, index: Index) -> ast.expr | None:
    """Return the mapping whose entries MLflow adds to the sessions of a model."""
    if isinstance(node, ast.keyword) and node.arg == _MLFLOW:
        return node.value
    is_key = isinstance(node, ast.Constant) and node.value == _MLFLOW
    return index.partners.get(node) if is_key else None


def _uses_of_mapping(mapping: ast.expr, resolver: Resolver) -> tuple[list[_Use], bool]:
    uses = []
    pairs, complete = resolver.pairs(mapping)
    for key, value in pairs:
        texts, done = resolver.texts(key)
        complete = complete and done
        uses += [_Use("session-entry", text, value, through_mlflow=True) for text in texts]
    return uses, complete


def _documented(node: ast.AST) -> Text | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return Text(node, node.value, is_whole=True) if is_documented_entry(node.value) else None
    return None


def _findings(
    use: _Use, resolver: Resolver, new_import: str, level: Level
) -> Iterator[tuple[ast.expr, Finding]]:
    name = shown_entry(use.key.text, is_whole=use.key.is_whole)
    values, _ = resolver.texts(use.value)
    if use.through_mlflow:
        change = changes.THROUGH_MLFLOW
    elif _is_openai(use.key.text, values):
        change = changes.OPENAI
    else:
        change = changes.of_entry(new_import)
    node = use.key.node
    yield node, Finding(kind=use.kind, name=name, change=change, level=level, line=node.lineno)
    if is_auth_key(use.key.text):
        for value in values:
            if value.is_whole and not _PLACEHOLDER.fullmatch(value.text):
                yield (
                    value.node,
                    Finding(
                        kind="auth-key",
                        name=name,
                        change=changes.KEY,
                        line=value.node.lineno,
                    ),
                )


def _is_openai(key: str, values: list[Text]) -> bool:
    is_type = key.lower().endswith(".endpoint_type")
    return key.endswith(f".{AUDIO_NAME}") or (
        is_type and any(value.text == "openai" for value in values)
    )
