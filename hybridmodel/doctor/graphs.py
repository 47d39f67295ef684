"""Finds the dead operators in ONNX files of any size, through a memory map.

Field numbers are those of ``onnx.proto``.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from mmap import mmap
from typing import Any

from hybridmodel.checks import printable
from hybridmodel.doctor import advice
from hybridmodel.doctor.dead_names import DOMAINS, OPERATORS
from hybridmodel.doctor.records import Finding, NotRead
from hybridmodel.local.protobuf import Malformed, fields

_OPERATORS = {name.encode(): name for name in OPERATORS}
_DOMAINS = {name.encode() for name in DOMAINS}
_GRAPH_NODE, _FUNCTION_NODE = 1, 7  # GraphProto.node, FunctionProto.node
_INPUT, _OUTPUT, _NAME, _OPERATOR, _ATTRIBUTE, _DOMAIN = 1, 2, 3, 4, 5, 7  # NodeProto
_PLAIN_VALUES = (7, 8, 9)  # AttributeProto.floats, .ints, .strings
_POINTER = b"version https://git-lfs"
_DAMAGED = "it is damaged"
_FETCH = "it is a pointer of Git LFS; fetch the file itself"

Message = dict[int, list[Any]]


@dataclass(frozen=True, slots=True)
class _Body:
    """A graph or a function, and the text that says where it is."""

    view: Any
    node_field: int
    way: str = ""


def find_in_model(data: bytes | mmap) -> tuple[list[Finding], str | None]:
    """Return the findings in a model, outermost graph first, and why it was not read to its end."""
    problem = _FETCH if data[: len(_POINTER)] == _POINTER else ""
    with memoryview(data) as view:
        try:
            # Protobuf does not encode names, so a file without these bytes has no finding.
            bodies = _outermost(view)
            if not any(data.find(name) >= 0 for name in _OPERATORS):
                return [], None
            return _look_through(bodies)
        except Malformed as error:
            problem = problem or str(error) or _DAMAGED
    raise NotRead(f"is not an ONNX model: {problem}")


def _look_through(bodies: list[_Body]) -> tuple[list[Finding], str | None]:
    nodes: list[tuple[Message, str]] = []
    findings: list[Finding] = []
    keys: set[bytes] = set()
    problem = None
    try:
        nodes.extend(_dead_nodes(bodies))
    except Malformed:
        problem = _DAMAGED
    if nodes:
        with suppress(Malformed):
            keys.update(_written_out(bodies))
    with suppress(Malformed):
        for node, way in nodes:
            findings.extend(_findings(node, way, keys))
    return findings, problem


def _outermost(model: memoryview) -> list[_Body]:
    """Return the graph and the functions of a model."""
    message = _message(model)
    if 7 not in message:  # ModelProto.graph
        raise Malformed("it holds no graph")
    bodies = [_Body(view, _GRAPH_NODE) for view in message[7]]
    for view in message.get(25, ()):  # ModelProto.functions
        name = _text(_last(_message(view), 1))  # FunctionProto.name
        bodies.append(_Body(view, _FUNCTION_NODE, f" of function {name!r}"))
    return bodies


def _dead_nodes(bodies: list[_Body]) -> Iterator[tuple[Message, str]]:
    """Yield each node with a dead operator, and its place; add all inner graphs to `bodies`."""
    todo = deque(bodies)
    while todo:
        body = todo.popleft()
        for number, value in fields(body.view):
            if number == body.node_field:
                node = _message(value)
                if _last(node, _OPERATOR) in _OPERATORS and _last(node, _DOMAIN) in _DOMAINS:
                    yield node, body.way
                inner = list(_graphs_of(node, body.way))
                todo += inner
                bodies += inner


def _graphs_of(node: Message, way: str) -> Iterator[_Body]:
    for attribute in node.get(_ATTRIBUTE, ()):
        name = ""
        for number, value in fields(attribute):
            if number in _PLAIN_VALUES:
                break  # An attribute has one kind of value, and trees have millions of them.
            if number == 1:  # AttributeProto.name
                name = _text(_bytes(value))
            elif number in (6, 11):  # .g, .graphs
                inside = f" in {name} of {_text(_last(node, _OPERATOR))} {_title(node)}{way}"
                yield _Body(value, _GRAPH_NODE, printable(inside, 400))


def _written_out(bodies: list[_Body]) -> Iterator[bytes]:
    """Yield the names of values that are constant texts in the file."""
    for body in bodies:
        for number, value in fields(body.view):
            if number == body.node_field:
                node = _message(value)
                if _last(node, _OPERATOR) == b"Constant" and _has_text(node):
                    yield from map(_bytes, node.get(_OUTPUT, ()))
            elif number == 5 and body.node_field == _GRAPH_NODE:  # GraphProto.initializer
                tensor = _message(value)
                if any(map(_bytes, tensor.get(6, ()))):  # TensorProto.string_data
                    yield _last(tensor, 8)  # .name


def _has_text(constant: Message) -> bool:
    for attribute in map(_message, constant.get(_ATTRIBUTE, ())):
        texts = attribute.get(4, []) + attribute.get(9, [])  # AttributeProto.s, .strings
        for tensor in map(_message, attribute.get(5, ())):  # .t
            texts += tensor.get(6, [])  # TensorProto.string_data
        if any(map(_bytes, texts)):
            return True
    return False


def _findings(node: Message, way: str, keys: set[bytes]) -> Iterator[Finding]:
    operator, place = _OPERATORS[_last(node, _OPERATOR)], f"{_title(node)}{way}"
    attributes = dict(map(_attribute, node.get(_ATTRIBUTE, ())))
    change, endpoint = advice.of_operator(operator, attributes)
    yield Finding(kind="node", name=operator, change=change, node=place, endpoint=endpoint)
    if any(_bytes(name) in keys - {b""} for name in node.get(_INPUT, ())[:1]):
        yield Finding(kind="auth-key", name="auth_token", change=advice.KEY, node=place)


def _attribute(view: Any) -> tuple[str, Any]:
    """Return an attribute's name, and its value if that is one text or number."""
    attribute = _message(view)
    value: Any = advice.UNKNOWN
    if 4 in attribute:  # AttributeProto.s
        value = _text(_last(attribute, 4), 4096)
    elif isinstance(attribute.get(3, [None])[-1], int):  # .i
        value = attribute[3][-1]
    elif 2 in attribute:  # .f
        (value,) = struct.unpack("<f", _last(attribute, 2)[:4].ljust(4, b"\0"))
    return _text(_last(attribute, 1)), value


def _title(node: Message) -> str:
    name = _text(_last(node, _NAME))
    if name:
        return f"node {name!r}"
    output = b"".join(map(_bytes, node.get(_OUTPUT, ())[:1]))
    return f"node without a name, for {_text(output)!r}"


def _message(view: Any) -> Message:
    message: Message = {}
    for number, value in fields(view):
        message.setdefault(number, []).append(value)
    return message


def _last(message: Message, number: int) -> bytes:
    """Return a field's bytes; the last value counts."""
    return _bytes(message[number][-1]) if number in message else b""


def _bytes(value: Any) -> bytes:
    if isinstance(value, int):
        raise Malformed
    return bytes(value)


def _text(value: bytes, limit: int = 80) -> str:
    return printable(value[: limit * 4].decode(errors="replace"), limit)
