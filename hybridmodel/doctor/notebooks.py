"""Finds in notebooks what `python_code` finds in files; all cells are one program.

The format is nbformat's, of version 4, and 3 with its worksheets.
"""

from __future__ import annotations

import ast
import json
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from hybridmodel.doctor.findings import Finding, NotRead, shown
from hybridmodel.doctor.python_code import MOST_BYTES, find, has_words, parse

_CELL_MAGIC = re.compile(r"\s*%%(\w+)([^\n]*)")
_PYTHON_CELLS = {"time", "timeit", "capture", "prun", "python", "python3", "debug"}
_WRITING = {"writefile", "file"}
_TIMED = re.compile(r"(\s*)%(?:time|timeit)\s+(?![-\s])")
_MAGIC = re.compile(
    r"(\s*)(?:(?:[A-Za-z_][\w, ]*=\s*)?(?:%%?[A-Za-z_]|!(?!=)|\?)|[\w.%*]+\?\??\s*$).*"
)


@dataclass
class _Program:
    """The cells that are Python, joined."""

    tree: ast.Module = field(default_factory=lambda: ast.Module([], []))
    lines: int = 0
    starts: list[int] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)

    def add(self, number: int, cell: ast.Module, lines: int) -> None:
        ast.increment_lineno(cell, self.lines)
        self.tree.body += cell.body
        self.starts.append(self.lines)
        self.numbers.append(number)
        self.lines += lines

    def placed(self, finding: Finding) -> Finding:
        line = finding.line or 1
        at = bisect_right(self.starts, line - 1) - 1
        return replace(finding, cell=self.numbers[at], line=line - self.starts[at])


def find_in_notebook(data: bytes) -> tuple[list[Finding], str | None]:
    """Look through a notebook.

    Parameters
    ----------
    data : bytes
        The whole file.

    Returns
    -------
    list of Finding
        In the order of cells, without a path.
    str or None
        Which cells could not be read, and why.

    Raises
    ------
    NotRead
        If it is no notebook, or none of Python.
    """
    program, problems, relevant, bytes_left = _Program(), [], False, MOST_BYTES
    for number, source in _code_cells(_load(data)):
        code = source.replace("\r\n", "\n").replace("\r", "\n")
        bytes_left -= len(code)
        try:
            cell = _parse_cell(code, bytes_left)
        except NotRead as error:
            problems.append(f"cell {number} {error}")
            continue
        program.add(number, cell, code.count("\n") + 1)
        relevant = relevant or has_words(code.encode(errors="replace"))
    found = find(program.tree) if relevant else []
    problem = None if not problems else f"{len(problems)} of its cells: {'; '.join(problems[:3])}"
    return [program.placed(finding) for finding in found], problem


def _load(data: bytes) -> dict[str, Any]:
    try:
        notebook = json.loads(data)
    except (ValueError, RecursionError, MemoryError) as error:
        raise NotRead(f"is no JSON: {shown(str(error))}") from None
    if not isinstance(notebook, dict):
        raise NotRead("is no notebook: its JSON is no object")
    language = _language(notebook.get("metadata"))
    if language not in ("python", "ipython", ""):
        raise NotRead(f"is in another language: {shown(language, 40)}")
    return notebook


def _language(metadata: Any) -> str:
    for part, name in (("kernelspec", "language"), ("language_info", "name")):
        described = metadata.get(part) if isinstance(metadata, dict) else None
        language = described.get(name) if isinstance(described, dict) else None
        if isinstance(language, str):
            return language.lower()
    return ""


def _code_cells(notebook: dict[str, Any]) -> Iterator[tuple[int, str]]:
    """Yield number and source of each cell of code; anything that is not as it should is none."""
    sheets = notebook.get("worksheets")
    parts = [notebook, *(sheets if isinstance(sheets, list) else [])]
    lists = [part.get("cells") for part in parts if isinstance(part, dict)]
    cells = [cell for some in lists if isinstance(some, list) for cell in some]
    if not any(isinstance(some, list) for some in lists):
        raise NotRead("is no notebook: it has no cells")
    for number, cell in enumerate(cells, start=1):
        if isinstance(cell, dict) and cell.get("cell_type") == "code":
            source = cell.get("source", cell.get("input"))
            lines = source if isinstance(source, list) else [source]
            yield number, "".join(line for line in lines if isinstance(line, str))


def _parse_cell(code: str, bytes_left: int) -> ast.Module:
    """Parse a cell as it is or, where it holds IPython's own syntax, without that."""
    if bytes_left < 0:
        raise NotRead(f"is beyond {MOST_BYTES / 2**20:g} MiB of code")
    magic = _CELL_MAGIC.match(code)
    if magic:
        if not _is_python(magic[1], magic[2]):
            return ast.Module([], [])
        code = "\n" * magic[0].count("\n") + code[magic.end() :]
    try:
        return parse(code)
    except NotRead:
        timed = [_TIMED.sub(r"\1", line) for line in code.split("\n")]
        return parse("\n".join(_without_magics(timed)))


def _is_python(magic: str, rest: str) -> bool:
    return magic in _PYTHON_CELLS or (magic in _WRITING and rest.strip().endswith(".py"))


def _without_magics(lines: list[str]) -> Iterator[str]:
    goes_on = False
    for line in lines:
        magic = _MAGIC.fullmatch(line)
        if goes_on:
            yield ""
        else:
            yield f"{magic[1]}pass" if magic else line
        goes_on = (goes_on or magic is not None) and line.endswith("\\")
