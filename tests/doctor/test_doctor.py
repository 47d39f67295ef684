"""``hybridmodel doctor``: what it says, and that it tries what it says once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

from hybridmodel.cli.doctor import describe
from hybridmodel.doctor import Probe, examine
from tests.support.doctor_tools import (
    OLD,
    OLD_FILES,
    SECRET,
    TRIED,
    as_json,
    copy_old_style,
    doctor,
    look,
)


@pytest.fixture
def old_style(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy the scripts, and let the one that makes a graph make it beside them."""
    (tmp_path / "old").mkdir()
    monkeypatch.chdir(tmp_path / "old")
    copy_old_style(tmp_path / "old")
    monkeypatch.chdir(tmp_path)
    return Path("old")


def test_old_style(old_style: Path) -> None:
    """Three old scripts and an old graph: each finding has its place, and nothing else is found."""
    found = as_json(old_style, status=1)["findings"]
    assert [(f["path"], f["line"], f["node"], f["kind"], f["name"]) for f in found] == [
        ("old/hybrid.onnx", None, "node without a name, for 'Y'", "node", "AzureTritonInvoker"),
        ("old/make_hybrid.py", 11, None, "builder", "AzureTritonInvoker"),
        ("old/score.py", 9, None, "session-entry", "azure.endpoint_type"),
        ("old/score.py", 10, None, "session-entry", "azure.uri"),
        ("old/score.py", 11, None, "session-entry", "azure.model_name"),
        ("old/score.py", 12, None, "session-entry", "azure.model_version"),
        ("old/score.py", 15, None, "provider", "azureExecutionProvider"),
        ("old/score.py", 19, None, "run-entry", "use_azure"),
        ("old/score.py", 20, None, "run-entry", "azure.auth_key"),
        ("old/service.py", 5, None, "provider", "CloudExecutionProvider"),
        ("old/service.py", 7, None, "session-entry", "cloud.endpoint_type"),
        ("old/service.py", 8, None, "session-entry", "cloud.uri"),
        ("old/service.py", 9, None, "session-entry", "cloud.model_name"),
        ("old/service.py", 11, None, "run-entry", "use_cloud"),
        ("old/service.py", 27, None, "run-entry", "cloud.auth_key"),
        ("old/service.py", 27, None, "auth-key", "cloud.auth_key"),
    ]


def test_the_change_is_all_that_is_needed(old_style: Path) -> None:
    """With the advised import, nothing is left to find but the key that is written out."""
    for name, left in (("score.py", []), ("service.py", ["auth-key"])):
        path = old_style / name
        entry = next(f for f in look(path).findings if f.kind == "run-entry")
        _, new, _, old, _ = entry.change.split("`")
        path.write_text(path.read_text().replace(old, new))
        assert [finding.kind for finding in look(path).findings] == left


def test_what_people_read(old_style: Path) -> None:
    """People get each file's findings with what happens today and what to do, wrapped in lines."""
    said = doctor(old_style, status=1).stdout
    for text in (
        "old/score.py\n  line 9: session entry 'azure.endpoint_type'\n",
        f"    today   onnxruntime {onnxruntime.__version__} takes these entries and computes",
        "    change  write `import hybridmodel.azure_ep as ort` in place of",
        "HybridOnnxModel(file, endpoint=TritonEndpoint(\n                uri='https://digits.",
        "\n16 findings in 4 files\n",
        "\n4 files read\n",
    ):
        assert text in said
    assert max(map(len, said.splitlines()[:-2])) <= 120
    assert SECRET not in said


