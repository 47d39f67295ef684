"""Finds code that relies on the dead execution provider, without running it."""

from __future__ import annotations

import ast
import sys
import warnings
from collections.abc import Iterable
from dataclasses import replace

from hybridmodel.checks import printable
from hybridmodel.doctor.bindings import Bindings
from hybridmodel.doctor.code_findings import find_builders, find_entries, find_providers
from hybridmodel.doctor.records import Finding, NotRead

MOST_BYTES = 2 << 20
"""Limit for code that is parsed at a time: parsing takes up to 500 times as much memory."""

_DROP_IN, _ORIGINAL, _SESSION = "hybridmodel.azure_ep", "onnxruntime", "InferenceSession"
_WORDS = (b"config_entry", b"session_config", b"executionprovider", b"make_node")
_UNSERVED = ("auth-key", "builder")


def find_in_source(source: bytes) -> list[Finding]:
    """Return the findings in a file of Python code, in the order of its lines."""
    tree = parse(source)
    return find(tree) if has_words(source) else []


def has_words(source: bytes) -> bool:
    """Tell whether code may contain a finding."""
    lower = source.lower()
    return any(word in lower for word in _WORDS)


def parse(source: bytes | str) -> ast.Module:
    """Parse code without warnings; raise `NotRead` if this Python cannot."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except SyntaxError as error:
        where = f"line {error.lineno}: " if error.lineno else ""
        reason = f"{where}{printable(error.msg or '')}"
    except (RecursionError, MemoryError):
        reason = "it nests too deeply"
    except (ValueError, LookupError, OverflowError) as error:
        reason = printable(str(error))
    version = ".".join(map(str, sys.version_info[:2]))
    raise NotRead(f"cannot be read as Python {version}: {reason}")


def find(tree: ast.Module) -> list[Finding]:
    """Return the findings in parsed code, in the order of its lines."""
    bindings = Bindings(tree)
    new_import = _new_import(bindings.nodes)
    findings = [
        *find_entries(bindings, new_import),
        *find_providers(bindings, new_import),
        *find_builders(bindings),
    ]
    findings.sort(key=lambda finding: finding.line or 0)
    names = _imported_names(bindings.nodes)
    if not any(name.startswith(_DROP_IN) for name in names.values()):
        return findings
    # The drop-in makes names and entries work; if onnxruntime's session is used too, perhaps not.
    is_mixed = any(_makes_original(node, names) for node in bindings.nodes)
    return [
        finding if finding.kind in _UNSERVED else replace(finding, level="possible")
        for finding in findings
        if is_mixed or finding.kind in _UNSERVED
    ]


def _imported_names(nodes: Iterable[ast.AST]) -> dict[str, str]:
    """Return the names that imports define, with what each refers to."""
    names = {}
    for node in nodes:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            module = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            for alias in node.names:
                name = alias.name.replace("*", _SESSION)
                names[alias.asname or name] = module + name
    return names


def _makes_original(node: ast.AST, names: dict[str, str]) -> bool:
    function = node.func if isinstance(node, ast.Call) else None
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
        return function.attr == _SESSION and names.get(function.value.id) == _ORIGINAL
    name = function.id if isinstance(function, ast.Name) else ""
    return names.get(name) == f"{_ORIGINAL}.{_SESSION}"


def _new_import(nodes: Iterable[ast.AST]) -> str:
    """Say what replaces the first import of onnxruntime."""
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name == _ORIGINAL:
                    new = f"import {_DROP_IN} as {alias.asname or _ORIGINAL}"
                    return f"write `{new}` in place of `import {ast.unparse(alias)}`"
        elif isinstance(node, ast.ImportFrom) and node.module == _ORIGINAL and not node.level:
            names = ", ".join(map(ast.unparse, node.names))
            old = f"from {_ORIGINAL} import {names}"
            return f"write `from {_DROP_IN} import {names}` in place of `{old}`"
    return f"write `from {_DROP_IN} import {_SESSION}` in place of {_ORIGINAL}'s"
