"""The rehearsal of a batch endpoint: real jobs, in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from hybridmodel.cli.program import program
from hybridmodel.deploy.rehearsal.control import Control
from hybridmodel.deploy.rehearsal.running import Rehearsal, rehearse
from hybridmodel.exceptions import (
    AuthenticationFailed,
    ConfigurationError,
    EndpointRefused,
    JobFailed,
)
from hybridmodel.remote.batch_endpoint import BatchClient, BatchEndpoint
from hybridmodel.remote.batch_endpoint.bodies import Order
from hybridmodel.remote.resilience import Deadline
from tests.support.batches import COLUMNS, folder_of_files, linear, table, write
from tests.support.job_exports import write_batch_export


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the folder that jobs read and write below."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Iterator[Rehearsal]:
    """Rehearse a batch endpoint with one machine."""
    with rehearse(write_batch_export(tmp_path_factory.mktemp("export")), data=data) as one:
        yield one


def client(running: Rehearsal, **options: Any) -> BatchClient:
    """Connect to the rehearsal, and ask often."""
    endpoint = BatchEndpoint(uri=running.uri, ca_bundle=str(running.authority), **options)
    return BatchClient(endpoint, running.credential, sleep=lambda _: time.sleep(0.02))


def cli(*words: object) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(program, list(map(str, words)))


def seen(running: Rehearsal, name: str) -> dict[str, Any]:
    """Return what people see of a job."""
    return next(dict(job) for job in running.snapshot().jobs if job["name"] == name)


def wait_for_files(running: Rehearsal, name: str, count: int) -> None:
    """Wait until a job has answered so many files."""
    until = time.monotonic() + 60
    while seen(running, name)["done"] < count:
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_job_goes_on_after_its_machine_was_taken_away(running: Rehearsal, data: Path) -> None:
    """A job whose process is killed twice has the answers of one that was left alone."""
    source = folder_of_files(data / "in", *[20] * 60)
    job = client(running).submit(source, data / "out", name="evicted")
    for count in (1, 2):
        wait_for_files(running, "evicted", count)
        running.evict("evicted")
        until = time.monotonic() + 60
        while seen(running, "evicted")["attempts"] == count:
            assert time.monotonic() < until
            time.sleep(0.01)
    status = job.wait(progress=False)
    assert (status.state, seen(running, "evicted")["attempts"]) == ("Completed", 3)
    rows = pd.concat([table(20, 20 * at) for at in range(60)], ignore_index=True)
    answers = job.results().frame().sort_values("id", ignore_index=True)
    expected = rows[["id"]].join(linear().predict(rows[COLUMNS]))
    pd.testing.assert_frame_equal(answers, expected, check_dtype=False, rtol=1e-5)


def test_a_new_job_continues_one_that_was_ended(running: Rehearsal, data: Path) -> None:
    """After a cancelled job, another one with the same output skips what is finished."""
    source = folder_of_files(data / "in2", *[20] * 60)
    job = client(running).submit(source, data / "out2", name="first")
    wait_for_files(running, "first", 2)
    assert cli("rehearse", "cancel", running.folder, "first").exit_code == 0
    with pytest.raises(JobFailed, match="ended as Canceled"):
        job.wait(progress=False)
    finished = {path: path.stat().st_mtime_ns for path in (data / "out2").glob("*.parquet")}
    assert finished
    again = client(running).submit(source, data / "out2", name="second")
    again.wait(progress=False)
    assert len(again.results().files) == 60
    assert {path: path.stat().st_mtime_ns for path in finished} == finished


def test_no_file_is_ignored(running: Rehearsal, data: Path) -> None:
    """A job fails with the file that it cannot read, whatever its format, and says which."""
    source = folder_of_files(data / "in3", 5)
    (source / "notes.txt").write_text("no rows")
    job = client(running).submit(source, data / "out3")
    with pytest.raises(JobFailed, match=r"notes\.txt") as caught:
        job.wait(progress=False)
    assert caught.value.state == "Failed"


def test_an_input_that_is_gone(running: Rehearsal, data: Path) -> None:
    """A job whose input cannot be read fails, and its error has the path."""
    wanted = client(running)
    order = Order(name="gone", input_uri=(data / "gone.csv").as_uri())
    wanted._submitter.submit(order, Deadline(60))
    with pytest.raises(JobFailed, match=r"gone\.csv"):
        wanted.job("gone").wait(progress=False)


@pytest.mark.skipif(os.name == "nt", reason="there are no pipes with a name")
def test_a_job_ends_with_who_started_it(running: Rehearsal, tmp_path: Path) -> None:
    """A job whose rehearsal was killed does not go on, whatever it is doing."""
    os.mkfifo(tmp_path / "for-ever.csv")
    variables = {
        "AZUREML_MODEL_DIR": str(running.folder / "model"),
        "AZUREML_BI_OUTPUT_PATH": str(tmp_path),
    }
    asked = {"files": [str(tmp_path / "for-ever.csv")], "variables": variables}
    words = [sys.executable, "-m", "hybridmodel.deploy.rehearsal.jobs.program"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as job:
        said, _ = job.communicate(json.dumps(asked) + "\n", timeout=60)
    assert (job.returncode, said) == (1, "")


def test_the_command(running: Rehearsal, data: Path) -> None:
    """`submit` on a rehearsed folder says how to go on, waits, and copies the results."""
    source = write(table(7), data / "rows.csv")
    given = ("submit", running.folder, source, "--deployment", "green", "-o", data / "out4")
    result = cli(*given, "--name", "cli-1", "--download", data / "copy", "--json")
    assert result.exit_code == 0, result.stderr
    said = json.loads(result.stdout)
    assert (said["job"], said["state"], said["copied"]) == ("cli-1", "Completed", 1)
    assert list(pd.read_csv(data / "copy" / "rows.csv.csv")) == ["id", "y_0", "y_1"]
    assert "--deployment green" in result.stderr
    assert "--name cli-1" in result.stderr
    again = cli(*given, "--name", "cli-1")
    assert again.exit_code == 0
    assert "the job cli-1 is there already" in again.stderr
    assert "Completed" in again.stdout


def test_the_command_of_a_job_that_fails(running: Rehearsal, data: Path) -> None:
    """Exit status 1 is that of the job, with its reason; 2 that of a submission."""
    (data / "bad.csv").write_text("x,y\n1,2\n")
    result = cli("submit", running.folder, data / "bad.csv", "-o", data / "out5", "--name", "bad")
    assert result.exit_code == 1, result.output
    assert "bad: Failed (" in result.stderr
    assert "skips the files that are finished" in result.stderr
    assert cli("submit", data, data / "bad.csv").exit_code == 2
    assert "is not rehearsed at the moment" in cli("submit", data, data / "bad.csv").stderr
    assert cli("submit", "nowhere", data / "bad.csv").exit_code == 2
    refused = cli("submit", running.folder, "/etc/hostname", "--no-wait")
    assert (refused.exit_code, "is not below" in refused.stderr) == (2, True)
    assert cli("submit", running.folder, "x", "--no-wait", "--download", "y").exit_code == 2
    shown = cli("rehearse", "status", running.folder)
    assert "bad  " in shown.stdout
    assert "Failed" in shown.stdout


def test_a_token_for_another_resource(running: Rehearsal, data: Path) -> None:
    """A token of Azure's management, or of nobody, gets 401, and the error says which is needed."""
    wrong = running._keys.token("https://management.azure.com").token
    for token in (wrong, "a-token-of-nobody.x.y"):
        endpoint = BatchEndpoint(uri=running.uri, ca_bundle=str(running.authority))
        with pytest.raises(
            AuthenticationFailed, match=r"https://ml\.azure\.com/\.default"
        ) as caught:
            BatchClient(endpoint, credential=lambda token=token: token).submit(data)
        assert token not in str(caught.value)


