"""Finds in Python code what relies on the dead execution provider. Never runs any of it."""

from __future__ import annotations

import ast
import sys
import warnings
from dataclasses import replace

from hybridmodel.doctor.bindings import Index
from hybridmodel.doctor.builders import find_builders
from hybridmodel.doctor.entries import find_entries
from hybridmodel.doctor.findings import Finding, NotRead, shown
from hybridmodel.doctor.imports import sessions
from hybridmodel.doctor.providers import find_providers
from hybridmodel.doctor.resolving import Resolver

MOST_BYTES = 2 << 20
"""Most code that is parsed at a time: it takes up to 500 times as much memory."""

_WORDS = (b"config_entry", b"session_config", b"executionprovider", b"make_node")


def find_in_source(source: bytes) -> list[Finding]:
    """Look through a file of Python code.

    Parameters
    ----------
    source : bytes
        In whatever encoding it declares.

    Returns
    -------
    list of Finding
        In the order of the lines, without a path.

    Raises
    ------
    NotRead
        If it is not Python, as this interpreter reads it.
    """
    tree = parse(source)
    return find(tree) if has_words(source) else []


def has_words(source: bytes) -> bool:
    """Tell whether code may hold anything to find."""
    lower = source.lower()
    return any(word in lower for word in _WORDS)


def parse(source: bytes | str) -> ast.Module:
    """Parse code without a word about what is unusual in it.

    Raises
    ------
    NotRead
        If it cannot be parsed, or nests too deeply.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except SyntaxError as error:
        where = f"line {error.lineno}: " if error.lineno else ""
        reason = f"{where}{shown(error.msg or '')}"
    except (RuntimeError, MemoryError):  # RecursionError, and no room for a large stack.
        reason = "it nests too deeply"
    except (ValueError, LookupError, OverflowError) as error:
        reason = shown(str(error))
    version = ".".join(map(str, sys.version_info[:2]))
    raise NotRead(f"cannot be read as Python {version}: {reason}")


def find(tree: ast.Module) -> list[Finding]:
    """Look through parsed code, and return what there is in the order of the lines."""
    index = Index(tree)
    resolver = Resolver(index)
    made = sessions(index)
    found = [
        *find_entries(index, resolver, made.change),
        *find_providers(index, resolver, made.change),
        *find_builders(index, resolver),
    ]
    found.sort(key=lambda pair: (pair[0].lineno, pair[0].col_offset))
    findings = [finding for _, finding in found]
    if not made.has_drop_in:
        return findings
    # The drop-in serves names and entries; beside onnxruntime's own session, it may.
    others = [finding for finding in findings if finding.kind in ("auth-key", "builder")]
    if not made.has_original:
        return others
    return [
        finding if finding in others else replace(finding, level="possible") for finding in findings
    ]
