"""``hybridmodel submit``: what it says, and how it ends."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result

from hybridmodel.cli.program import program
from hybridmodel.remote.batch_endpoint import submitting
from tests.support.job_server import JobServer

IN = "azureml://datastores/d/paths/in/"
TOKEN = "canary-5b1f0e77aa"


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a token where the command is told to read it, and look for jobs without pauses."""
    monkeypatch.setenv("MY_TOKEN", TOKEN)
    monkeypatch.setattr(submitting, "_LOOKS_S", (0.0, 0.0))


def submit(*words: object) -> Result:
    """Run the command in this process."""
    given = ["submit", *map(str, words), "--token-env", "MY_TOKEN"]
    result = CliRunner().invoke(program, given)
    assert TOKEN not in result.output
    return result


def test_a_job_is_submitted_and_left_alone() -> None:
    """With --no-wait the command ends when the job is accepted, and shows its state."""
    with JobServer(states=("Running",)) as server:
        result = submit(f"{server.uri}/jobs", IN, "--no-wait", "--name", "nightly", "--json")
        assert result.exit_code == 0, result.output
        assert server.headers[0]["Authorization"] == f"Bearer {TOKEN}"
    said = json.loads(result.stdout)
    assert (said["job"], said["state"], said["was_there"]) == ("nightly", "Running", False)
    again = f"hybridmodel submit {server.uri}/jobs {IN} --no-wait --token-env MY_TOKEN --json"
    assert f"  {again} --name nightly\n" in result.stderr


def test_a_name_is_said_before_anything_is_sent() -> None:
    """Whoever kills the command knows the name of the job, which is made once."""
    with JobServer(lambda _: "500") as server:
        result = submit(server.uri, IN)
        (name,) = server.jobs
    assert result.exit_code == 0
    assert result.stderr.startswith(f"submitting the job {name}; if this is interrupted")
    assert f"job    {name}" in result.stdout
    assert "Completed" in result.stdout


def test_nobody_can_tell() -> None:
    """Where the endpoint says nothing of the job, the error has the line that looks for it."""
    with JobServer(lambda _: "lost", failing_looks=10**6) as server:
        result = submit(server.uri, IN)
        (name,) = server.jobs
    assert result.exit_code == 2
    last = result.stderr.splitlines()[-1]
    assert "is not known" in last
    assert (
        f"go on with: hybridmodel submit {server.uri} {IN} --token-env MY_TOKEN --name {name}"
        in last
    )


@pytest.mark.parametrize("state", ["Failed", "Canceled"])
def test_a_job_that_fails(state: str) -> None:
    """The exit status is 1, and stderr says how a new job continues."""
    with JobServer(states=(state,)) as server:
        result = submit(server.uri, IN, "-o", "azureml://datastores/d/paths/out/")
    assert result.exit_code == 1
    assert "another name, skips the files that are finished" in result.stderr
    assert "results" not in result.stdout


def test_the_wait_has_an_end() -> None:
    """--timeout ends the waiting with an error; the job goes on."""
    with JobServer(states=("Running",)) as server:
        result = submit(server.uri, IN, "--timeout", 0.2)
    assert result.exit_code == 2
    assert "was Running; it goes on" in result.stderr
