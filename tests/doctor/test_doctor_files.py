"""The doctor reads what it should, in a fixed order, and says what it did not read."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridmodel.checks import printable
from hybridmodel.cli.doctor import describe
from hybridmodel.doctor import Report
from hybridmodel.doctor.python_code import MOST_BYTES
from tests.support.doctor_tools import OLD, doctor, look
from tests.support.strategies import damaged, law

RUN = [sys.executable, "-m", "hybridmodel", "doctor"]


def read_names(report: Report) -> list[str]:
    """Return the names of the files that were read."""
    return [Path(path).name for path in report.files_read]


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
    assert {s.reason for s in report.files_skipped} == {"is not a regular file"}
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
    assert printable(text).isprintable()
    assert printable("ab") == "ab"
