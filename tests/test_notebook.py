"""The notebook of the examples: it runs, and its stored outputs are what it shows."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from tests.support.cards import card
from tests.support.notebooks import executed, shown, stored


@pytest.fixture(scope="module")
def notebook() -> Any:
    """Run the notebook once."""
    return executed(deepcopy(stored()))


def test_the_notebook_shows_what_is_stored_with_it(notebook: Any) -> None:
    """Each cell runs without a message, and shows what it did before, but for the numbers."""
    before = stored()
    assert [cell.source for cell in notebook.cells] == [cell.source for cell in before.cells]
    assert shown(notebook) == shown(before)
    kinds = [output.output_type for cell in notebook.cells for output in cell.get("outputs", ())]
    assert set(kinds) == {"execute_result"}


def test_objects_show_cards_and_plots_pictures(notebook: Any) -> None:
    """Model, calibration, answer, comparison and estimator are cards; a plot is a picture.

    Nothing in the notebook asks for matplotlib to be shown.
    """
    found = [output.data for cell in notebook.cells for output in cell.get("outputs", ())]
    cards = [card(data["text/html"]) for data in found if "hybridmodel-look" in str(data)]
    names = [read.texts[0] for read in cards]
    assert names == [
        "HybridOnnxModel",
        "Calibration",
        "HybridOnnxModel",
        "Answer",
        "Comparison",
        "HybridClassifier",
    ]
    assert sum("svg" in read.tags for read in cards) == 1
    assert len([data for data in found if "image/png" in data]) == 1
    assert not any(
        "pyplot" in cell.source or "%matplotlib" in cell.source for cell in notebook.cells
    )
