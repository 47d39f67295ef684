"""The other type checker: pyright, which editors run."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(
    shutil.which("node") is None or importlib.util.find_spec("pyright") is None,
    reason="pyright needs node on the path",
)
def test_an_editor_sees_the_types_of_calls() -> None:
    """Pyright agrees with every type in this folder, and finds every mistake that is marked."""
    ran = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout, ran.stderr
    found = json.loads(ran.stdout)
    errors = [
        f"{item['file']}:{item['range']['start']['line'] + 1}: {item['message']}"
        for item in found["generalDiagnostics"]
        if item["severity"] == "error"
    ]
    assert errors == []
    assert found["summary"]["filesAnalyzed"] >= 2
