"""What the original execution provider did, and what a real Triton answers, held against ours.

What the original does comes from its recording; `test_azure_ep_original.py` holds the original
itself against that, and ``python -m tests.support.original_ep --record`` makes it again.
"""

from __future__ import annotations

import pytest

from hybridmodel import azure_ep
from hybridmodel.serving import TritonServer
from tests.support.azure_ep_cases import DEFECTS, SAME, Case, Defect, served_cases
from tests.support.azure_ep_driver import run_case
from tests.support.original_ep import (
    observe_ours,
    read_recording,
    report,
    result_differences,
    shortened,
    wire_differences,
)


@pytest.mark.parametrize("case", SAME, ids=lambda case: case.name)
def test_where_the_original_is_right(case: Case) -> None:
    """Every byte on the wire but the id, and what the caller gets, are the original's."""
    original, ours = read_recording()[case.name], shortened(observe_ours(case))
    assert wire_differences(original, ours) == []
    assert result_differences(original, ours) == []
    assert ours["printed"] == ""


@pytest.mark.parametrize(
    "defect", DEFECTS, ids=lambda defect: f"{defect.number} {defect.case.name}"
)
def test_where_the_original_is_wrong(defect: Defect) -> None:
    """The recording shows the defect, and ours does what it should."""
    assert defect.look(read_recording()[defect.case.name]) == defect.original
    assert defect.look(observe_ours(defect.case)) == defect.ours


def test_the_table_says_when_something_is_amiss() -> None:
    """The report names no case as it is, and the one that is another way in the recording."""
    recording = read_recording()
    assert report(recording)[1] == []
    recording["rank 1"]["requests"][0]["line"] = "GET / HTTP/1.1"
    recording["401"]["outcome"]["error"] = "AuthenticationFailed"
    assert report(recording)[1] == ["rank 1", "401"]


@pytest.mark.parametrize("case", served_cases(), ids=lambda case: case.name)
def test_a_real_triton_answers_as_the_local_run(triton: TritonServer, case: Case) -> None:
    """With the same file on both sides, a remote run and a local one give the same list."""
    there = run_case(azure_ep, case.to_json(triton.uri))
    here = run_case(azure_ep, {**case.to_json(triton.uri), "run": {}})
    assert there == here
    assert "outputs" in here
