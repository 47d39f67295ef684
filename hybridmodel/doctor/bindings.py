"""An index of parsed code: which values each name may have, and what stands around each node.

Made in one walk without recursion, since code that a machine wrote nests deeper than the
interpreter's stack. Order and branches do not count: a name has every value that it is ever given.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_SCOPED = (*_FUNCTIONS, ast.Lambda, ast.ClassDef, *_COMPREHENSIONS)
_NAMED = (*_FUNCTIONS, ast.ClassDef, ast.ExceptHandler, ast.MatchAs, ast.MatchStar)
_SHARED = (ast.expr_context, ast.operator, ast.unaryop, ast.boolop, ast.cmpop)


@dataclass(frozen=True, eq=False)
class Element:
    """One item of what a loop goes through.

    Attributes
    ----------
    iterable : ast.expr
        What it goes through.
    position : int or None
        Which part of each item; None for the item itself.
    """

    iterable: ast.expr
    position: int | None = None


Value = ast.expr | Element | None
"""What a name is given; None where the code does not say."""


class Scope:
    """The names of a module, class, function or comprehension.

    Parameters
    ----------
    parent : Scope or None
        The one around it; None for a module.
    is_class : bool
        Whether functions inside cannot see its names.
    """

    def __init__(self, parent: Scope | None = None, *, is_class: bool = False) -> None:
        self.parent = parent
        self.is_class = is_class
        self.root: Scope = self if parent is None else parent.root
        self.names: dict[str, list[Value]] = {}
        self.global_names: set[str] = set()

    def bind(self, name: str, value: Value) -> None:
        """Note one more value of a name."""
        names = self.root.names if name in self.global_names else self.names
        names.setdefault(name, []).append(value)

    def lookup(self, name: str) -> list[Value]:
        """Return all values that a name may have here; ``[None]`` for one from elsewhere."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.names and (scope is self or not scope.is_class):
                return scope.names[name]
            scope = scope.parent
        return [None]


class Index:
    """All nodes of a module, with what is known about them.

    Parameters
    ----------
    tree : ast.Module
        Not changed.

    Attributes
    ----------
    nodes : list of ast.AST
        In the order of the source.
    parents : dict of ast.AST to ast.AST
        The node around each one.
    scopes : dict of ast.AST to Scope
        Where the names of each node are looked up.
    attributes : dict of str to list
        Values given to attributes, by name, whatever the object.
    stores : dict of str to list of tuple
        Keys and values put into containers by ``name[key] = value``, by the container's name.
    loads : dict of str to list of ast.AST
        Uses of each name and attribute.
    partners : dict of ast.AST to ast.expr
        The value that stands beside a key: in a dict, a pair, or the first two arguments of a call.
    """

    def __init__(self, tree: ast.Module) -> None:
        self.nodes: list[ast.AST] = []
        self.parents: dict[ast.AST, ast.AST] = {}
        self.scopes: dict[ast.AST, Scope] = {}
        self.attributes: dict[str, list[Value]] = defaultdict(list)
        self.stores: dict[str, list[tuple[ast.expr, ast.expr]]] = defaultdict(list)
        self.loads: dict[str, list[ast.AST]] = defaultdict(list)
        self.partners: dict[ast.AST, ast.expr] = {}
        todo: list[tuple[ast.AST, Scope]] = [(tree, Scope())]
        while todo:
            node, scope = todo.pop()
            self.nodes.append(node)
            self.scopes[node] = scope
            self._note(node, scope)
            self._relate(node)
            if isinstance(node, _SCOPED):
                scope = Scope(scope, is_class=isinstance(node, ast.ClassDef))
            for child in reversed(list(ast.iter_child_nodes(node))):
                if not isinstance(child, _SHARED):
                    self.parents[child] = node
                    todo.append((child, scope))

    def _note(self, node: ast.AST, scope: Scope) -> None:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                self._bind(target, node.value, scope)
        elif isinstance(node, (ast.AnnAssign, ast.NamedExpr, ast.AugAssign)):
            if node.value is not None:
                self._bind(node.target, node.value, scope)
        elif isinstance(node, (ast.For, ast.AsyncFor, ast.comprehension)):
            self._bind(node.target, Element(node.iter), scope)
        elif isinstance(node, ast.arguments):
            _bind_arguments(node, scope)
        else:
            _bind_unknown(node, scope)

    def _relate(self, node: ast.AST) -> None:
        if isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            self.partners.update((key, value) for key, value in pairs if key is not None)
        elif isinstance(node, (ast.Tuple, ast.List)) and len(node.elts) == 2:
            self.partners[node.elts[0]] = node.elts[1]
        elif isinstance(node, ast.Call) and len(node.args) == 2:
            self.partners[node.args[0]] = node.args[1]
        elif isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Load):
            self.loads[last_name(node)].append(node)

    def _bind(self, target: ast.expr, value: Value, scope: Scope) -> None:
        todo = [(target, value)]
        while todo:
            target, value = todo.pop()
            if isinstance(target, ast.Name):
                scope.bind(target.id, value)
                if scope.is_class:
                    self.attributes[target.id].append(value)
            elif isinstance(target, ast.Attribute):
                self.attributes[target.attr].append(value)
            elif isinstance(target, ast.Subscript) and isinstance(value, ast.expr):
                self.stores[last_name(target.value)].append((target.slice, value))
                self.partners[target.slice] = value
            elif isinstance(target, (ast.Tuple, ast.List)):
                todo += zip(target.elts, _parts(value, len(target.elts)), strict=True)


def last_name(node: ast.AST) -> str:
    """Return the last word of a dotted name, such as ``append`` of ``a.b.append``; else ""."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _parts(value: Value, count: int) -> Iterable[Value]:
    if isinstance(value, Element) and value.position is None:
        return [Element(value.iterable, position) for position in range(count)]
    if isinstance(value, (ast.Tuple, ast.List)) and len(value.elts) == count:
        return [None if isinstance(part, ast.Starred) else part for part in value.elts]
    return [None] * count


def _bind_arguments(node: ast.arguments, scope: Scope) -> None:
    positional = [*node.posonlyargs, *node.args]
    without = [None] * (len(positional) - len(node.defaults))
    pairs: list[tuple[ast.arg, ast.expr | None]] = [
        *zip(positional, [*without, *node.defaults], strict=True),
        *zip(node.kwonlyargs, node.kw_defaults, strict=True),
        *((arg, None) for arg in (node.vararg, node.kwarg) if arg is not None),
    ]
    for arg, default in pairs:
        if default is not None:
            scope.bind(arg.arg, default)
        scope.bind(arg.arg, None)


def _bind_unknown(node: ast.AST, scope: Scope) -> None:
    if isinstance(node, ast.Global):
        scope.global_names.update(node.names)
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
        for alias in node.names:
            scope.bind(alias.asname or alias.name.partition(".")[0], None)
    elif isinstance(node, _NAMED):
        if node.name:
            scope.bind(node.name, None)
    elif isinstance(node, ast.withitem) and isinstance(node.optional_vars, ast.Name):
        scope.bind(node.optional_vars.id, None)
