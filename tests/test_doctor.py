"""``hybridmodel doctor``: what it reads, what it says, and that it tries what it says."""

from __future__ import annotations

import json
import os
import platform
import runpy
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from hybridmodel.cli.doctor import describe
from hybridmodel.cli.program import program
from hybridmodel.doctor import Finding, Probe, Report, examine
from hybridmodel.doctor import probe as probing
from hybridmodel.doctor.dead_names import OPERATORS, PROVIDERS
from hybridmodel.doctor.records import shown
from hybridmodel.doctor.probe import Trial, probe
from hybridmodel.doctor.python_code import MOST_BYTES
from hybridmodel.doctor.today import today
from hybridmodel.serving.environments import environment
from tests.original_ep import REQUIREMENTS, VERSION
from tests.strategies import damaged, law

SCRIPTS = Path(__file__).parent / "old_style"
OLD = "options.add_run_config_entry('use_azure', '1')\n"
OLD_FILES = ["old/hybrid.onnx", "old/make_hybrid.py", "old/score.py", "old/service.py"]
RUN = [sys.executable, "-m", "hybridmodel", "doctor"]

WORKS = Trial(None, "")
TRIALS = [
    *("azure", "cloud"), *PROVIDERS, *OPERATORS, *(f"{name} with extensions" for name in OPERATORS),
]  # fmt: skip
TRIED = Probe(
    version="1.31.1",
    providers=("AzureExecutionProvider", "CPUExecutionProvider"),
    trials=dict.fromkeys(TRIALS, WORKS),
)


@pytest.fixture
def old_style(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy the scripts, and let the one that makes a graph make it beside them."""
    folder = Path(shutil.copytree(SCRIPTS, tmp_path / "old"))
    monkeypatch.chdir(folder)
    runpy.run_path("make_hybrid.py")
    monkeypatch.chdir(tmp_path)
    return Path("old")


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


def read_names(report: Report) -> list[str]:
    """Return the names of the files that were read."""
    return [Path(path).name for path in report.files_read]


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
    assert "0f3c9a61d2" not in said


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
    assert "    today   not known here: there is no onnxruntime" in lines


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


# What is read


def test_folders_in_order(tmp_path: Path) -> None:
    """Files come in the order of their names, those of a folder before those further in."""
    for name in ("b.py", "a/z.ipynb", "a/b/c.onnx", "c/a.PY", "a.py", "d.txt", "e.pyw", "a/x.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('{"cells": []}' if name.endswith("ipynb") else "x = 1")
    report = look(tmp_path)
    assert read_names(report) == ["a.py", "b.py", "e.pyw", "x.py", "z.ipynb", "a.PY"]
    assert [Path(skipped.path).name for skipped in report.files_skipped] == ["c.onnx"]


@pytest.mark.parametrize(
    "name",
    [".git", ".venv", "node_modules", "site-packages", "__pycache__", ".ipynb_checkpoints", "env"],
)
def test_folders_of_others(name: str, tmp_path: Path) -> None:
    """Folders with others' code are passed by and counted; one that is named is read wholly."""
    inner = tmp_path / name / "lib" / "site-packages"
    inner.mkdir(parents=True)
    (inner / "a.py").write_text(OLD)
    if name == "env":
        (tmp_path / name / "pyvenv.cfg").touch()
    report = look(tmp_path)
    assert (report.findings, len(report.folders_skipped)) == ((), 1)
    assert f"1 folder passed by: {name}" in list(describe(report))
    named = look(tmp_path / name) if name != "env" else look(inner)
    assert len(named.findings) == 1


def test_links_in_a_loop(tmp_path: Path) -> None:
    """Links to folders are not followed, and a link to itself is skipped."""
    (tmp_path / "a.py").write_text(OLD)
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "self.py").symlink_to(tmp_path / "self.py")
    (tmp_path / "gone.py").symlink_to(tmp_path / "nothing")
    report = look(tmp_path)
    assert len(report.findings) == 1
    assert [(Path(s.path).name, s.reason) for s in report.folders_skipped] == [("loop", "a link")]
    assert [Path(s.path).name for s in report.files_skipped] == ["gone.py", "self.py"]


