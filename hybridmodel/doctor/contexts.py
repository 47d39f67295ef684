"""Whether a text in the code is handed on, or only looked at, and under which name."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from typing import Any, cast

from hybridmodel.doctor.bindings import Index, last_name

_SPEECH = (ast.Compare, ast.Expr, ast.JoinedStr, ast.FormattedValue, ast.Assert, ast.MatchValue)
_COLLECTIONS = (ast.List, ast.Tuple, ast.Set, ast.Starred, ast.BoolOp, ast.NamedExpr, ast.IfExp)
_SAME_ITEMS = {"list", "tuple", "set", "frozenset", "sorted"}
_MOST_USES = 100
_GROWING = {"append", "insert", "extend", "add", "appendleft", "update"}
_LOOKING = re.compile(
    r"print|pprint|echo|write|log|debug|info|warn|warning|error|critical|exception|fatal"
    r"|remove|discard|pop|index|count|get|getenv|startswith|endswith|replace|split|strip|find"
    r"|isin|difference|issubset|issuperset|isdisjoint|skip|skipif|xfail|assert\w*|assert_\w*"
    r"|\w*(?:Error|Warning|Exception)",
)


def is_only_looked_at(index: Index, node: ast.AST) -> bool:
    """Tell whether a value is compared, printed or looked for, and goes nowhere."""
    parent = index.parents.get(node)
    if isinstance(parent, ast.Subscript):
        return parent.slice is node
    if isinstance(parent, ast.Call):
        return node is not parent.func and _looks(parent)
    return isinstance(parent, _SPEECH)


def is_handed_on(index: Index, node: ast.AST) -> bool:
    """Tell whether a value, or a mapping of which it is a key, goes anywhere."""
    parent = index.parents.get(node)
    if isinstance(parent, ast.Subscript):
        return parent.slice is node and isinstance(parent.ctx, ast.Store)
    is_key = isinstance(parent, ast.Dict) and node in parent.keys
    return slot(index, parent if is_key and parent else node) is not None


def slot(index: Index, node: ast.AST) -> str | None:
    """Return the name under which a value is handed on.

    Returns
    -------
    str or None
        That of a variable, parameter, key or function; "" when there is none, and None when the
        value is only looked at.
    """
    while True:
        if is_only_looked_at(index, node):
            return None
        parent = index.parents.get(node)
        if not _passes_on(parent, node):
            return _slot_in(index, parent, node)
        node = cast("ast.AST", parent)


def _passes_on(parent: ast.AST | None, node: ast.AST) -> bool:
    if isinstance(parent, ast.Call):
        return node in parent.args and last_name(parent.func) in _SAME_ITEMS
    if isinstance(parent, ast.Dict):
        return node in parent.values and not _key(parent, node)
    is_sum = isinstance(parent, ast.BinOp) and not isinstance(node, ast.Constant)
    return is_sum or isinstance(parent, _COLLECTIONS)


def _slot_in(index: Index, parent: ast.AST | None, node: ast.AST) -> str | None:
    find = _SLOTS.get(type(parent))
    return None if find is None else find(index, parent, node)


def _looks(call: ast.Call) -> bool:
    return _LOOKING.fullmatch(last_name(call.func)) is not None


def _of_keyword(index: Index, keyword: ast.keyword, _node: ast.AST) -> str | None:
    call = index.parents.get(keyword)
    return None if isinstance(call, ast.Call) and _looks(call) else keyword.arg or ""


def _of_call(_index: Index, call: ast.Call, _node: ast.AST) -> str:
    name = last_name(call.func)
    if name in _GROWING and isinstance(call.func, ast.Attribute):
        return last_name(call.func.value)
    return name


def _of_mapping(_index: Index, mapping: ast.Dict, node: ast.AST) -> str | None:
    return _key(mapping, node) if node in mapping.values else None


def _of_assignment(
    index: Index, node: ast.Assign | ast.AnnAssign | ast.AugAssign, _node: ast.AST
) -> str | None:
    target = node.targets[0] if isinstance(node, ast.Assign) else node.target
    if isinstance(target, ast.Subscript):
        return _constant(target.slice)
    name = last_name(target)
    uses = index.loads.get(name, [])[:_MOST_USES]
    if name == "__all__" or (uses and all(is_only_looked_at(index, use) for use in uses)):
        return None
    return name


def _of_return(index: Index, node: ast.AST, _node: ast.AST) -> str:
    parent: ast.AST | None = node
    while parent is not None:
        parent = index.parents.get(parent)
        if isinstance(parent, (ast.FunctionDef, ast.AsyncFunctionDef)):
            return parent.name
    return ""


def _of_parameters(_index: Index, node: ast.arguments, default: ast.AST) -> str:
    positional = [*node.posonlyargs, *node.args]
    defaulted = positional[len(positional) - len(node.defaults) :]
    pairs = [
        *zip(defaulted, node.defaults, strict=True),
        *zip(node.kwonlyargs, node.kw_defaults, strict=True),
    ]
    return next((arg.arg for arg, value in pairs if value is default), "")


def _without_name(_index: Index, _parent: ast.AST, _node: ast.AST) -> str:
    return ""


def _key(mapping: ast.Dict, value: ast.AST) -> str:
    return next(
        (
            _constant(key)
            for key, candidate in zip(mapping.keys, mapping.values, strict=True)
            if candidate is value
        ),
        "",
    )


def _constant(node: ast.expr | None) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


_SLOTS: Mapping[type, Callable[[Index, Any, ast.AST], str | None]] = {
    ast.keyword: _of_keyword,
    ast.Call: _of_call,
    ast.Dict: _of_mapping,
    ast.Assign: _of_assignment,
    ast.AnnAssign: _of_assignment,
    ast.AugAssign: _of_assignment,
    ast.Return: _of_return,
    ast.arguments: _of_parameters,
    ast.For: _without_name,
    ast.AsyncFor: _without_name,
    ast.comprehension: _without_name,
    ast.Yield: _without_name,
    ast.YieldFrom: _without_name,
    ast.Lambda: _without_name,
}
"""What hands a value on, and under which name; anything else only looks at it."""
