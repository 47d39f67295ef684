"""``hybridmodel rehearse``: with a program, until a signal, and from another shell."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hybridmodel.cli.program import program
from hybridmodel.deploy.rehearsal.behaviours import NAMES as BEHAVIOURS
from hybridmodel.deploy.rehearsal.control import files_of
from hybridmodel.deploy.rehearsal.running import Rehearsal, rehearse
from tests.support.command_line import RUN
from tests.support.rehearsing import HOST, write_export

PROGRAM = """
import json, os, ssl, sys, urllib.request
name = next(name for name in os.environ if name.startswith("HYBRIDMODEL_ENDPOINT_"))
key = os.environ[name.replace("ENDPOINT", "REHEARSAL_KEY", 1)]
request = urllib.request.Request(
    os.environ[name] + "/v2/health/ready", headers={"Authorization": "Bearer " + key}
)
print(name, urllib.request.urlopen(request).status)
sys.exit(7)
"""


def cli(*words: object) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(program, list(map(str, words)))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    """Rehearse two deployments."""
    with rehearse(write_export(tmp_path_factory.mktemp("export")), server="embedded") as one:
        yield one


@pytest.mark.parametrize("command", ["", "run", "status", "traffic", "mirror", "kill", "scale"])
def test_help(command: str) -> None:
    """Every help says what the exit statuses mean."""
    assert "Exit status: 0 " in cli("rehearse", *command.split(), "--help").stdout


def test_list() -> None:
    """The list has every behaviour, and which are documented."""
    shown = cli("rehearse", "--list").stdout
    assert all(f"| `{name}` |" in shown for name in BEHAVIOURS)
    assert "| documented |" in shown
    assert "| assumed |" in shown


@pytest.mark.parametrize("asked", [HOST, f"https://{HOST}/score"])
def test_a_program_asks_the_rehearsal(tmp_path: Path, asked: str) -> None:
    """A program finds address, key and authority in its variables; its status is the command's.

    Who rehearses may name a host, or the address that Azure shows.
    """
    folder = write_export(tmp_path)
    words = ["rehearse", "--server", "embedded", "--for", asked, folder, "--"]
    ended = subprocess.run(
        [*RUN, *map(str, words), sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 7, ended.stderr
    assert ended.stdout == ("HYBRIDMODEL_ENDPOINT_digits_westeurope_inference_ml_azure_com 200\n")
    assert f"{HOST} is redirected here" in ended.stderr
    assert not files_of(folder).exists()


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--for", "localhost", "DIR", "--", "true"], 2, "no variable can redirect it"),
        (["--for", "http://a.b", "DIR", "--", "true"], 2, "no variable can redirect it"),
        (["DIR", "--", "/no/such/program"], 2, "/no/such/program: cannot be run"),
        (["--limit", "speed=1", "DIR"], 2, "NAME=NUMBER is expected, with one of requests_per_s"),
        (["--traffic", "blue=90", "DIR"], 2, "adds up to 90 percent"),
        (["--traffic", "blue", "DIR"], 2, "is written as blue=90 green=10"),
        (["status", "DIR"], 2, "is not rehearsed at the moment"),
        (["DIR/nothing"], 2, "is no folder"),
        (["DIR", "--", sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], 137, ""),
    ],
    ids=["host", "plain", "program", "limit", "sum", "shares", "status", "folder", "signal"],
)
def test_exit_statuses(tmp_path: Path, words: list[str], status: int, said: str) -> None:
    """An error is one line and status 2, and a program that a signal ended is 128 and more."""
    folder = str(write_export(tmp_path))
    given = [word.replace("DIR", folder) for word in words]
    if words[0] != "status":
        given = ["run", "--server", "embedded", *given]
    ended = cli("rehearse", *given)
    assert ended.exit_code == status, ended.output
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "--for" not in words or "rehearsing" not in ended.stderr, "it began in vain"


def test_until_sigterm(tmp_path: Path) -> None:
    """Without a program it goes on until SIGTERM, which is a good end and leaves nothing."""
    folder = write_export(tmp_path)
    words = [*RUN, "rehearse", "--server", "embedded", "--limit", "token_s=60", str(folder)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = ""
        while "ask it from another shell after: . " not in line:
            line = process.stderr.readline()
            assert line, "it ended"
        script = Path(line.rpartition(" ")[2].strip())
        assert script.exists()
        shown = json.loads(
            cli("rehearse", "traffic", folder, "blue=10", "green=90", "--json").stdout
        )
        assert shown["traffic"] == {"blue": 10, "green": 90}
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert not files_of(folder).exists()


def test_from_another_shell(running: Rehearsal) -> None:
    """Each change is shown as a table; what Azure would refuse is status 2."""
    folder = running.folder
    for words, shown in (
        (["status", folder], "digits-ep at https://localhost:"),
        (["mirror", folder, "green=10"], "10 %"),
        (["mirror", folder], "0 %"),
        (["slow", folder, "green", "0.25"], "slow by 0.25 s"),
        (["hang", folder, "green"], "hung"),
        (["kill", folder, "green"], "dead"),
        (["revive", folder, "green"], "running"),
        (["scale", folder, "blue", "2"], "1 (2 in 900 s)"),
        (["traffic", folder, "blue=0 green=100"], "100 %"),
    ):
        result = cli("rehearse", *words)
        assert result.exit_code == 0, result.output
        assert shown in result.stdout
    refused = cli("rehearse", "traffic", folder, "blue=90")
    assert refused.exit_code == 2
    assert "adds up to 90 percent" in refused.stderr


def test_variables_of_a_real_identity_stay_out(tmp_path: Path) -> None:
    """With tokens, a program gets the rehearsal's identity in the place of the real one."""
    folder = write_export(tmp_path, auth_mode="aad_token")
    show = "import os; print(*(name for name in os.environ if 'AZURE' in name or 'IDENT' in name))"
    ended = subprocess.run(
        [*RUN, "rehearse", "run", "--server", "embedded", folder, "--", sys.executable, "-c", show],
        env={**os.environ, "AZURE_CLIENT_SECRET": "real", "AZURE_CLIENT_ID": "real"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert sorted(ended.stdout.split()) == [
        "AZURE_TOKEN_CREDENTIALS",
        "IDENTITY_ENDPOINT",
        "IDENTITY_HEADER",
    ]