def test_a_file_is_read_once(tmp_path: Path) -> None:
    """A file that is named twice, or linked, is read once."""
    (tmp_path / "a.py").write_text(OLD)
    (tmp_path / "b.py").symlink_to(tmp_path / "a.py")
    report = look(tmp_path, tmp_path / "a.py", tmp_path / "b.py", tmp_path / ".." / tmp_path.name)
    assert (len(report.findings), read_names(report)) == (1, ["a.py"])


@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX file system")
def test_what_is_no_file(tmp_path: Path) -> None:
    """Pipes and devices are neither opened nor waited for, not even when they are named."""
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "zeros.py").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket.py"))
    report = look(tmp_path, Path("/dev/zero"), tmp_path / "pipe.py")
    assert {s.reason for s in report.files_skipped} == {"is no regular file"}
    assert len(report.files_skipped) == 5


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read(tmp_path: Path) -> None:
    """A file and a folder without permission are skipped with the system's reason."""
    (tmp_path / "a.py").write_text(OLD)
    (tmp_path / "a.py").chmod(0)
    (tmp_path / "closed").mkdir(mode=0)
    report = look(tmp_path)
    assert "Permission denied" in report.files_skipped[0].reason
    assert "Permission denied" in report.folders_skipped[0].reason


def test_huge_files(tmp_path: Path) -> None:
    """A file of code larger than the limit is skipped, and one of the limit's size is read."""
    line = b"#" * (1 << 10) + b"\n"
    whole = line * (MOST_BYTES // len(line))
    (tmp_path / "a.py").write_bytes(whole.ljust(MOST_BYTES, b"#"))
    (tmp_path / "b.py").write_bytes(whole.ljust(MOST_BYTES + 1, b"#"))
    with (tmp_path / "c.ipynb").open("wb") as file:
        file.truncate(1 << 33)
    report = look(tmp_path)
    assert read_names(report) == ["a.py"]
    assert [s.reason for s in report.files_skipped] == [
        "is larger than 2 MiB", "is larger than 64 MiB",
    ]  # fmt: skip


CONTENTS = {
    "binary.py": bytes(range(256)),
    "null.py": b"\0",
    "empty.onnx": b"",
    "text.onnx": b"no model",
    "list.ipynb": b"[]",
    "half.ipynb": b'{"cells": [',
}


def test_bad_files(tmp_path: Path) -> None:
    """Files that are not what their names say are skipped, each with a reason."""
    for name, content in CONTENTS.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "empty.py").touch()
    report = look(tmp_path)
    assert read_names(report) == ["empty.py"]
    assert {Path(s.path).name for s in report.files_skipped} == CONTENTS.keys()
    assert all(s.reason for s in report.files_skipped)


def test_cells_that_cannot_be_read(tmp_path: Path) -> None:
    """A notebook with a bad cell is read, and said to be read in part."""
    cells = [{"cell_type": "code", "source": source} for source in ("x =", OLD)]
    (tmp_path / "a.ipynb").write_text(json.dumps({"cells": cells}))
    report = look(tmp_path)
    assert read_names(report) == ["a.ipynb"]
    assert report.findings[0].place == "cell 2, line 1"
    assert "is read in part: 1 of its cells: cell 1" in report.files_skipped[0].reason


def test_files_without_a_known_name(old_style: Path) -> None:
    """A file that is named is read by what it holds, when its name does not say."""
    Path("script").write_text("#!/usr/bin/env python\n" + OLD)
    Path("book").write_text(json.dumps({"cells": [{"cell_type": "code", "source": OLD}]}))
    Path("graph").write_bytes((old_style / "hybrid.onnx").read_bytes())
    report = look(Path("script"), Path("book"), Path("graph"))
    assert [finding.kind for finding in report.findings] == ["run-entry", "run-entry", "node"]
    assert list(look(Path()).files_read) == OLD_FILES


