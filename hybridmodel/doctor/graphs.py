"""Finds the dead operators in ONNX files, over a memory map, however large the file is.

Field numbers are those of ``onnx.proto``.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hybridmodel.doctor import changes
from hybridmodel.doctor.dead_names import DOMAINS, OPERATORS
from hybridmodel.doctor.findings import Finding, NotRead, shown
from hybridmodel.doctor.replacement import UNKNOWN, replacement
from hybridmodel.protobuf import Malformed, fields

if TYPE_CHECKING:
    from mmap import mmap

_MOST_FIELDS = 20_000_000
_OPERATORS = {name.encode(): name for name in OPERATORS}
_DOMAINS = {name.encode() for name in DOMAINS}
_GRAPH_NODE, _FUNCTION_NODE = 1, 7  # GraphProto.node, FunctionProto.node
_PLAIN_VALUES = (7, 8, 9)  # AttributeProto.floats, .ints, .strings
_AUTH_INPUT = "auth_token"
_POINTER = b"version https://git-lfs"
_FETCH = "it is a pointer of Git LFS, and the file itself has to be fetched"


@dataclass(frozen=True)
class _Body:
    """A graph or a function, and the way to it."""

    view: Any
    node_field: int
    way: str = ""


@dataclass
class _Node:
    name: str = ""
    inputs: list[bytes] = field(default_factory=list)
    outputs: list[bytes] = field(default_factory=list)
    operator: bytes = b""
    domain: bytes = b""
    attributes: list[Any] = field(default_factory=list)

    @property
    def title(self) -> str:
        if self.name:
            return f"node {shown(self.name, 80)!r}"
        return f"node without a name, for {_text(b''.join(self.outputs[:1]))!r}"


def find_in_model(data: bytes | mmap) -> tuple[list[Finding], str | None]:
    """Look through a serialized model.

    Parameters
    ----------
    data : bytes or mmap
        The whole file.

    Returns
    -------
    list of Finding
        Graph by graph from the outermost one on, without a path.
    str or None
        Why the file could not be read to its end.

    Raises
    ------
    NotRead
        If it is no model.
    """
    nodes: list[tuple[_Node, str]] = []
    findings: list[Finding] = []
    is_model, problem = False, None
    with memoryview(data) as view:
        reader = _Reader(view)
        try:
            reader.open()
            is_model = True
            # Protobuf keeps names as they are: a file without them need not be read in depth.
            if any(data.find(name) >= 0 for name in _OPERATORS):
                nodes.extend(reader.dead_nodes())
        except Malformed as error:
            problem = str(error) or "it is damaged"
        with suppress(Malformed):
            findings.extend(_findings(reader, nodes))
        # What still refers to the view would keep the file's mapping from closing.
        del reader, nodes
    if not is_model:
        is_pointer = data[: len(_POINTER)] == _POINTER
        raise NotRead(f"is no ONNX model: {_FETCH if is_pointer else problem}")
    return findings, problem


class _Reader:
    """Reads the nodes of one model, and no more than a number of fields."""

    def __init__(self, model: memoryview) -> None:
        self._model = model
        self._fields_left = _MOST_FIELDS
        self._bodies: list[_Body] = []
        self._functions: set[tuple[bytes, bytes]] = set()

    def open(self) -> None:
        """Read the outermost level."""
        for number, value in self._fields(self._model):
            if number == 7:  # ModelProto.graph
                self._bodies.insert(0, _Body(value, _GRAPH_NODE))
            elif number == 25:  # ModelProto.functions
                self._add_function(value)
        if not self._bodies or self._bodies[0].node_field != _GRAPH_NODE:
            raise Malformed("it holds no graph")

    def dead_nodes(self) -> Iterator[tuple[_Node, str]]:
        """Yield each node with a dead operator, and the way to it; note all inner graphs."""
        todo = deque(self._bodies)
        while todo:
            body = todo.popleft()
            for number, value in self._fields(body.view):
                if number == body.node_field:
                    node = self._node(value)
                    if self._is_dead(node):
                        yield node, body.way
                    inner = list(self._graphs_of(node, body.way))
                    todo += inner
                    self._bodies += inner

    def written_out(self) -> Iterator[bytes]:
        """Yield the names of values that are constant texts of the file."""
        for body in self._bodies:
            for number, value in self._fields(body.view):
                if number == 5 and body.node_field == _GRAPH_NODE:  # GraphProto.initializer
                    yield self._text_tensor(value)
                elif number == body.node_field:
                    yield from self._constant(self._node(value))

    def attribute(self, view: Any) -> tuple[str, Any]:
        """Return name and value of an attribute that holds one text or number."""
        name = ""
        value: Any = UNKNOWN
        for number, part in self._fields(view):
            if number == 1:  # AttributeProto.name
                name = _text(part)
            elif number == 2:  # .f
                (value,) = struct.unpack("<f", _bytes(part)[:4].ljust(4, b"\0"))
            elif number == 3:  # .i
                value = part
            elif number == 4:  # .s
                value = _text(part, 4096)
        return name, value

    def _fields(self, view: Any) -> Iterator[tuple[int, Any]]:
        for item in fields(view):
            self._fields_left -= 1
            if self._fields_left < 0:
                raise Malformed(f"it has more than {_MOST_FIELDS} parts")
            yield item

    def _is_dead(self, node: _Node) -> bool:
        is_known = node.operator in _OPERATORS and node.domain in _DOMAINS
        return is_known and (node.domain, node.operator) not in self._functions

    def _add_function(self, view: Any) -> None:
        name = domain = b""
        for number, value in self._fields(view):
            if number == 1:  # FunctionProto.name
                name = _bytes(value)
            elif number == 10:  # .domain
                domain = _bytes(value)
        self._functions.add((domain, name))
        self._bodies.append(_Body(view, _FUNCTION_NODE, f" of function {_text(name)!r}"))

    def _node(self, view: Any) -> _Node:
        node = _Node()
        for number, value in self._fields(view):
            if number == 1:  # NodeProto.input
                node.inputs.append(_bytes(value))
            elif number == 2:  # .output
                node.outputs.append(_bytes(value))
            elif number == 3:  # .name
                node.name = _text(value)
            elif number == 4:  # .op_type
                node.operator = _bytes(value)
            elif number == 5:  # .attribute
                node.attributes.append(value)
            elif number == 7:  # .domain
                node.domain = _bytes(value)
        return node

    def _graphs_of(self, node: _Node, way: str) -> Iterator[_Body]:
        for attribute in node.attributes:
            name = ""
            for number, value in self._fields(attribute):
                if number in _PLAIN_VALUES:
                    break  # An attribute holds one kind of value, and trees have millions.
                if number == 1:  # AttributeProto.name
                    name = _text(value)
                elif number in (6, 11):  # .g, .graphs
                    inside = f" in {name} of {_text(node.operator)} {node.title}{way}"
                    yield _Body(value, _GRAPH_NODE, shown(inside, 400))

    def _constant(self, node: _Node) -> list[bytes]:
        if node.operator != b"Constant":
            return []
        for attribute in node.attributes:
            for number, value in self._fields(attribute):
                is_text = number in (4, 9) and _bytes(value)  # AttributeProto.s, .strings
                if is_text or (number == 5 and self._text_tensor(value, unnamed=b"-")):  # .t
                    return node.outputs[:1]
        return []

    def _text_tensor(self, tensor: Any, unnamed: bytes = b"") -> bytes:
        """Return the name of a tensor that holds a text; b"" for any other."""
        name, has_text = unnamed, False
        for number, value in self._fields(tensor):
            if number == 8:  # TensorProto.name
                name = _bytes(value) or unnamed
            elif number == 6:  # .string_data
                has_text = has_text or bool(_bytes(value))
        return name if has_text else b""


def _findings(reader: _Reader, nodes: list[tuple[_Node, str]]) -> Iterator[Finding]:
    keys: set[bytes] = set()
    if nodes:
        with suppress(Malformed):
            keys.update(reader.written_out())
    for node, way in nodes:
        operator, place = _OPERATORS[node.operator], f"{node.title}{way}"
        advised = replacement(operator, dict(map(reader.attribute, node.attributes)))
        yield Finding(
            kind="node",
            name=operator,
            change=advised.change,
            node=place,
            endpoint=advised.endpoint,
        )
        if node.inputs and node.inputs[0] in keys - {b""}:
            yield Finding(kind="auth-key", name=_AUTH_INPUT, change=changes.KEY, node=place)


def _bytes(value: Any) -> bytes:
    if isinstance(value, int):
        raise Malformed
    return bytes(value)


def _text(value: Any, limit: int = 80) -> str:
    return shown(_bytes(value)[: limit * 4].decode(errors="replace"), limit)
