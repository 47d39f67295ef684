"""The script that starts a server: how a key reaches its arguments, and who sees it there."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from hybridmodel.serving import supervisor
from tests.support.processes import holds_processes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the server runs on Linux only")

PROGRAM = "import sys; print(sys.argv[1:]); print(open('/proc/self/cmdline').read())"
COMMAND = [sys.executable, "-c", PROGRAM, "plain", "a=(key)", "(key)", "last"]


def run() -> tuple[str, str]:
    """Start a program with a key, and return its arguments and its command line."""
    server = supervisor.start(COMMAND, "the-key", stdout=subprocess.PIPE)
    said, _ = server.communicate(timeout=30)
    assert server.returncode == 0
    arguments, line = said.decode().splitlines()
    return arguments, line


def test_the_key_is_an_argument_and_not_on_the_command_line() -> None:
    """The program gets the key in its arguments, where no other user of the machine can read it."""
    if not holds_processes():
        pytest.skip("ptrace is forbidden here")
    arguments, line = run()
    assert arguments == "['plain', 'a=the-key', 'the-key', 'last']"
    assert "the-key" not in line
    assert line.split("\0")[-5:-1] == ["plain", "a=(key)", "(key)", "last"]


def refuse(*_: Any) -> None:
    """Do as a kernel that forbids it."""
    raise PermissionError(1, "ptrace")


@pytest.mark.parametrize("step", ["_ptrace", "_bend"])
def test_without_ptrace_the_key_is_an_argument_all_the_same(
    monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Where a process may not be held, the server has its key on the command line."""
    monkeypatch.setattr(supervisor, step, refuse)
    arguments, line = run()
    assert arguments == "['plain', 'a=the-key', 'the-key', 'last']"
    assert "a=the-key" in line


def test_a_command_that_is_not_there_is_an_error() -> None:
    """What cannot be started is reported, not started in another way."""
    with pytest.raises(FileNotFoundError):
        supervisor.start(["/nowhere/(key)"], "the-key")