def test_what_machines_read(old_style: Path) -> None:
    """JSON holds the findings, what was tried, and what was read and skipped."""
    Path("old/broken.py").write_text("print 'x'")
    Path("old/.venv").mkdir()
    said = as_json(old_style)
    assert sorted(said) == [
        "files_read", "files_skipped", "findings", "folders_skipped", "probe",
    ]  # fmt: skip
    assert said["files_read"] == OLD_FILES
    assert said["files_skipped"][0]["path"] == "old/broken.py"
    assert "cannot be read as Python" in said["files_skipped"][0]["reason"]
    assert said["folders_skipped"] == [{"path": "old/.venv", "reason": "not the user's own code"}]
    assert said["probe"]["version"] == onnxruntime.__version__
    assert said["findings"][0]["endpoint"]["model_version"] is None
    assert "does not load a graph with it" in said["findings"][0]["today"]


def test_nothing_found(tmp_path: Path) -> None:
    """Where nothing is found, nothing is tried, and the status is 0."""
    (tmp_path / "a.py").write_text("x = 1")
    assert doctor(tmp_path, status=0).stdout == "0 findings in 0 files\n1 file read\n"
    said = as_json(tmp_path, status=0)
    assert (said["findings"], said["probe"]) == ([], None)


def test_it_is_the_same_each_time(old_style: Path) -> None:
    """Two runs say the same, to the letter."""
    assert doctor(old_style).output == doctor(old_style).output


def test_help_tells_exit_statuses() -> None:
    """The help says what the exit statuses mean."""
    assert "Exit status: 0 " in doctor("--help", status=0).stdout


def test_what_is_only_possible(tmp_path: Path) -> None:
    """A finding that is only possible is marked, explained, and counts."""
    (tmp_path / "a.py").write_text("AZURE = 'AzureExecutionProvider'")
    said = doctor(tmp_path, status=1).stdout
    assert "line 1: execution provider 'AzureExecutionProvider' (possible)\n" in said
    assert "\npossible: nothing in the file shows" in said


def test_a_failed_probe_is_told(old_style: Path) -> None:
    """People are told that nothing could be tried, once and at each finding."""
    lines = list(describe(examine([old_style], lambda: Probe("there is no onnxruntime"))))
    assert "there is no onnxruntime" in lines
    assert "    today   not known: there is no onnxruntime" in lines


@pytest.mark.parametrize("words", [[], ["missing"], [".", "mis\x1bsing"], ["a\0b"], ["--jsn", "."]])
def test_wrong_usage(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that is not there, or none, is an error of one line."""
    monkeypatch.chdir(tmp_path)
    result = doctor(*words, status=2)
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_heavy_libraries_are_not_imported(tmp_path: Path) -> None:
    """Reading imports none of the libraries that take long, not even onnxruntime."""
    (tmp_path / "a.py").write_text("x = 1")
    code = (
        "import sys; from hybridmodel.cli.program import program; "
        f"program.main(['doctor', {str(tmp_path)!r}], prog_name='x')"
    )
    report = (
        "import atexit, sys; atexit.register(lambda: print({'pandas', 'mlflow', 'onnxruntime', "
        "'requests', 'onnx', 'pyarrow'} & set(sys.modules))); "
    )
    done = subprocess.run([sys.executable, "-c", report + code], capture_output=True, text=True)
    assert done.stdout.endswith("1 file read\nset()\n"), done.stderr


def test_one_probe_for_all(old_style: Path) -> None:
    """However much is found, it is tried once."""
    calls = []

    def try_out() -> Probe:
        calls.append(1)
        return TRIED

    assert len(examine([old_style], try_out).findings) == 16
    assert len(calls) == 1


def test_files_without_a_known_name(old_style: Path) -> None:
    """A file that is named is read by what it holds, when its name does not say."""
    Path("script").write_text("#!/usr/bin/env python\n" + OLD)
    Path("book").write_text(json.dumps({"cells": [{"cell_type": "code", "source": OLD}]}))
    Path("graph").write_bytes((old_style / "hybrid.onnx").read_bytes())
    report = look(Path("script"), Path("book"), Path("graph"))
    assert [finding.kind for finding in report.findings] == ["run-entry", "run-entry", "node"]
    assert list(look(Path()).files_read) == OLD_FILES
