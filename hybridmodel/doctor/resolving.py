"""What an expression may be, as far as the code itself says: texts, items, keys and values.

Nothing is computed but the joining of texts, and everything ends: a file has a number of steps.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from hybridmodel.doctor.bindings import Element, Index, Value, last_name

_STEPS = 200_000
_DEPTH = 20
_SAME_ITEMS = {"list", "tuple", "set", "frozenset", "sorted", "reversed", "iter", "dict"}


@dataclass(frozen=True)
class Text:
    """A text in the code.

    Attributes
    ----------
    node : ast.expr
        Where it stands.
    text : str
        The text, or its start.
    is_whole : bool
        False when only the start is known.
    """

    node: ast.expr
    text: str
    is_whole: bool


class Resolver:
    """Follows names to what they were given.

    Parameters
    ----------
    index : Index
        Of the whole module.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._steps_left = _STEPS

    def leaves(self, start: Value, depth: int = 0) -> tuple[list[ast.expr], bool]:
        """Return the expressions that an expression may stand for.

        Returns
        -------
        list of ast.expr
            None of them is a name.
        bool
            Whether these are all.
        """
        found: list[ast.expr] = []
        complete = depth < _DEPTH
        seen: set[ast.expr | Element] = set()
        todo = [start] if complete else []
        while todo:
            value = todo.pop()
            self._steps_left -= 1
            if value is None or self._steps_left < 0:
                complete = False
            elif value not in seen:
                seen.add(value)
                further = self._step(value, depth)
                if further is not None:
                    todo += reversed(further)
                elif isinstance(value, ast.expr):
                    found.append(value)
        return found, complete

    def texts(self, node: Value) -> tuple[list[Text], bool]:
        """Return the texts that an expression may be, and whether these are all."""
        found = []
        leaves, complete = self.leaves(node)
        for leaf in leaves:
            text = self._text(leaf)
            if text is None or not (text.text or text.is_whole):
                complete = False
            else:
                found.append(text)
        return found, complete

    def items(self, node: Value, depth: int = 0) -> tuple[list[ast.expr], bool]:
        """Return what a loop over an expression goes through, and whether that is all."""
        found: list[ast.expr] = []
        leaves, complete = self.leaves(node, depth)
        if isinstance(node, (ast.Name, ast.Attribute)):
            found += [key for key, _ in self._index.stores.get(last_name(node), ())]
        for leaf in leaves:
            more, more_complete = self._items_of(leaf, depth + 1)
            found += more
            complete = complete and more_complete
        return found, complete

    def pairs(self, node: Value, depth: int = 0) -> tuple[list[tuple[ast.expr, ast.expr]], bool]:
        """Return the keys and values of a mapping, and whether these are all."""
        found: list[tuple[ast.expr, ast.expr]] = []
        leaves, complete = self.leaves(node, depth)
        if isinstance(node, (ast.Name, ast.Attribute)):
            found += self._index.stores.get(last_name(node), ())
        for leaf in leaves:
            if isinstance(leaf, ast.Dict):
                for key, value in zip(leaf.keys, leaf.values, strict=True):
                    more = ([(key, value)], True) if key else self.pairs(value, depth + 1)
                    found += more[0]
                    complete = complete and more[1]
            elif isinstance(leaf, ast.BinOp):
                for side in (leaf.left, leaf.right):
                    more = self.pairs(side, depth + 1)
                    found += more[0]
                    complete = complete and more[1]
            else:
                complete = False
        return found, complete

    def part(self, item: Value, position: int) -> list[Value]:
        """Return what stands at a position of a tuple; None where the code does not say."""
        parts: list[Value] = []
        leaves, complete = self.leaves(item, 1)
        for leaf in leaves:
            known = isinstance(leaf, (ast.Tuple, ast.List)) and position < len(leaf.elts)
            parts.append(leaf.elts[position] if known else None)  # type: ignore[attr-defined]
        return parts if complete else [*parts, None]

    def _step(self, value: ast.expr | Element, depth: int) -> list[Value] | None:
        if isinstance(value, Element):
            return self._parts(value, depth)
        if isinstance(value, ast.Name):
            return self._index.scopes[value].lookup(value.id)
        if isinstance(value, ast.Attribute):
            return self._index.attributes.get(value.attr)
        if isinstance(value, ast.IfExp):
            return [value.body, value.orelse]
        if isinstance(value, ast.BoolOp):
            return [*value.values]
        return [value.value] if isinstance(value, ast.NamedExpr) else None

    def _parts(self, element: Element, depth: int) -> list[Value]:
        items, complete = self.items(element.iterable, depth + 1)
        parts: list[Value] = [] if complete else [None]
        for item in items:
            parts += [item] if element.position is None else self.part(item, element.position)
        return parts

    def _items_of(self, leaf: ast.expr, depth: int) -> tuple[list[ast.expr], bool]:
        if isinstance(leaf, (ast.List, ast.Tuple, ast.Set)):
            return self._elements(leaf.elts, depth)
        if isinstance(leaf, ast.Dict):
            pairs, complete = self.pairs(leaf, depth)
            return [key for key, _ in pairs], complete
        if isinstance(leaf, ast.BinOp):
            sides = [self.items(side, depth) for side in (leaf.left, leaf.right)]
            return [item for found, _ in sides for item in found], all(done for _, done in sides)
        if isinstance(leaf, (ast.ListComp, ast.SetComp, ast.GeneratorExp)):
            return [leaf.elt], False
        return self._items_of_call(leaf, depth) if isinstance(leaf, ast.Call) else ([], False)

    def _items_of_call(self, call: ast.Call, depth: int) -> tuple[list[ast.expr], bool]:
        if isinstance(call.func, ast.Attribute) and not call.args:
            pairs, complete = self.pairs(call.func.value, depth)
            if call.func.attr == "items":
                return [ast.Tuple([key, value], ast.Load()) for key, value in pairs], complete
            if call.func.attr in ("keys", "values"):
                return [pair[call.func.attr == "values"] for pair in pairs], complete
        if last_name(call.func) in _SAME_ITEMS and len(call.args) == 1:
            return self.items(call.args[0], depth)
        return [], False

    def _elements(self, elements: list[ast.expr], depth: int) -> tuple[list[ast.expr], bool]:
        found, complete = [], True
        for element in elements:
            if isinstance(element, ast.Starred):
                more, more_complete = self.items(element.value, depth)
                found += more
                complete = complete and more_complete
            else:
                found.append(element)
        return found, complete

    def _text(self, node: ast.expr) -> Text | None:
        """Join what is known from the left on."""
        known = ""
        for part in _pieces(node):
            piece = part if isinstance(part, str) else self._only_text(part)
            if piece is None:
                return Text(node, known, is_whole=False)
            known += piece
        return Text(node, known, is_whole=True)

    def _only_text(self, node: ast.expr | None) -> str | None:
        leaves, complete = self.leaves(node, 1)
        if complete and len(leaves) == 1 and isinstance(leaves[0], ast.Constant):
            value = leaves[0].value
            return value if isinstance(value, str) else None
        return None


