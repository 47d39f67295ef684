"""How commands end: errors, statuses, signals, readers that leave."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from hybridmodel.cli.errors import exit_status
from hybridmodel.cli.program import program
from hybridmodel.serving import EmbeddedServer
from tests.support.command_line import (
    KEY,
    KEY_ENV,
    NOWHERE,
    RUN,
    Cli,
    files,
    frame,
    shell,
)

ERRORS: list[tuple[str, str]] = [
    ("", "Missing command"),
    ("nonsense", "No such command 'nonsense'"),
    ("predict @linear", "Missing argument 'INPUT'"),
    ("predict @linear rows.csv --wrong", "--wrong"),
    ("predict @linear none.csv", "none.csv: No such file or directory"),
    ("predict @linear none.parquet", "none.parquet: No such file or directory"),
    ("predict @linear folder.csv", "folder.csv: Is a directory"),
    ("predict @linear rows.txt", "rows.txt: a name that ends with .csv, .tsv, .jsonl or .parquet"),
    ("predict @linear rows.csv -o out.json", "out.json: a name that ends with"),
    ("predict @linear rows.csv -o folder.csv", "exists already and is not a file"),
    ("predict @linear rows.csv -o none/out.csv", "no folder"),
    ("predict @linear empty.csv", "empty.csv: cannot be read as csv"),
    ("predict @linear binary.csv", "binary.csv: cannot be read as csv"),
    ("predict @linear ragged.csv", "ragged.csv: cannot be read as csv"),
    ("predict @linear shifted.csv", "shifted.csv: cannot be read as csv"),
    ("predict @linear binary.parquet", "binary.parquet: cannot be read as parquet"),
    ("predict @linear columns.csv", "columns.csv: column names: missing 'd'; unexpected 'e'"),
    ("predict @linear words.csv", "words.csv, line 2 (row 0, from 0), column 'a': 'x' is not"),
    ("predict @linear rows.csv --output-name z", "no output 'z'; it has 'y'"),
    ("predict @linear twice.csv --keep-input", "column names"),
    ("predict @two_inputs rows.csv", "column names: unexpected 'c', 'd'"),
    ("predict @lone rows.csv --use-azure", "the model has no endpoint"),
    ("predict @dead rows.csv --use-azure", NOWHERE),
    ("predict @linear rows.csv --use-azure --timeout 0", "--timeout"),
    ("predict @linear rows.csv --use-azure --timeout inf", "positive number of seconds"),
    ("ping @lone", "the model has no endpoint"),
    ("ping @dead", NOWHERE),
    ("ping @linear --model-config auth_key_env=NOT_SET_HERE", "NOT_SET_HERE"),
    ("ping @linear --model-config auth_key_env=", "answered 401"),
    ("compare @lone rows.csv", "the model has no endpoint"),
    ("compare @dead rows.csv", NOWHERE),
    ("compare @linear norows.csv", "has no rows"),
    ("inspect none", "none"),
    ("inspect folder.csv", "folder.csv"),
    ("inspect wrong://x/y", "wrong"),
    (f"inspect @linear --model-config api_key={KEY}", "no key 'api_key'; it has use_azure"),
    (f"inspect @linear --model-config {KEY}", "write KEY=VALUE"),
    (f"inspect @linear --model-config timeout_s={KEY}", "the value of timeout_s is a number"),
    (f"inspect @linear --model-config use_azure={KEY}", "use_azure is true or false"),
    (f"inspect @linear --model-config auth_key_env={KEY}", "NAME of an environment variable"),
    (f"inspect @linear --model-config uri=https://u:{KEY}@h", "must not hold a user"),
    ("serve @linear --auth-key-env NOT_SET_HERE", "NOT_SET_HERE is not set"),
    (f"serve @linear --auth-key-env {KEY}", "the one given is not set"),
    ("serve @linear --name a/b", "a/b"),
    ("serve @linear --port 65536", "--port"),
    ("serve @linear --host 203.0.113.1", "203.0.113.1"),
    ("serve @linear --host 0.0.0.0", "--auth-key-env"),
]


@pytest.mark.parametrize(("line", "message"), ERRORS)
def test_errors_are_one_line(cli: Cli, line: str, message: str) -> None:
    """Each mistake is named in one line on stderr, with status 2, no traceback and no secret."""
    Path("folder.csv").mkdir()
    for name, content in {
        "empty.csv": b"",
        "binary.csv": b"\xff\xfe\x00\x01",
        "ragged.csv": b"a,b,c,d\n1,2,3,4\n1,2,3,4,5,6\n",
        "shifted.csv": b"a,b,c,d\n0,1,2,3,4\n1,1,2,3,4\n",
        "binary.parquet": b"\xff\xfe\x00\x01" * 9,
        "columns.csv": b"a,b,c,e\n1,2,3,4\n",
        "words.csv": b"a,b,c,d\nx,2,3,4\n",
        "twice.csv": b"a,b,c,d,y_0\n1,2,3,4,5\n",
        "norows.csv": b"a,b,c,d\n",
    }.items():
        Path(name).write_bytes(content)
    result = cli(*line.split(), status=2)
    assert message in result.stderr
    assert result.stdout == ""


def test_a_missing_key_names_its_variable(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that is not set is an error that names the variable."""
    monkeypatch.delenv(KEY_ENV)
    assert KEY_ENV in cli("predict", "@linear", "rows.csv", "--use-azure", status=2).stderr


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ZeroDivisionError("by\nzero"), "Error: ZeroDivisionError: by zero\n"),
        (OSError("no https://me:secret@host/x"), "Error: no https://***@host/x\n"),
        (OSError(2, "No such file", "x.csv"), "Error: x.csv: No such file\n"),
    ],
)
def test_any_error_is_one_line(
    capsys: pytest.CaptureFixture[str], error: Exception, line: str
) -> None:
    """Whatever is raised becomes one line, without a password that stands in an address."""

    def fail() -> None:
        raise error

    assert exit_status(fail) == 2
    assert capsys.readouterr() == ("", line)


