"""Runs the notebook of the examples; ``python -m tests.support.notebooks`` stores what it shows."""

from __future__ import annotations

from typing import Any

import nbformat
from nbclient import NotebookClient

from tests.support.cards import card
from tests.support.paths import ROOT

NOTEBOOK = ROOT / "examples" / "notebook.ipynb"


def stored() -> Any:
    """Return the notebook as it is in the repository."""
    return nbformat.read(NOTEBOOK, as_version=4)


def executed(notebook: Any) -> Any:
    """Run all cells in a new kernel, in the folder of the notebook; raise if one of them does."""
    client = NotebookClient(
        notebook, timeout=120, resources={"metadata": {"path": str(NOTEBOOK.parent)}}
    )
    client.record_timing = False  # Else each run writes its times into the file.
    return client.execute()


def shown(notebook: Any) -> list[list[tuple[list[str], list[str]]]]:
    """Return by cell what each output is: its types, and the heads that its card has.

    Numbers depend on the machine, as what is trained does in its last digits.
    """
    return [
        [(sorted(output.data), _heads(output.data)) for output in cell.outputs]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def _heads(data: Any) -> list[str]:
    html = data.get("text/html", "")
    return card(html).heads if "hybridmodel-look" in html else []


if __name__ == "__main__":
    made = executed(stored())
    made.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    nbformat.write(made, NOTEBOOK)
