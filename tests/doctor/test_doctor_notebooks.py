"""The doctor finds in notebooks what it finds in code, cell by cell."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridmodel.doctor.notebooks import find_in_notebook
from hybridmodel.doctor.python_code import MOST_BYTES
from hybridmodel.doctor.records import NotRead
from tests.support.doctor_tools import OLD
from tests.support.strategies import damaged, json_values, law


def cell(*lines: str, kind: str = "code") -> dict[str, Any]:
    """Make a cell as Jupyter saves it."""
    return {"cell_type": kind, "source": [*(f"{line}\n" for line in lines[:-1]), *lines[-1:]]}


def notebook(*cells: dict[str, Any], **metadata: Any) -> bytes:
    """Make a notebook as Jupyter saves it."""
    return json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4}).encode()


def places(data: bytes) -> list[tuple[int | None, int | None, str]]:
    """Return cell, line and name of each finding."""
    findings, _ = find_in_notebook(data)
    return [(finding.cell, finding.line, finding.name) for finding in findings]


CELLS = {
    "magics": (["%matplotlib inline", "!pip install \\", "  onnxruntime", "?ort", "ort??", OLD], 6),
    "magics with results": (["files = !ls", "t = %timeit -o f()", OLD], 3),
    "magics in a block": (["if x:", "    %cd ..", "    " + OLD], 3),
    "a timed line": (["%time " + OLD], 1),
    "a timed cell": (["%%time", "", OLD], 3),
    "a timed cell after an empty line": (["", "%%time", OLD], 3),
    "a cell that is written to a file": (["%%writefile score.py", OLD], 2),
    "no magic but a remainder": (["x = (a", "%b)", "y = a != b", OLD], 4),
    "old line ends": (["x = 1\r", OLD], 2),
}


@pytest.mark.parametrize(("lines", "line"), CELLS.values(), ids=CELLS)
def test_cells(lines: list[str], line: int) -> None:
    """IPython's own syntax hides nothing, and lines are counted in the cell."""
    data = notebook(cell("# Title", kind="markdown"), cell("x = 1"), cell(*lines))
    assert places(data) == [(3, line, "use_azure")]
    assert find_in_notebook(data)[1] is None


def test_cells_are_one_program() -> None:
    """A name of one cell is known in the next, and one import serves all cells."""
    first, last = cell("KEY = 'azure.uri'"), cell("", "o.add_session_config_entry(KEY, uri)")
    assert places(notebook(first, last)) == [(1, 1, "azure.uri")]
    assert places(notebook(cell("x = 1\r" + OLD), cell("y"))) == [(1, 2, "use_azure")]
    new = cell("from hybridmodel.azure_ep import InferenceSession")
    assert places(notebook(first, last, new, cell("InferenceSession(p)"))) == []


def test_a_bad_cell_spoils_no_other() -> None:
    """A cell that is no Python is named, and the others are read."""
    findings, problem = find_in_notebook(notebook(cell("x ="), cell(OLD)))
    assert findings[0].cell == 2
    assert problem is not None
    assert problem.startswith("1 of its cells: cell 1 cannot be read as Python")


def test_cells_in_other_languages() -> None:
    """Cells of other languages, text and plain JSON around them are not code."""
    data = notebook(
        cell("%%bash", OLD), cell("%%writefile a.txt", OLD), cell(OLD, kind="raw"), {"x": OLD}
    )
    assert places(data) == []


NO_NOTEBOOKS = {
    "no JSON": (b"{", "is not JSON"),
    "no object": (b"[]", "is not a notebook"),
    "no cells": (b"{}", "it has no cells"),
    "deep JSON": (b'{"cells":' + b"[" * 200_000, "is not JSON"),
    "a huge number": (b'{"cells": ' + b"9" * 5000 + b"}", "is not JSON"),
    "another language": (notebook(cell("x"), language_info={"name": "C#"}), "another language: c#"),
}


@pytest.mark.parametrize(("data", "reason"), NO_NOTEBOOKS.values(), ids=NO_NOTEBOOKS)
def test_what_is_no_notebook(data: bytes, reason: str) -> None:
    """What is no notebook of Python is refused with the reason."""
    with pytest.raises(NotRead, match=reason):
        find_in_notebook(data)


def test_much_code_in_cells() -> None:
    """No more code is parsed than from a file."""
    data = notebook(cell(OLD), cell("#" * MOST_BYTES), cell(OLD))
    assert places(data) == [(1, 1, "use_azure")]
    assert "2 of its cells" in str(find_in_notebook(data)[1])


def survives(data: bytes) -> None:
    """Read bytes as a notebook, and refuse them only in words."""
    reason = ""
    try:
        find_in_notebook(data)
    except NotRead as error:
        reason = str(error)
    assert reason.isprintable()


@law
@given(st.binary())
def test_no_bytes_break_it(data: bytes) -> None:
    """Any bytes are read, or refused with a reason that can be printed."""
    survives(data)


@law
@given(
    json_values
    | st.fixed_dictionaries(
        {
            "cells": st.lists(
                st.fixed_dictionaries(
                    {
                        "cell_type": st.just("code"),
                        "source": json_values | st.sampled_from([OLD, "%%", "!x\\"]),
                    }
                )
            ),
            "metadata": json_values,
        }
    )
)
def test_no_json_breaks_it(value: Any) -> None:
    """Any JSON is read as a notebook, or refused."""
    survives(json.dumps(value).encode())


@law
@given(damaged(notebook(cell("%time x", OLD), cell("for k in ['use_azure']: o.add(k)"))))
def test_no_damage_breaks_it(data: bytes) -> None:
    """Any damaged notebook is read, or refused."""
    survives(data)
