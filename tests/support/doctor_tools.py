"""What the tests of the doctor share: old code, and ways to ask it."""

from __future__ import annotations

import json
import runpy
import shutil
import textwrap
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from hybridmodel.cli.program import program
from hybridmodel.doctor import Finding, Probe, Report, examine
from hybridmodel.doctor.dead_names import OPERATORS, PREFIXES, PROVIDERS
from hybridmodel.doctor.probe import Trial
from hybridmodel.doctor.python_code import find_in_source
from tests.support.paths import ROOT

SECRET = "0f3c9a61d2"
OLD = "o.add_run_config_entry('use_azure', '1')"
OLD_FILES = ["old/hybrid.onnx", "old/make_hybrid.py", "old/score.py", "old/service.py"]

WORKS = Trial(None, "")
TRIED = Probe(
    version="1.31.1",
    providers=("AzureExecutionProvider", "CPUExecutionProvider"),
    trials=dict.fromkeys([*PREFIXES, *PROVIDERS, *OPERATORS], WORKS),
)


Row = tuple[int | None, str, str]


def copy_old_style(folder: Path) -> None:
    """Copy the old scripts, and let the one that makes a graph make it in the current folder."""
    shutil.copytree(ROOT / "tests" / "old_style", folder, dirs_exist_ok=True)
    runpy.run_path("make_hybrid.py")


def doctor(*words: object, status: int | None = None) -> Result:
    """Run the command in this process, and check what holds for every output."""
    result = CliRunner().invoke(program, ["doctor", *map(str, words)])
    assert result.exit_code in ((0, 1, 2) if status is None else (status,)), result.output
    assert all(line.isprintable() for line in result.output.split("\n"))
    return result


def as_json(*words: object, status: int | None = None) -> dict[str, Any]:
    """Return what the command says to machines."""
    said: dict[str, Any] = json.loads(doctor(*words, "--json", status=status).stdout)
    return said


def look(*paths: Path) -> Report:
    """Examine without trying anything."""
    return examine(paths, lambda: TRIED)


def found(code: str) -> list[Row]:
    """Return line, kind and name of each finding in code."""
    return [row_of(finding) for finding in find_in_source(textwrap.dedent(code).encode())]


def row_of(finding: Finding) -> Row:
    """Return what a table compares; a finding that is only possible has a question mark."""
    doubt = "?" if finding.level == "possible" else ""
    return (finding.line, finding.kind, finding.name + doubt)


def session(line: int, name: str) -> Row:
    """Return the row of a session entry."""
    return (line, "session-entry", name)


def run(line: int, name: str) -> Row:
    """Return the row of a run entry."""
    return (line, "run-entry", name)


def provider(line: int, name: str = "AzureExecutionProvider") -> Row:
    """Return the row of a provider."""
    return (line, "provider", name)
