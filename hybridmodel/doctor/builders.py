"""Finds code that makes graphs with the dead operators."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from hybridmodel.doctor.bindings import Index, last_name
from hybridmodel.doctor.dead_names import OPERATORS
from hybridmodel.doctor.findings import Finding
from hybridmodel.doctor.replacement import UNKNOWN, replacement
from hybridmodel.doctor.resolving import Resolver

_MAKER = "make_node"


def find_builders(index: Index, resolver: Resolver) -> Iterator[tuple[ast.expr, Finding]]:
    """Yield each call of ``onnx.helper.make_node`` for a dead operator."""
    for node in index.nodes:
        if isinstance(node, ast.Call) and last_name(node.func) == _MAKER:
            given = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
            operator = node.args[0] if node.args else given.get("op_type")
            for text in resolver.texts(operator)[0]:
                if text.text in OPERATORS and text.is_whole:
                    attributes = {name: _value(value, resolver) for name, value in given.items()}
                    advised = replacement(text.text, attributes)
                    yield (
                        node,
                        Finding(
                            kind="builder",
                            name=text.text,
                            change=advised.change,
                            line=node.lineno,
                            endpoint=advised.endpoint,
                        ),
                    )


def _value(node: ast.expr, resolver: Resolver) -> Any:
    leaves, complete = resolver.leaves(node)
    if complete and len(leaves) == 1 and isinstance(leaves[0], ast.Constant):
        return leaves[0].value
    return UNKNOWN