def _pieces(node: ast.expr) -> Iterator[str | ast.expr | None]:
    """Yield the parts of a text from left to right; None for what cannot be known."""
    right: list[ast.expr] = []
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        right.append(node.right)
        node = node.left
    yield from _first_pieces(node)
    for part in reversed(right):
        yield from _first_pieces(part)


def _first_pieces(node: ast.expr) -> Iterator[str | ast.expr | None]:
    if isinstance(node, ast.Constant):
        yield node.value if isinstance(node.value, str) else None
    elif isinstance(node, ast.JoinedStr):
        yield from map(_piece, node.values)
    elif (start := _start_of_template(node)) is not None:
        yield start
        yield None
    else:
        yield node if isinstance(node, (ast.Name, ast.Attribute)) else None


def _piece(node: ast.expr) -> str | ast.expr | None:
    if isinstance(node, ast.FormattedValue):
        return node.value if node.format_spec is None else None
    return str(node.value) if isinstance(node, ast.Constant) else None


def _start_of_template(node: ast.expr) -> str | None:
    """Return what stands before the first thing to be filled in."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
        template, mark = node.left, "%"
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        template, mark = node.func.value, "{" if node.func.attr == "format" else ""
    else:
        return None
    if mark and isinstance(template, ast.Constant) and isinstance(template.value, str):
        return template.value.partition(mark)[0]
    return None
