"""scikit-learn's own checks of an estimator, as far as they can apply to one trained already."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import cache
from typing import Any

import pytest
import sklearn
import sklearn.utils.estimator_checks as all_checks
from sklearn.utils.estimator_checks import check_estimator

from hybridmodel import HybridOnnxModel
from hybridmodel.sklearn import HybridClassifier, HybridRegressor
from tests.support.paths import ROOT
from tests.support.sklearn_models import any_width_classifier, any_width_regressor

KINDS = {
    "classifier": (HybridClassifier, any_width_classifier),
    "regressor": (HybridRegressor, any_width_regressor),
}
PAGE = (ROOT / "docs" / "sklearn.md").read_text().partition("## scikit-learn's own checks")[2]
ROW = re.compile(r"^\| (.*check_.*) \| (both|classifier|regressor) \| \S.+ \|$", re.MULTILINE)
NAME = re.compile(r"`(check_\w+)`")


def left_out(kind: str) -> set[str]:
    """Return the checks that the table of the page gives a reason for."""
    rows = [cell for cell, whom in ROW.findall(PAGE) if whom in (kind, "both")]
    return {name for cell in rows for name in NAME.findall(cell)}


def estimator(kind: str) -> Any:
    """Make an estimator of one kind, which takes as many columns as a check has."""
    made, graph = KINDS[kind]
    return made(HybridOnnxModel(graph()))


@cache
def statuses(kind: str) -> dict[str, set[str]]:
    """Run all checks and return how each of them ended, by its name."""
    found: dict[str, set[str]] = {}
    for item in check_estimator(estimator(kind), on_fail=None, on_skip=None):
        found.setdefault(item["check_name"], set()).add(item["status"])
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_every_check_passes_or_has_its_reason(kind: str) -> None:
    """All checks pass but those that the page gives a reason for, and none of these passes."""
    passed = {name for name, ended in statuses(kind).items() if ended == {"passed"}}
    assert statuses(kind).keys() - passed <= left_out(kind)
    assert not passed & left_out(kind)
    assert len(passed) > 40


def test_the_page_names_checks_that_there_are() -> None:
    """No name on the page is out of date, and those that pass are all there."""
    named = set(NAME.findall(PAGE))
    assert [name for name in named if not hasattr(all_checks, name)] == []
    (version,) = re.findall(r"scikit-learn (\d+\.\d+):", PAGE)
    if sklearn.__version__.startswith(f"{version}."):
        assert statuses("classifier").keys() | statuses("regressor").keys() <= named


def test_the_check_that_needs_a_variable_passes_with_it() -> None:
    """With SCIPY_ARRAY_API, which counts when scipy is imported, no check is skipped."""
    script = (
        "from sklearn.utils.estimator_checks import check_array_api_input as check\n"
        "from tests.sklearn.test_checks import KINDS, estimator\n"
        "for kind in KINDS:\n"
        "    check(kind, estimator(kind), 'numpy', expect_only_array_outputs=False)\n"
        "print('passed')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, "SCIPY_ARRAY_API": "1"},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "passed\n", done.stderr
