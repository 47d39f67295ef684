"""The original Azure execution provider really does what its recording says, and so does ours.

Needs ``onnxruntime-azure==1.15.0``, in an environment of its own; everything else that is known of
the original is tested with the recording, in ``test_recorded.py``.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from hybridmodel import azure_ep
from hybridmodel.serving import TritonServer
from tests.support import models
from tests.support.azure_ep_cases import DEFECTS, Case, older, outcome, served_cases
from tests.support.azure_ep_driver import run_case
from tests.support.original_ep import (
    Original,
    ask_triton,
    cases,
    observe_original,
    read_recording,
    result_differences,
    shortened,
)

HERE = (platform.system(), platform.machine(), sys.version_info[:2])
NEEDED = ("Linux", "x86_64", (3, 11))

pytestmark = pytest.mark.skipif(HERE != NEEDED, reason="the wheel of 1.15.0 needs another system")


@pytest.fixture(scope="module")
def original() -> Iterator[Original]:
    """Start the process of the original."""
    with Original() as process:
        yield process


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_the_recording_is_what_the_original_does(original: Original, case: Case) -> None:
    """Each recorded request, outcome and printed line is seen again."""
    seen = shortened(observe_original(original, case))
    expected = read_recording()[case.name]
    if case.name == "4 bytes for 8":  # The rest of its output is memory that nobody has written.
        for observation in (seen, expected):
            del observation["outcome"]["outputs"][0]["data"]
    assert seen == expected


@pytest.mark.parametrize("case", served_cases(), ids=lambda case: case.name)
def test_a_real_triton_gives_both_the_same(
    original: Original, triton: TritonServer, case: Case
) -> None:
    """What a real server answers comes out of both to the bit."""
    theirs, ours = ask_triton(original, case, triton.uri)
    assert "outputs" in theirs["outcome"]
    assert result_differences(theirs, ours) == []


def test_two_inputs_at_a_real_triton(original: Original, triton: TritonServer) -> None:
    """The original swaps the inputs, which a real server refuses; ours are bound by name."""
    feeds = {"a": np.ones((2, 2), "<f4"), "b": np.array([[3], [4]])}
    entries = {"azure.model_name": "two_inputs"}
    case = Case("two_inputs", older(models.two_inputs()), feeds, entries=entries)
    theirs, ours = ask_triton(original, case, triton.uri)
    assert outcome(theirs) == "Fail"
    assert "input 'b' data-type is 'FP32'" in theirs["outcome"]["message"]
    assert outcome(ours) == "[[4, 4], [5, 5]]"


def test_one_output_at_a_real_triton(original: Original, triton: TritonServer) -> None:
    """The original gives all outputs where one was asked for; ours that one."""
    feeds = {"x": np.array([[1, 2, 3]], "<f4")}
    case = Case(
        "two_outputs",
        older(models.two_outputs()),
        feeds,
        ["double"],
        entries={"azure.model_name": "two_outputs"},
    )
    theirs, ours = ask_triton(original, case, triton.uri)
    assert outcome(theirs) == "[[6]] [[2, 4, 6]]"
    assert outcome(ours) == "[[2, 4, 6]]"


def test_a_hanging_original_is_ended(original: Original) -> None:
    """After a run that never ends the next one is answered, by another process."""
    zero_rows = next(defect.case for defect in DEFECTS if defect.number == "4")
    assert observe_original(original, zero_rows)["outcome"] is None
    assert observe_original(original, cases()[0])["outcome"] is not None


def test_both_are_driven_by_the_same_code() -> None:
    """A user's script runs with ours where onnxruntime stood: the driver knows no difference."""
    case = next(case for case in cases() if case.name == "use_azure 0")
    import onnxruntime

    theirs, ours = (
        run_case(ort, case.to_json("http://127.0.0.1:1")) for ort in (onnxruntime, azure_ep)
    )
    assert theirs == ours
