"""The benchmark page: made of stored results, and of nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT

BENCHMARKS = ROOT / "benchmarks"
RESULTS = sorted((ROOT / "docs" / "benchmarks" / "results").glob("*.json"))


def run(script: str, *arguments: str) -> str:
    """Run a script of the benchmarks and return what it printed."""
    command = [sys.executable, str(BENCHMARKS / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_pages_are_what_the_results_give() -> None:
    """No figure on docs/benchmarks, in README's block or in that of docs/spark.md is typed."""
    assert run("page.py", "--check") == ""


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_results_have_one_form(path: Path) -> None:
    """Every result says when, where and of what it is, and its pictures are there."""
    found = json.loads(path.read_text())
    assert found["schema"] == 1
    assert found["name"] == path.stem
    assert found["date"].endswith("UTC")
    assert found["machine"].keys() == {"processor", "cores", "system", "load"}
    assert found["versions"]["python"]
    assert all(len(row) == len(item["head"]) for item in found["tables"] for row in item["rows"])
    assert all(ratio["of_theirs"] > 0 for ratio in found["ratios"])
    assert all(aim.keys() == {"text", "measured", "met"} for aim in found["aims"])
    for plot in found["plots"]:
        assert (ROOT / "docs" / "benchmarks" / plot).is_file()


def test_the_simulation_gives_what_is_stored(tmp_path: Path) -> None:
    """The figures of docs/spark.md come out the same again, to the last digit."""
    run("spark_limits.py", "--json", str(tmp_path / "found.json"))
    again, stored = (
        json.loads(path.read_text())
        for path in (
            tmp_path / "found.json",
            ROOT / "docs" / "benchmarks" / "results" / "spark_limits.json",
        )
    )
    assert parts(again) == parts(stored)


def parts(found: dict[str, Any]) -> list[Any]:
    """Return what does not depend on the day."""
    return [found[name] for name in ("tables", "aims", "data")]
