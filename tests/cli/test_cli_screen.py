"""What a person sees of the command line: a terminal, signals, and models given as plain files."""

from __future__ import annotations

import json
import logging
import os
import re
import select
import signal
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from hybridmodel import HybridOnnxModel, save_model
from hybridmodel.cli.endings import SIGNALS, Terminated, ended_by_signals
from hybridmodel.cli.errors import exit_status
from hybridmodel.cli.options import named_model
from hybridmodel.cli.program import program
from hybridmodel.cli.progress import progress, say, warnings_in_lines
from hybridmodel.serving import serve
from tests.support import models

pty = pytest.importorskip("pty", reason="a pseudo-terminal is POSIX only")
termios = pytest.importorskip("termios", reason="a pseudo-terminal is POSIX only")

COLUMNS = ["a", "b", "c", "d"]
RUN = [sys.executable, "-m", "hybridmodel"]
Cli = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder with a model, its ONNX file and rows, and go there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "linear.onnx").write_bytes(models.linear())
    save_model(HybridOnnxModel("linear.onnx", feature_names=COLUMNS), tmp_path / "model")
    save_model(HybridOnnxModel(models.linear(4, 1), feature_names=COLUMNS), tmp_path / "one")
    values = np.random.default_rng(7).normal(size=(3000, 4)).astype(np.float32)
    pd.DataFrame(values, columns=COLUMNS).to_csv("rows.csv", index=False)
    return tmp_path


@pytest.fixture
def cli(folder: Path) -> Cli:
    """Run a command in `folder`."""

    def run(*args: object, status: int = 0) -> Result:
        result = CliRunner().invoke(program, list(map(str, args)))
        assert result.exit_code == status, result.output
        return result

    return run


def on_terminal(words: list[str], stdout: int | None = None) -> tuple[str, int]:
    """Run a command whose stderr, and stdout unless it is given, is one terminal."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    with subprocess.Popen(
        [*RUN, *words],
        stdout=theirs if stdout is None else stdout,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        written = b""
        while select.select([ours], [], [], 60)[0]:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # What Linux says when the other side is closed.
                break
            if not piece:
                break
            written += piece
    os.close(ours)
    return written.decode(), process.returncode


def screen(written: str) -> list[str]:
    """Return the lines that stay on a terminal, where a carriage return goes back to overwrite."""
    shown = []
    for line in re.sub(r"\x1b\[[0-9;]*[A-Z]", "", written).replace("\r\n", "\n").split("\n"):
        cells: list[str] = []
        for part in line.split("\r"):
            cells[: len(part)] = part
        shown.append("".join(cells).rstrip())
    return shown


SMALL = ["model", "rows.csv", "--batch-rows", "100"]


@pytest.mark.parametrize("target", [None, "out.csv"])
def test_the_bar_and_the_answers_do_not_mix(folder: Path, target: str | None) -> None:
    """On a terminal every line is either answers or a message, whether a bar was drawn or not."""
    words = ["predict", *SMALL, *([] if target is None else ["-o", target])]
    written, status = on_terminal(words)
    assert status == 0
    assert ("rows/s" in written) == (target is not None)
    lines = [line for line in screen(written) if line]
    assert lines[-1] == "3000 rows answered by the local model"
    answers = lines[:-1]
    plain = subprocess.run([*RUN, "predict", *SMALL], capture_output=True, text=True, check=True)
    assert answers == ([] if target else plain.stdout.splitlines())


def test_the_bar_is_drawn_where_answers_go_to_a_file(folder: Path) -> None:
    """A file on stdout takes the answers, and the terminal the bar; a pipe may lead to it too."""
    with (folder / "out.csv").open("wb") as file:
        written, _ = on_terminal(["predict", *SMALL], file.fileno())
    assert "rows/s" in written
    assert "y_0" not in written
    end, start = os.pipe()
    os.set_blocking(start, True)
    written, _ = on_terminal(["predict", "model", "rows.csv", "--batch-rows", "9", "-o", "x.csv"])
    assert "rows/s" in written
    head = subprocess.Popen(["cat"], stdin=end, stdout=subprocess.DEVNULL)
    os.close(end)
    written, _ = on_terminal(["predict", *SMALL], start)
    os.close(start)
    head.wait()
    assert "rows/s" not in written


def test_an_error_on_a_terminal_has_its_own_line(folder: Path) -> None:
    """After a bar was drawn an error begins a line of its own, and no bar is left."""
    with (folder / "rows.csv").open("a") as file:
        file.write("1,2,3,oops\n")
    written, status = on_terminal(["predict", *SMALL, "-o", "out.csv"])
    (line,) = [line for line in screen(written) if line]
    assert line.startswith("Error: rows.csv, line 3002 (row 3000, from 0), column 'd': 'oops' is")
    assert status == 2


def test_warnings_stand_above_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said while a bar is drawn gets a line of its own."""
    import io

    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    shown = Screen()
    monkeypatch.setattr(sys, "stderr", shown)
    with progress(3) as advance:
        advance(1)
        say("Warning: mind the step")
        advance(1)
    assert "Warning: mind the step" in screen(shown.getvalue())


