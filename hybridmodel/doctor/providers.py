"""Finds the dead provider's names where code hands them on as execution providers."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from hybridmodel.doctor import changes
from hybridmodel.doctor.bindings import Index, Value, last_name
from hybridmodel.doctor.contexts import slot
from hybridmodel.doctor.dead_names import is_provider
from hybridmodel.doctor.findings import Finding, Level
from hybridmodel.doctor.resolving import Resolver

_SESSION = "InferenceSession"
_PROVIDERS = re.compile(r"\w*providers?_*", re.IGNORECASE)
_CATALOGUES = re.compile(r"known|\ball_|every|support|avail|valid|choice|map", re.IGNORECASE)
_EXCLUDED = re.compile(
    r"exclu|ignor|skip|unsupport|unwant|unavail|unknown|block|deny|disab|dead|deprecat|remov|drop"
    r"|without|forbid|reject|invalid|\bbad|\bno_|\bnot_",
    re.IGNORECASE,
)


def find_providers(
    index: Index, resolver: Resolver, new_import: str
) -> Iterator[tuple[ast.expr, Finding]]:
    """Yield each dead provider's name with its node.

    Parameters
    ----------
    index, resolver : Index, Resolver
        Of one module.
    new_import : str
        The import that lets the provider work again.
    """
    reached = {
        node
        for call in index.nodes
        if isinstance(call, ast.Call)
        for argument in _provider_arguments(call)
        for node in _texts(argument, resolver)
    }
    for node in index.nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            level = _level(index, node, reached) if is_provider(node.value) else None
            if level is not None:
                change = changes.of_provider(new_import)
                yield (
                    node,
                    Finding(
                        kind="provider",
                        name=node.value,
                        change=change,
                        level=level,
                        line=node.lineno,
                    ),
                )


def _provider_arguments(call: ast.Call) -> Iterator[ast.expr]:
    for keyword in call.keywords:
        if keyword.arg and _is_certain(keyword.arg):
            yield keyword.value
    name = last_name(call.func)
    if name == _SESSION and len(call.args) > 2:
        yield call.args[2]
    elif _is_certain(name):
        yield from call.args


def _texts(argument: Value, resolver: Resolver) -> Iterator[ast.expr]:
    """Yield the names in a list of providers, each alone or in a pair with its options."""
    found = [argument, *resolver.items(argument)[0]]
    for leaf in [leaf for value in found for leaf in resolver.leaves(value)[0]]:
        if isinstance(leaf, ast.Constant):
            yield leaf
        elif isinstance(leaf, ast.Tuple) and leaf.elts:
            yield from resolver.leaves(leaf.elts[0])[0]


def _level(index: Index, node: ast.Constant, reached: set[ast.expr]) -> Level | None:
    if node in reached:
        return "certain"
    name = slot(index, node)
    if name is None or _EXCLUDED.search(name):
        return None
    return "certain" if _is_certain(name) else "possible"


def _is_certain(name: str) -> bool:
    is_list = _PROVIDERS.fullmatch(name) is not None
    return is_list and not _CATALOGUES.search(name) and not _EXCLUDED.search(name)
