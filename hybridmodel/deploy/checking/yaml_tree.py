"""YAML as a tree of values with their lines, within bounds.

PyYAML's safe loader splits the text into events and reads scalars; the tree is built here, so that
depth, size and aliases stay bounded. Nothing is constructed but texts, numbers, booleans and null.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

MOST_NODES = 20_000
MOST_ALIASES = 100
DEEPEST = 40

_LONGEST_NUMBER = 100
_STANDARD = "tag:yaml.org,2002:"
_SCALARS = ("str", "int", "float", "bool", "null", "timestamp", "binary", "merge", "value")
_COLLECTIONS = ("seq", "map")


class BadYaml(Exception):
    """Raise where a text is not YAML, or goes beyond a bound."""

    def __init__(self, line: int | None, reason: str) -> None:
        super().__init__(reason)
        self.line = line
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Node:
    """A value and where it stands.

    `value` is a text, number, boolean or None, a mapping of texts to nodes, or a tuple of nodes.
    `line` is the line of the key, where the value belongs to one.
    """

    line: int
    value: Any

    @property
    def members(self) -> Mapping[str, Node]:
        """The members of a mapping; none for anything else."""
        return self.value if isinstance(self.value, dict) else {}

    def get(self, *path: str) -> Node | None:
        """Return a member of a member of …; None where there is none."""
        node: Node | None = self
        for key in path:
            node = node.members.get(key) if node is not None else None
        return node

    def text(self, *path: str) -> str | None:
        """Return a member that is a text; None for anything else."""
        node = self.get(*path)
        return node.value if node is not None and isinstance(node.value, str) else None

    def number(self, *path: str) -> int | None:
        """Return a member that is a whole number; None for anything else."""
        node = self.get(*path)
        return node.value if node is not None and type(node.value) is int else None

    def line_of(self, *path: str) -> int:
        """Return the line of a member of a member of …, or its own where there is none."""
        found = self.get(*path)
        return self.line if found is None else found.line


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A key that stands twice in a mapping."""

    line: int
    key: str
    first_line: int


@dataclass
class _Builder:
    """Builds the documents of a text out of the parser's events."""

    parser: Any
    anchors: dict[str, Node] = field(default_factory=dict)
    duplicates: list[Duplicate] = field(default_factory=list)
    nodes: int = 0
    aliases: int = 0

    def node(self, depth: int = 0) -> Node:
        """Return the tree of the next events."""
        event = self.parser.get_event()
        line = event.start_mark.line + 1
        self.nodes += 1
        if self.nodes > MOST_NODES or depth > DEEPEST:
            bound = f"{MOST_NODES} values" if depth <= DEEPEST else f"{DEEPEST} levels"
            raise BadYaml(line, f"it has more than {bound}")
        if isinstance(event, yaml.AliasEvent):
            return self._aliased(event.anchor, line)
        if event.tag is not None and not isinstance(event, yaml.ScalarEvent):
            _check_tag(event.tag, _COLLECTIONS, line)
        if isinstance(event, yaml.ScalarEvent):
            node = Node(line, self._scalar(event, line))
        elif isinstance(event, yaml.SequenceStartEvent):
            node = Node(line, tuple(self._items(depth)))
        else:
            node = Node(line, self._mapping(depth))
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        return node

    def _aliased(self, anchor: str, line: int) -> Node:
        self.aliases += 1
        if self.aliases > MOST_ALIASES:
            raise BadYaml(line, f"it has more than {MOST_ALIASES} aliases")
        if anchor not in self.anchors:
            raise BadYaml(line, f"the alias *{anchor} has no anchor before it")
        self.nodes += _size(self.anchors[anchor])
        return Node(line, self.anchors[anchor].value)

    def _scalar(self, event: Any, line: int) -> Any:
        tag = event.tag
        if tag is None or tag == "!":
            tag = self.parser.resolve(yaml.ScalarNode, event.value, event.implicit)
        _check_tag(tag, _SCALARS, line)
        kind = tag.removeprefix(_STANDARD)
        if kind not in ("int", "float", "bool", "null"):
            return event.value
        if len(event.value) > _LONGEST_NUMBER:
            raise BadYaml(line, f"it has a number of more than {_LONGEST_NUMBER} characters")
        try:
            return self.parser.construct_object(yaml.ScalarNode(tag, event.value))
        except (ValueError, KeyError, yaml.YAMLError):  # Such as `!!int x`.
            raise BadYaml(line, f"it has a value that is no {kind}") from None

    def _items(self, depth: int) -> Iterator[Node]:
        while not self.parser.check_event(yaml.SequenceEndEvent):
            yield self.node(depth + 1)
        self.parser.get_event()

    def _mapping(self, depth: int) -> dict[str, Node]:
        members: dict[str, Node] = {}
        while not self.parser.check_event(yaml.MappingEndEvent):
            key, value = self.node(depth + 1), self.node(depth + 1)
            if isinstance(key.value, (dict, tuple)):
                raise BadYaml(key.line, "a key is not a text")
            name = key.value if isinstance(key.value, str) else str(key.value)
            if name in members:
                self.duplicates.append(Duplicate(key.line, name, members[name].line))
            members[name] = Node(key.line, value.value)
        self.parser.get_event()
        merged = members.pop("<<", None)
        return members if merged is None else {**merged.members, **members}


def read(text: str) -> tuple[list[Node], list[Duplicate]]:
    """Return the documents of a text, and the keys that stand twice; raise `BadYaml`."""
    try:
        parser = yaml.SafeLoader(text)
        try:
            return _documents(parser)
        finally:
            parser.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = ": ".join(filter(None, (error.context, error.problem)))
        raise BadYaml(mark.line + 1 if mark else None, said) from None
    except yaml.YAMLError as error:
        raise BadYaml(None, str(error).partition("\n")[0]) from None
    except (ValueError, OverflowError):  # PyYAML itself: an escape of no character.
        raise BadYaml(None, "it has an escape that is no character") from None
    except RecursionError:
        raise BadYaml(None, f"it has more than {DEEPEST} levels") from None


def _documents(parser: Any) -> tuple[list[Node], list[Duplicate]]:
    roots: list[Node] = []
    parser.get_event()  # The stream's start.
    builder = _Builder(parser)
    while not parser.check_event(yaml.StreamEndEvent):
        parser.get_event()  # The document's start.
        builder.anchors.clear()
        roots.append(builder.node())
        parser.get_event()  # The document's end.
    return roots, builder.duplicates


def _check_tag(tag: str, known: tuple[str, ...], line: int) -> None:
    if tag != "!" and tag.removeprefix(_STANDARD) not in known:
        raise BadYaml(line, "it has a tag of its own; only plain values are read")


def _size(node: Node) -> int:
    """Count the values of a tree, up to the bound."""
    count, todo = 0, [node]
    while todo and count <= MOST_NODES:
        value = todo.pop().value
        count += 1
        if isinstance(value, dict):
            todo += value.values()
        elif isinstance(value, tuple):
            todo += value
    return count