def test_warnings_are_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    """Warnings and log lines of the package are one line each, without passwords in addresses."""
    before = logging.getLogger("hybridmodel").handlers[:]
    with warnings_in_lines():
        code = "import warnings; warnings.warn('one\\ntwo https://me:secret@host/x')"
        exec(code, {"__name__": "hybridmodel.anything"})
        logging.getLogger("hybridmodel.remote").warning("three %d", 4)
        logging.getLogger("hybridmodel").info("not this")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == "Warning: one two https://***@host/x\nWarning: three 4\n"
    assert logging.getLogger("hybridmodel").handlers == before
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.warn("as before", stacklevel=1)
    assert len(caught) == 1


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("command", ["predict", "report", "calibrate"])
def test_a_signal_ends_as_ctrl_c_does(folder: Path, number: int, command: str) -> None:
    """SIGTERM and SIGHUP leave no part of a file, say nothing, and give 128 and their number."""
    before = {path.name for path in folder.iterdir()} - {"__pycache__"}
    target = {"predict": "out.csv", "report": "out.html", "calibrate": "out.json"}[command]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        settings = (
            f"uri=http://127.0.0.1:{listener.getsockname()[1]}", "model_name=m", "auth_key_env=",
        )  # fmt: skip
        words = [command, "one", "rows.csv", "-o", target]
        words += [word for setting in settings for word in ("--model-config", setting)]
        words += {"predict": ["--use-azure"], "calibrate": ["--epsilon", "0.1", "--answer", "y",
                  "--tolerance", "1", "--score", "uncertainty:y"]}.get(command, [])  # fmt: skip
        if command == "report":
            words += ["--answer", "y", "--tolerance", "1", "--score", "uncertainty:y"]
        with subprocess.Popen([*RUN, *words], stderr=subprocess.PIPE, text=True) as process:
            listener.settimeout(60)
            connection, _ = listener.accept()
            with connection:
                connection.recv(100)
                assert process.stderr
                process.send_signal(number)
                assert process.stderr.read() == ""
    assert process.returncode == 128 + number
    assert {path.name for path in folder.iterdir()} - {"__pycache__"} == before


def test_a_signal_that_is_ignored_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under nohup a command goes on when the terminal closes, and handlers are put back."""
    before = signal.getsignal(signal.SIGHUP)
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with ended_by_signals():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    with pytest.raises(Terminated), ended_by_signals():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_second_signal_does_not_disturb_the_tidying() -> None:
    """Once a command ends, further signals are ignored until it has ended."""
    done = []

    def run() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGHUP)
            done.append("tidied")

    assert exit_status(run) == 143
    assert done == ["tidied"]


def test_inspect_takes_files_and_several(cli: Cli) -> None:
    """Inspect shows plain ONNX files and saved models, one after the other, with their names."""
    shown = cli("inspect", "linear.onnx", "big=model").stdout
    assert shown.count("sha256") == 2
    assert "name       big\nmodel      model\n" in shown
    first, second = json.loads(cli("inspect", "linear.onnx", "big=model", "--json").stdout)
    assert (first["model_uri"], second["name"]) == ("linear.onnx", "big")
    assert first["sha256"] == second["sha256"]
    assert json.loads(cli("inspect", "linear.onnx", "--json").stdout) == first


def test_other_commands_take_files_too(cli: Cli) -> None:
    """A plain ONNX file answers locally, and remotely with an address on the command line."""
    expected = cli("predict", "model", "rows.csv").stdout
    assert cli("predict", "linear.onnx", "rows.csv").stdout == expected
    with serve({"linear": models.linear()}) as server:
        there = ("--model-config", f"uri={server.uri}", "--model-config", "auth_key_env=")
        cli("compare", "linear.onnx", "rows.csv", *there)
        cli("ping", "linear.onnx", *there)
    missing = cli("ping", "linear.onnx", "--model-config", "model_name=m", status=2)
    assert "--model-config uri=" in missing.stderr
    assert (
        "has no key 'key'"
        in cli("inspect", "linear.onnx", "--model-config", "key=x", status=2).stderr
    )


def test_serve_takes_files_and_several(folder: Path) -> None:
    """Serve offers every model that is given under its name, and says how each is asked."""
    words = ["serve", "linear.onnx", "other=model", "--port", "0"]
    with subprocess.Popen(
        [*RUN, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stderr
        lines = [process.stdout.readline().strip() for _ in range(6)]
        urls = [line.split()[1] for line in lines[::3]]
        assert [url.split("/models/")[1] for url in urls] == [
            "linear/versions/1",
            "other/versions/1",
        ]
        for curl, ping in (lines[1:3], lines[4:6]):
            answer = subprocess.run(curl, shell=True, capture_output=True, check=True, text=True)
            assert json.loads(answer.stdout)["outputs"][0]["name"] == "y"
            result = CliRunner().invoke(program, ping.replace("''", "").split()[1:])
            assert result.exit_code == 0, result.output
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == process.stderr.read() == ""
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("serve linear.onnx other/linear.onnx", "the name 'linear' is taken by linear.onnx"),
        ("serve linear.onnx model --name x", "write NAME=MODEL_URI for several"),
        ("serve none.onnx", "none.onnx"),
        ("serve a=none.onnx", "none.onnx"),
        ("inspect rows.csv", "rows.csv"),
    ],
)
def test_models_that_cannot_be_served(cli: Cli, line: str, message: str) -> None:
    """Models that are not there, or would share a name, are refused before anything is served."""
    Path("other").mkdir()
    Path("other/linear.onnx").write_bytes(models.linear())
    shown = cli(*line.split(), status=2).stderr
    assert message in shown
    assert shown.count("\n") == 1


def test_names_of_models(folder: Path) -> None:
    """A name stands before the first equals sign, unless all of it is a file."""
    (folder / "a=b.onnx").write_bytes(b"")
    found: Iterator[tuple[str | None, str]] = map(
        named_model, ["a=b.onnx", "a=c.onnx", "c.onnx", "x/y=z", "models:/m@a=b", "a=b=c"]
    )
    assert list(found) == [
        (None, "a=b.onnx"), ("a", "c.onnx"), (None, "c.onnx"), (None, "x/y=z"),
        (None, "models:/m@a=b"), ("a", "b=c"),
    ]  # fmt: skip
