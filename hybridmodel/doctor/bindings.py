"""The values that each name in a file gets, and which texts can reach an expression through them.

A name is identified by its last part: order, branches and scopes make no difference. Nothing here
recurses, because generated code nests deeper than the interpreter's stack.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable

_BINDINGS = (ast.AnnAssign, ast.AugAssign, ast.NamedExpr)
_LOOPS = (ast.For, ast.AsyncFor, ast.comprehension)
_RESULTS = (ast.Return, ast.Yield, ast.YieldFrom)
_SHARED = (ast.expr_context, ast.operator, ast.unaryop, ast.boolop, ast.cmpop)
_PASSING_ON = (
    ast.List, ast.Tuple, ast.Set, ast.Dict, ast.Starred, ast.BoolOp, ast.IfExp, ast.NamedExpr,
    ast.Call,
)  # fmt: skip
_SOURCES = {ast.Compare: (), ast.Subscript: ("value",), ast.IfExp: ("body", "orelse")}
_SAME_ITEMS = {"list", "tuple", "set", "frozenset", "sorted", "reversed", "iter", "dict", "str"}
_GROWING = {"append", "insert", "extend", "add", "update"}
_LOOKING = re.compile(
    r"print|pprint|echo|write|log|debug|info|warn|warning|error|critical|exception|fatal"
    r"|remove|discard|pop|index|count|get|getenv|startswith|endswith|replace|split|strip|find"
    r"|isin|difference|issubset|issuperset|isdisjoint|skip|skipif|xfail|assert\w*"
    r"|\w*(?:Error|Warning|Exception)"
)
"""Functions that only compare, print or remove a text."""

Texts = dict[ast.Constant, ast.expr | None]
"""Texts, each with the value that belongs to it if it is a key."""


class Bindings:
    """Indexes the nodes of a module, in the order of the source."""

    def __init__(self, tree: ast.Module) -> None:
        self.nodes: list[ast.AST] = []
        self.constants: list[ast.Constant] = []
        self.parents: dict[ast.AST, ast.AST] = {}
        # All values of each variable, parameter, attribute, key and function; None: any argument.
        self.given: dict[str, list[ast.expr | None]] = defaultdict(list)
        # The name that takes each value; for an argument, that of the function.
        self.takers: dict[ast.expr, str] = {}
        # The value beside each key: in a dict, a pair, or the first two arguments of a call.
        self.partners: dict[ast.AST, ast.expr] = {}
        self._only_looked_at: dict[str, bool] = {}
        todo: list[tuple[ast.AST, str]] = [(tree, "")]
        while todo:
            node, function = todo.pop()
            self.nodes.append(node)
            self._note_values(node, function)
            self._note_places(node)
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                function = node.name
            for child in reversed(list(ast.iter_child_nodes(node))):
                if not isinstance(child, _SHARED):
                    self.parents[child] = node
                    todo.append((child, function))

    def taker(self, node: ast.expr) -> str | None:
        """Return the name that takes a value or a key; None if the value is only looked at."""
        while node not in self.takers:
            parent = self.parents[node]
            if not isinstance(parent, ast.expr) or not _passes_on(parent, node):
                return None
            node = parent
        name, parent = self.takers[node], self.parents[node]
        call = self.parents[parent] if isinstance(parent, ast.keyword) else parent
        is_looked_at = isinstance(call, ast.Call) and _LOOKING.fullmatch(last_name(call.func))
        return None if is_looked_at or self._only_looked_at.get(name) else name

    def reach(self, starts: Iterable[ast.expr | None]) -> tuple[Texts, bool]:
        """Return the texts that can reach expressions, and whether the file shows all of them."""
        texts: Texts = {}
        seen: set[ast.expr | str | None] = set()
        todo: list[tuple[ast.expr | None, ast.expr | None]] = [(start, None) for start in starts]
        while todo:
            node, value = todo.pop()
            name = last_name(node)
            key = name if name in self.given else node
            is_new = key not in seen
            seen.add(key)
            if is_new and node is not None:
                value = self.partners.get(node, value)
                if isinstance(node, ast.Constant) and text_of(node):
                    texts[node] = value
                further = self.given[name] if name in self.given else _parts(node)
                todo += [(part, value) for part in reversed(further)]
        return texts, None not in seen

    def constant(self, node: ast.expr | None) -> ast.Constant | None:
        """Return the constant of an expression, or of a name with one value only."""
        name = last_name(node)
        if len(self.given.get(name, ())) == 1:
            (node,) = self.given[name]
        return node if isinstance(node, ast.Constant) else None

    def _note_values(self, node: ast.AST, function: str) -> None:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                self._bind(target, node.value)
        elif isinstance(node, _BINDINGS):
            self._bind(node.target, node.value)
        elif isinstance(node, _LOOPS):
            self._bind(node.target, node.iter)
        elif isinstance(node, _RESULTS):
            self._give(function, node.value)
        elif isinstance(node, ast.keyword):
            self._give(node.arg or "", node.value)
        elif isinstance(node, ast.arguments):
            self._note_arguments(node)
        elif isinstance(node, ast.Call):
            self._note_call(node)

    def _note_places(self, node: ast.AST) -> None:
        if isinstance(node, ast.Constant):
            self.constants.append(node)
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if key is not None:
                    self.partners[key] = value
                    self._give(text_of(key), value)
        elif isinstance(node, ast.Tuple) and len(node.elts) == 2:
            self.partners[node.elts[0]] = node.elts[1]
        elif isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Load):
            name = last_name(node)
            looks = _looks_at(self.parents[node], node)
            self._only_looked_at[name] = looks and self._only_looked_at.get(name, True)

    def _note_call(self, call: ast.Call) -> None:
        name = last_name(call.func)
        for argument in call.args if name not in _SAME_ITEMS else ():
            self.takers[argument] = name
            if name in _GROWING and isinstance(call.func, ast.Attribute):
                self._give(last_name(call.func.value), argument)
        if name == "InferenceSession" and len(call.args) > 2:
            self._give("providers", call.args[2])
        if len(call.args) > 1:
            self.partners[call.args[0]] = call.args[1]

    def _note_arguments(self, node: ast.arguments) -> None:
        positional = [*node.posonlyargs, *node.args]
        for argument in (*positional, *node.kwonlyargs):
            self.given[argument.arg].append(None)
        for argument, default in (
            *zip(reversed(positional), reversed(node.defaults), strict=False),
            *zip(node.kwonlyargs, node.kw_defaults, strict=True),
        ):
            self._give(argument.arg, default)

    def _bind(self, target: ast.expr, value: ast.expr | None) -> None:
        for part in ast.walk(target):
            if isinstance(part, ast.Subscript) and isinstance(part.ctx, ast.Store):
                self._give(last_name(part.value), part.slice)
                self._give(text_of(part.slice), value)
                if value is not None:
                    self.partners[part.slice] = value
            elif isinstance(getattr(part, "ctx", None), ast.Store):
                self._give(last_name(part), value)

    def _give(self, name: str, value: ast.expr | None) -> None:
        if value is not None:
            self.takers[value] = name
            if name:
                self.given[name].append(value)


def last_name(node: ast.AST | None) -> str:
    """Return the last part of a dotted name, such as ``append`` of ``a.b.append``; else ""."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def text_of(node: ast.expr | None) -> str:
    """Return the text of a constant; "" for anything else."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _looks_at(parent: ast.AST, node: ast.AST) -> bool:
    is_index = isinstance(parent, ast.Subscript) and parent.slice is node
    return is_index or isinstance(parent, (ast.Compare, ast.FormattedValue))


def _passes_on(parent: ast.AST, node: ast.AST) -> bool:
    if isinstance(parent, ast.BinOp):
        is_removed = isinstance(parent.op, ast.Sub) and node is parent.right
        return not (is_removed or isinstance(node, ast.Constant))
    return isinstance(parent, _PASSING_ON)


def _parts(node: ast.expr) -> list[ast.expr | None]:
    """Return the parts that an expression's texts come from; None for a name from elsewhere."""
    if isinstance(node, ast.Name):
        return [None]
    if isinstance(node, ast.Call):
        if last_name(node.func) in _SAME_ITEMS:
            return [*node.args]
        return [node.func, *([node.func.value] if isinstance(node.func, ast.Attribute) else [])]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub):
        return [node.left]
    if type(node) in _SOURCES:
        return [getattr(node, name) for name in _SOURCES[type(node)]]
    return [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]