STRANGE = ["\x1b[31mred.py", "\u202egnp.py", "\x9b1m.py", "a\nb.py", "é.py", "\udcff.py"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs names that other systems refuse")
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_strange_names(encoding: str, tmp_path: Path) -> None:
    """Names of files control no terminal and break no output; JSON keeps them as they are."""
    for name in STRANGE:
        (tmp_path / name).write_text(OLD)
    environ = {**os.environ, "PYTHONIOENCODING": encoding, "LC_ALL": "C.UTF-8"}
    for options in ([], ["--json"]):
        command = [*RUN, *options, tmp_path]
        done = subprocess.run(command, capture_output=True, env=environ, check=False)
        assert (done.returncode, done.stderr) == (1, b"")
        text = done.stdout.decode(encoding)
        assert all(line.isprintable() for line in text.split("\n"))
    paths = {finding["path"] for finding in json.loads(text)["findings"]}
    assert paths == {str(tmp_path / name) for name in STRANGE}


def test_long_names(tmp_path: Path) -> None:
    """A long path is shown whole, so that it can be opened."""
    path = tmp_path / ("a" * 200) / ("b" * 200 + ".py")
    path.parent.mkdir()
    path.write_text(OLD)
    assert str(path) in list(describe(look(path)))


def test_many_skipped_files(tmp_path: Path) -> None:
    """Of many skipped files some are shown, and all are counted."""
    for number in range(30):
        (tmp_path / f"{number}.py").write_bytes(b"\0")
    said = doctor(tmp_path, status=0).stdout
    assert "30 files skipped, wholly or in part:" in said
    assert "and 10 more; --json names all" in said


def test_deep_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders nested deeper than a path may be long are passed by, and the rest is read."""
    monkeypatch.chdir(tmp_path)
    for _ in range(50):
        Path("x" * 100).mkdir()
        monkeypatch.chdir("x" * 100)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "y.py").write_text(OLD)
    report = look(tmp_path)
    assert len(report.findings) == 1
    assert "too long" in report.folders_skipped[0].reason
    shutil.rmtree("x" * 100, ignore_errors=True)


NOTEBOOK = json.dumps({"cells": [{"cell_type": "code", "source": ["%time x\n", OLD]}]}).encode()


@law
@given(
    st.sampled_from([".py", ".ipynb", ".onnx", ""]),
    st.binary() | damaged(OLD.encode()) | damaged(NOTEBOOK),
)
def test_no_bytes_break_it(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, data: bytes
) -> None:
    """Whatever is in a file, there is a report that can be printed and sent."""
    path = tmp_path_factory.mktemp("law") / f"file{suffix}"
    path.write_bytes(data)
    report = look(path)
    assert all(line.isprintable() for line in describe(report))
    json.dumps(report.to_dict(), allow_nan=False)
    assert len(report.files_read) + len(report.files_skipped) >= 1


@given(st.text(st.characters()))
def test_what_is_shown_can_be_printed(text: str) -> None:
    """Any text is shown without control characters, in no more than its room."""
    assert shown(text).isprintable()
    assert shown("ab") == "ab"


# What is tried


def test_the_probe_says_what_onnxruntime_does() -> None:
    """What the child process saw is what a session does in this one."""
    tried = probe()
    options, run_options = onnxruntime.SessionOptions(), onnxruntime.RunOptions()
    options.add_session_config_entry("azure.uri", "http://127.0.0.1:9")
    run_options.add_run_config_entry("use_azure", "1")
    session = onnxruntime.InferenceSession(
        probing._identity(), options, providers=["AzureExecutionProvider", "CPUExecutionProvider"]
    )
    (answer,) = session.run(None, {"x": np.ones(1, np.float32)}, run_options)
    assert answer.tolist() == [1.0]
    assert tried.trials["azure"] == tried.trials["cloud"] == WORKS
    assert tried.trials["AzureExecutionProvider"] == WORKS
    assert tried.version == onnxruntime.__version__
    assert list(tried.providers) == onnxruntime.get_available_providers()
    for operator in OPERATORS:
        assert f"{operator}(-1) is not a registered" in str(tried.trials[operator].error)
    for name in ("azureExecutionProvider", "CloudExecutionProvider"):
        trial = tried.trials[name]
        assert trial.error is None
        assert name in trial.said


def test_the_models_of_the_probe() -> None:
    """What is tried are ONNX models, as the onnx package reads them."""
    onnx.checker.check_model(onnx.load_from_string(probing._identity()))
    model = onnx.load_from_string(probing._with_operator("AzureTritonInvoker"))
    (node,) = model.graph.node
    assert (node.domain, node.op_type) == ("com.microsoft.extensions", "AzureTritonInvoker")
    assert onnx.helper.get_node_attr_value(node, "model_uri") == b"http://127.0.0.1:9"


@pytest.mark.skipif(
    (platform.system(), platform.machine(), sys.version_info[:2]) != ("Linux", "x86_64", (3, 11)),
    reason="the wheel of onnxruntime-azure 1.15.0 needs another system",
)
def test_an_onnxruntime_that_still_asks_the_endpoint() -> None:
    """With the last release that had the provider, the doctor does not say that it is dead."""
    folder = environment(f"onnxruntime-azure-{VERSION}", REQUIREMENTS)
    tried = probe([str(folder / "bin" / "python"), "-W", "default"])
    said = today(Finding(kind="session-entry", name="azure.uri", change=""), tried)
    assert said.startswith("onnxruntime 1.15.0 may still have the provider")
    assert "Triton client failed" in said


FAILURES: dict[str, tuple[Sequence[str], str]] = {
    "no onnxruntime": ([sys.executable, "-I", "-S"], "No module named 'onnxruntime'"),
    "an end without a word": ([sys.executable, "-c", "import os; os.abort()"], "ended with status"),
    "an answer that is none": ([sys.executable, "-c", "print('[]')"], "ended with status 0"),
    "a name without a program": (["/nowhere/python"], "did not start"),
    "no end": ([sys.executable, "-c", "import time; time.sleep(60)"], "did not end within 1 s"),
}


@pytest.mark.parametrize(("command", "reason"), FAILURES.values(), ids=FAILURES)
def test_a_probe_that_fails(command: Sequence[str], reason: str) -> None:
    """Where nothing could be tried within the time, that is said, and nothing is assumed."""
    started = time.monotonic()
    tried = probe(command, deadline_s=1)
    assert time.monotonic() - started < 20
    assert reason in str(tried.failure)
    said = today(Finding(kind="run-entry", name="use_azure", change=""), tried)
    assert said.startswith("not known here: ")


def test_no_room_for_a_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a folder for temporary files nothing is tried, and that is said."""
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    assert probe().failure == "trying onnxruntime did not start: No such file or directory"


@pytest.fixture
def pretended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Put a module in the place of onnxruntime, for child processes only."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    (tmp_path / "path").mkdir()
    return tmp_path / "path" / "onnxruntime.py"


def test_an_onnxruntime_that_is_too_old(pretended: Path) -> None:
    """An onnxruntime without entries is said to be too old, whatever else it prints."""
    pretended.write_text(
        "__version__ = '1.2.0'\nprint('welcome')\n"
        "class SessionOptions: pass\nclass RunOptions: pass\n"
        "def get_available_providers(): return ['CPUExecutionProvider']\n"
    )
    tried = probe()
    assert tried.failure is None
    said = today(Finding(kind="run-entry", name="use_azure", change=""), tried)
    assert said.startswith("onnxruntime 1.2.0 is too old to know such entries: AttributeError")


def test_code_beside_the_files_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module named onnxruntime in the folder that is read, and run from, is not imported."""
    for name in ("onnxruntime", "numpy", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n{OLD}")
    command = [str(Path(sys.executable).with_name("hybridmodel")), "doctor", "--json", "."]
    done = subprocess.run(command, capture_output=True, cwd=tmp_path, check=False)
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["probe"]["version"] == onnxruntime.__version__
    assert not (tmp_path / "ran").exists()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", ".")
    assert probe().version == onnxruntime.__version__
    assert not (tmp_path / "ran").exists()


def test_one_probe_for_all(old_style: Path) -> None:
    """However much is found, it is tried once."""
    calls = []

    def try_out() -> Probe:
        calls.append(1)
        return TRIED

    assert len(examine([old_style], try_out).findings) == 16
    assert len(calls) == 1


def tried_with(**trials: Trial) -> Probe:
    """Return a probe with other trials."""
    return Probe(
        version="1.31.1",
        providers=TRIED.providers,
        extensions="0.14.0" if "extended" in trials else None,
        trials={
            **TRIED.trials,
            **trials,
            "AzureTritonInvoker with extensions": trials.get("extended", WORKS),
        },
    )


FAILED = Trial("Fail: a\nreason\x1b", "")
SAID = Trial(None, "a\nwarning\x1b")
TAKES = "onnxruntime 1.31.1 takes these entries and computes locally,"
REFUSES = (
    "onnxruntime 1.31.1 does not load a graph with it: Fail: a reason\\x1b; with "
    "onnxruntime-extensions 0.14.0"
)
SENTENCES: dict[str, tuple[tuple[Any, str], dict[str, Trial], str]] = {
    "entries": (
        ("run-entry", "use_azure"),
        {},
        f"{TAKES} without a word (tried with use_azure=1)",
    ),
    "entries with a warning": (
        ("session-entry", "cloud.uri"),
        {"cloud": SAID},
        f"{TAKES} and says: a warning\\x1b (tried with use_cloud=1)",
    ),
    "a listed provider": (
        ("provider", "AzureExecutionProvider"),
        {},
        "onnxruntime 1.31.1 lists it, and computes locally, without a word",
    ),
    "another case": (
        ("provider", "AZUREEXECUTIONPROVIDER"),
        {"azureExecutionProvider": SAID},
        "onnxruntime 1.31.1 does not list it, and computes locally, after a warning",
    ),
    "a refused provider": (
        ("provider", "CloudExecutionProvider"),
        {"CloudExecutionProvider": FAILED},
        "onnxruntime 1.31.1 does not list it, and fails: Fail: a reason\\x1b",
    ),
    "a known operator": (
        ("node", "AzureTritonInvoker"),
        {},
        "onnxruntime 1.31.1 loads a graph with it",
    ),
    "an operator of the extensions": (
        ("builder", "AzureTritonInvoker"),
        {"AzureTritonInvoker": FAILED, "extended": WORKS},
        f"{REFUSES} it loads it",
    ),
    "an operator that the extensions have not got": (
        ("node", "AzureTritonInvoker"),
        {"AzureTritonInvoker": FAILED, "extended": FAILED},
        f"{REFUSES} it does not: Fail: a reason\\x1b",
    ),
    "a key": (("auth-key", "azure.auth_key"), {}, "whoever reads the file has the key"),
}


@pytest.mark.parametrize(("found", "trials", "said"), SENTENCES.values(), ids=SENTENCES)
def test_sentences(found: tuple[Any, str], trials: dict[str, Trial], said: str) -> None:
    """What happens today is told by what was seen, in one line that can be printed."""
    finding = Finding(kind=found[0], name=found[1], change="")
    assert today(finding, tried_with(**trials)) == said