def test_traces_on_demand(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A traceback is shown to those who ask for it by the environment, and to nobody else."""
    assert "Traceback" not in cli("inspect", "none", status=2).stderr
    monkeypatch.setenv("HYBRIDMODEL_TRACEBACK", "1")
    result = CliRunner().invoke(program, ["inspect", "none"])
    assert result.stderr.startswith("Traceback")


def test_statuses_and_streams_of_a_real_process(
    saved: Path, tmp_path: Path, server: EmbeddedServer
) -> None:
    """In a shell too, results are on stdout, errors on stderr, and statuses are 0, 1 and 2."""
    frame().to_csv(tmp_path / "rows.csv", index=False)
    ungranted = shell("compare", saved / "other", tmp_path / "rows.csv")
    grant = f"{KEY_ENV}@{server.uri}"
    assert (ungranted.returncode, ungranted.stdout, grant in ungranted.stderr) == (2, "", True)
    good = shell("predict", saved / "linear", tmp_path / "rows.csv")
    assert (good.returncode, len(good.stdout.splitlines())) == (0, 7)
    assert good.stderr == "6 rows answered by the local model\n"
    rows = tmp_path / "rows.csv"
    differs = shell("compare", saved / "other", rows, HYBRIDMODEL_ALLOW=grant)
    assert (differs.returncode, differs.stderr) == (1, "")
    bad = shell("predict", saved / "linear", tmp_path / "none.csv")
    assert (bad.returncode, bad.stdout, bad.stderr.count("\n")) == (2, "", 1)


def test_a_reader_that_leaves(saved: Path, tmp_path: Path) -> None:
    """As before ``| head -1``, a closed pipe ends the program without a word."""
    frame(40_000).to_csv(tmp_path / "rows.csv", index=False)
    command = [*RUN, "predict", str(saved / "linear"), str(tmp_path / "rows.csv")]
    command += ["--batch-rows", "1000"]
    buffered = {**os.environ, "PYTHONUNBUFFERED": ""}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=buffered
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"y_0,y_1\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.mark.parametrize("command", ["inspect", "predict"])
def test_no_reader_at_all(saved: Path, tmp_path: Path, command: str) -> None:
    """Output that nobody reads is no error either, also when it is written at the very end."""
    frame().to_csv(tmp_path / "rows.csv", index=False)
    words = [command, str(saved / "linear")]
    if command == "predict":
        words.append(str(tmp_path / "rows.csv"))
    end, start = os.pipe()
    with subprocess.Popen(
        [*RUN, *words],
        stdout=start,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": ""},
    ) as process:
        os.close(start)
        os.close(end)
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_interrupted_predict_leaves_nothing(saved: Path, tmp_path: Path) -> None:
    """Ctrl-C while the endpoint is asked is status 130, with no trace and no file."""
    frame().to_csv(tmp_path / "rows.csv", index=False)
    target = tmp_path / "out.csv"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"uri=http://127.0.0.1:{listener.getsockname()[1]}"
        command = [
            *RUN,
            "predict",
            str(saved / "linear"),
            str(tmp_path / "rows.csv"),
            "--use-azure",
        ]
        command += ["-o", str(target), "--model-config", address]
        command += ["--model-config", f"auth_key_env={KEY_ENV}"]
        with subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, env={**os.environ, KEY_ENV: KEY}
        ) as process:
            connection, _ = listener.accept()
            with connection:
                connection.recv(100)
                process.send_signal(signal.SIGINT)
                assert process.stderr is not None
                assert process.stderr.read().strip() == ""
    assert process.returncode == 130
    assert files(tmp_path) == {"rows.csv"}


@pytest.mark.parametrize(
    ("name", "number"), [("classifier", signal.SIGINT), ("half", signal.SIGTERM)]
)
def test_serve_until_a_signal(
    cli: Cli, saved: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: signal.Signals
) -> None:
    """Serve prints where, what to try, and that it is for demos; answers; and ends with 0."""
    monkeypatch.setenv("DEMO_KEY", KEY)
    command = [*RUN, "serve", str(saved / name), "--port", "0", "--name", "demo"]
    command += ["--auth-key-env", "DEMO_KEY"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first, curl, ping = (process.stdout.readline().strip() for _ in range(3))
        url = first.split()[1]
        assert "for demos" in first
        assert url.endswith("/v2/models/demo/versions/1")
        answer = subprocess.run(curl, shell=True, capture_output=True, check=True, text=True)
        assert "demo" in json.loads(answer.stdout).values()
        cli(*ping.split()[1:])
        process.send_signal(number)
        assert process.stdout.read() == process.stderr.read() == ""
    assert process.returncode == 0
    assert KEY not in first + curl + ping
