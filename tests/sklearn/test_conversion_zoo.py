"""The zoo: no converted estimator answers otherwise in silence, and the page tells the truth."""

from __future__ import annotations

import re

import pytest

from tests.support.zoo import ZOO
from tests.support.zoo_page import PAGE, bound, read_lines, verdict


@pytest.mark.parametrize("name", ZOO)
def test_an_estimator_is_converted_or_refused(name: str) -> None:
    """A model answers fresh rows as its estimator, or is refused; the page says which, and why.

    Labels have the shape (n,), numbers (n, k), and all count rows.
    """
    found = verdict(name)
    assert found.silent == 0
    estimator, _, outcome, told = read_lines()[name]
    assert (estimator, outcome) == (found.estimator, found.dtype or "refused")
    if not found.dtype:
        assert told == found.said
    for shape in found.shapes:
        assert re.fullmatch(r"(label: \w+\[\?\]|\w+: FP\d\d\[\?, \d\]) by row", shape)
    if found.dtype and found.largest is not None:
        assert found.largest <= float(told)


def test_the_page_has_the_zoo() -> None:
    """The page has each estimator once, and counts them; at least forty are converted."""
    lines = read_lines()
    assert list(lines) == list(ZOO)
    converted = [name for name, cells in lines.items() if cells[2] != "refused"]
    assert len(converted) >= 40
    said = r"^(\d+) estimators and pipelines: (\d+) are"
    (summary,) = re.findall(said, PAGE.read_text(), re.MULTILINE)
    assert summary == (str(len(ZOO)), str(len(converted)))


@pytest.mark.parametrize(
    ("largest", "expected"), [(None, ""), (0.0, "1e-15"), (2e-7, "1e-6"), (4e-7, "1e-5")]
)
def test_a_bound_leaves_room_for_other_machines(largest: float | None, expected: str) -> None:
    """It is the power of ten above three times the difference."""
    assert bound(largest) == expected