def test_controls_of_jobs(running: Rehearsal) -> None:
    """The default deployment is switched from outside, and what cannot be done is said."""
    control = Control(running.folder)
    control.set_default("green")
    control.set_default("blue")
    for change in (
        lambda: control.set_default("red"),
        lambda: control.evict("nobody"),
        lambda: running.cancel("nobody"),
    ):
        with pytest.raises(ConfigurationError, match="there is no"):
            change()
    with pytest.raises(ConfigurationError, match="it has no machine"):
        control.evict("bad")
    with pytest.raises(ConfigurationError, match="already"):
        control.cancel("bad")


def test_an_unchanged_program_submits_here(
    running: Rehearsal, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the rehearsal's variables, what names Azure's host is asked here, with its token."""
    host = "digits-batch.westeurope.inference.ml.azure.com"
    for name, value in running.environment([host]).items():
        monkeypatch.setenv(name, value)
    source = write(table(3), data / "redirected.csv")
    with BatchClient(BatchEndpoint(uri=f"https://{host}/jobs")) as redirected:
        job = redirected.submit(source, data / "out6")
        assert job.wait(progress=False).is_completed
    assert seen(running, job.name)["said"].startswith("redirected.csv: 3 rows")


def test_without_jobs(tmp_path: Path) -> None:
    """Switched off, the gateway knows no /jobs, and its status shows no deployment."""
    with rehearse(write_batch_export(tmp_path), without=["jobs"]) as short:
        with pytest.raises(EndpointRefused, match="no valid deployment"):
            client(short).submit(tmp_path)
        shown = cli("rehearse", "status", short.folder)
        assert "digits-batch" in shown.stdout


def test_jobs_end_with_the_rehearsal(tmp_path: Path) -> None:
    """A rehearsal that stops ends its jobs, and an output of its own goes with it."""
    source = folder_of_files(tmp_path / "in", *[20] * 60)
    with rehearse(write_batch_export(tmp_path / "export"), data=tmp_path) as short:
        job = client(short).submit(source)
        wait_for_files(short, job.name, 1)
        output = Path(job.status().output_uri.removeprefix("file://"))  # type: ignore[union-attr]
        # The word is in the path: had the tokens the same one, it would be hidden.
        assert "rehearsals" in output.parts
        assert output.is_dir()
        jobs = short._live.batch_jobs()
    assert not output.exists()
    assert jobs.find(job.name).state == "Canceled"
