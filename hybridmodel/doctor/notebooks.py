"""Finds in notebooks what `python_code` finds in files; all cells together are one program."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from hybridmodel.checks import printable
from hybridmodel.doctor.python_code import MOST_BYTES, find, has_words, parse
from hybridmodel.doctor.records import Finding, NotRead

_LINES_OF_A_CELL = MOST_BYTES + 1
_CELL_MAGIC = re.compile(r"\s*%%(\w+)([^\n]*)")
_PYTHON_CELLS = {"time", "timeit", "capture", "prun", "python", "python3", "debug"}
_WRITING = {"writefile", "file"}
_TIMED = re.compile(r"(\s*)%(?:time|timeit)\s+(?![-\s])")
_MAGIC = re.compile(
    r"(\s*)(?:(?:[A-Za-z_][\w, ]*=\s*)?(?:%%?[A-Za-z_]|!(?!=)|\?)|[\w.%*]+\?\??\s*$).*"
)


def find_in_notebook(data: bytes) -> tuple[list[Finding], str | None]:
    """Return the findings in a notebook, and which cells could not be read, with the reasons."""
    program, problems, relevant, bytes_left = ast.Module([], []), [], False, MOST_BYTES
    for number, source in _code_cells(_load(data)):
        code = source.replace("\r\n", "\n").replace("\r", "\n")
        bytes_left -= len(code)
        try:
            cell = _parse_cell(code, bytes_left)
        except NotRead as error:
            problems.append(f"cell {number} {error}")
            continue
        program.body += ast.increment_lineno(cell, number * _LINES_OF_A_CELL).body
        relevant = relevant or has_words(code.encode(errors="replace"))
    found = find(program) if relevant else []
    problem = None if not problems else f"{len(problems)} of its cells: {'; '.join(problems[:3])}"
    return [_placed(finding) for finding in found], problem


def _placed(finding: Finding) -> Finding:
    cell, line = divmod(finding.line or 0, _LINES_OF_A_CELL)
    return replace(finding, cell=cell, line=line)


def _load(data: bytes) -> dict[str, Any]:
    try:
        notebook = json.loads(data)
    except (ValueError, RecursionError, MemoryError) as error:
        raise NotRead(f"is not JSON: {printable(str(error))}") from None
    if not isinstance(notebook, dict):
        raise NotRead("is not a notebook: its JSON is not an object")
    if not isinstance(notebook.get("cells"), list):
        raise NotRead("is not a notebook: it has no cells")
    try:
        language = notebook["metadata"]["language_info"]["name"].lower()
    except (KeyError, TypeError, AttributeError):
        return notebook
    if language not in ("python", "ipython"):
        raise NotRead(f"is in another language: {printable(language, 40)}")
    return notebook


def _code_cells(notebook: dict[str, Any]) -> Iterator[tuple[int, str]]:
    """Yield number and source of each valid code cell."""
    for number, cell in enumerate(notebook["cells"], start=1):
        if isinstance(cell, dict) and cell.get("cell_type") == "code":
            source = cell.get("source")
            lines = source if isinstance(source, list) else [source]
            yield number, "".join(line for line in lines if isinstance(line, str))


def _parse_cell(code: str, bytes_left: int) -> ast.Module:
    """Parse a cell, without IPython's own syntax if necessary."""
    if bytes_left < 0:
        raise NotRead(f"is beyond {MOST_BYTES / 2**20:g} MiB of code")
    magic = _CELL_MAGIC.match(code)
    if magic:
        is_written = magic[1] in _WRITING and magic[2].strip().endswith(".py")
        if magic[1] not in _PYTHON_CELLS and not is_written:
            return ast.Module([], [])
        code = "\n" * magic[0].count("\n") + code[magic.end() :]
    try:
        return parse(code)
    except NotRead:
        timed = [_TIMED.sub(r"\1", line) for line in code.split("\n")]
        return parse("\n".join(_without_magics(timed)))


def _without_magics(lines: list[str]) -> Iterator[str]:
    goes_on = False
    for line in lines:
        magic = _MAGIC.fullmatch(line)
        if goes_on:
            yield ""
        else:
            yield f"{magic[1]}pass" if magic else line
        goes_on = (goes_on or magic is not None) and line.endswith("\\")
