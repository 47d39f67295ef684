"""Jobs of a batch endpoint: waited for with patience, and read from storage."""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridmodel import exceptions
from hybridmodel.remote.batch_endpoint import BatchClient, BatchEndpoint, Job, JobStatus, Results
from hybridmodel.remote.batch_endpoint.addresses import (
    checked_told,
    datastore_of,
    for_reading,
    is_file,
    path_of,
)
from hybridmodel.remote.batch_endpoint.bodies import checked_name, read_job, read_page
from tests.support.faulty import FaultyEndpoint, http
from tests.support.job_server import JobServer

IN = "azureml://datastores/d/paths/in/"
WAY = ("NotStarted", "Queued", "Running", "Running", "Finalizing", "Completed")


class Time:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        """Tell the time."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let it pass."""
        self.pauses.append(seconds)
        self.now += seconds


def submitted(server: JobServer, time: Time, output: Path | None = None, **options: Any) -> Job:
    """Submit a job whose client's time is `time`."""
    given = {"clock": time, "sleep": time.sleep, "random": lambda: 1.0, **options}
    return server.client(**given).submit(IN, output)


def test_a_job_is_waited_for_more_and_more_rarely() -> None:
    """Each state is told with the time; pauses grow from a second to half a minute."""
    time, seen = Time(), []
    with JobServer(states=(*WAY[:3], *["Running"] * 12, "Completed")) as server:
        job = submitted(server, time)
        status = job.wait(lambda status, elapsed_s: seen.append((status.state, elapsed_s)))
    assert status.is_completed
    assert [state for state, _ in seen][:4] == ["NotStarted", "Queued", "Running", "Running"]
    assert [elapsed_s for _, elapsed_s in seen] == sorted(elapsed_s for _, elapsed_s in seen)
    assert time.pauses[:3] == [1.0, 1.5, 2.25]
    assert max(time.pauses) == time.pauses[-1] == 30.0


def test_a_silent_endpoint_ends_nothing() -> None:
    """Questions that fail for a while are asked again: the job goes on meanwhile."""
    time = Time()
    with JobServer(states=WAY) as server:
        job = submitted(server, time)
        server.failing_looks = 20
        assert job.wait(progress=False).state == "Completed"


def test_a_new_job_may_not_be_known_at_once() -> None:
    """404 for a job that was just made is no end."""
    with JobServer(states=WAY) as server:
        job = submitted(server, Time())
        server.hidden_looks = 3
        assert job.wait(progress=False).is_completed


def test_ten_minutes_of_silence_are_an_end() -> None:
    """An endpoint that never answers again is reported, with its own words."""
    time = Time()
    with JobServer() as server:
        job = submitted(server, time)
        server.failing_looks = 10**6
        with pytest.raises(exceptions.EndpointUnavailable, match="503"):
            job.wait(progress=False)
    assert 600 < time.now < 700


def test_a_timeout_leaves_the_job_alone() -> None:
    """After the time to wait, the error has the state, and the job can be waited for again."""
    with JobServer(states=("Running",)) as server:
        job = submitted(server, Time())
        with pytest.raises(exceptions.EndpointTimeout, match=f"{job.name} was Running; it goes on"):
            job.wait(progress=False, timeout=100)
        server.states = ["Completed"]
        assert server.client().job(job.name).wait(progress=False).is_completed


@pytest.mark.parametrize("state", ["Failed", "Canceled"])
def test_a_job_that_fails(state: str) -> None:
    """The error has the state and the endpoint's reason, without the token, and what helps."""
    reason = "no such column; token-of-a-test"
    with JobServer(states=("Running", state)) as server:
        job = submitted(server, Time())
        server.jobs[job.name]["properties"]["error"] = {"message": reason}
        with pytest.raises(exceptions.JobFailed, match="no such column") as caught:
            job.wait(progress=False)
    assert (caught.value.job, caught.value.state) == (job.name, state)
    assert "token-of-a-test" not in str(caught.value)
    assert "skips the files that are finished" in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (http(403), exceptions.AuthenticationFailed),
        (http(200, b"<html>"), exceptions.ProtocolError),
        (http(200, b'{"properties": {"status": "Running"}}'), exceptions.ProtocolError),
    ],
)
def test_a_refusal_ends_the_wait(answer: Any, error: type[Exception]) -> None:
    """What the next question would meet again is raised at once."""
    with FaultyEndpoint(answer) as endpoint:
        client = BatchClient(BatchEndpoint(uri=endpoint.uri), credential=lambda: "t" * 20)
        with pytest.raises(error):
            client.job("nightly").wait(progress=False)


def test_an_unknown_name() -> None:
    """A job that there is not is said to be missing."""
    with JobServer() as server, pytest.raises(exceptions.EndpointRefused, match="no job nightly"):
        server.client().job("nightly").status()


def test_the_line_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """By default stderr has the states, and stdout nothing."""
    with JobServer(states=("Queued", "Completed")) as server:
        job = submitted(server, Time())
        job.wait()
    out, err = capsys.readouterr()
    assert f"{job.name}: Completed" in err
    assert not out


def test_an_interrupted_wait_says_how_to_go_on() -> None:
    """Ctrl-C ends the waiting and not the job, and says its name."""
    with JobServer(states=("Running",)) as server:
        job = server.client(sleep=lambda _: os.kill(os.getpid(), signal.SIGINT)).submit(IN)
        with pytest.raises(KeyboardInterrupt) as caught:
            job.wait(progress=False)
    assert job.name in caught.value.__notes__[0]


def test_silence_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """What passes without an error is found in the log."""
    caplog.set_level(logging.INFO, "hybridmodel")
    with JobServer() as server:
        job = submitted(server, Time())
        server.failing_looks = 3
        job.wait(progress=False)
    assert any("is not known" in message for message in caplog.messages)


def write_results(folder: Path) -> Path:
    """Write what a job leaves, with a hidden file."""
    (folder / "sub").mkdir(parents=True)
    (folder / ".manifest").mkdir()
    (folder / ".manifest" / "x.parquet").write_bytes(b"")
    pd.DataFrame({"y": [1, 2]}).to_parquet(folder / "a.csv.parquet")
    pd.DataFrame({"y": [3]}).to_csv(folder / "b.csv", index=False)
    pd.DataFrame({"y": [4]}).to_json(folder / "sub" / "c.jsonl", orient="records", lines=True)
    return folder


def test_results_are_read_and_copied(tmp_path: Path) -> None:
    """Files of all formats come in order as one table, or are copied, without hidden ones."""
    output = write_results(tmp_path / "out put")
    with JobServer() as server:
        job = submitted(server, Time(), output)
        results = job.results()
    assert results.files == ("a.csv.parquet", "b.csv", "sub/c.jsonl")
    assert results.frame()["y"].tolist() == [1, 2, 3, 4]
    copied = results.download(tmp_path / "copy")
    assert [path.relative_to(tmp_path / "copy").as_posix() for path in copied] == [*results.files]
    assert copied[0].read_bytes() == (output / "a.csv.parquet").read_bytes()
    with pytest.raises(exceptions.ConfigurationError, match="exists already"):
        results.download(tmp_path / "copy")
    assert sorted(path.name for path in (tmp_path / "copy").iterdir()) == [
        "a.csv.parquet",
        "b.csv",
        "sub",
    ]


def test_a_folder_that_results_cannot_be_copied_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing can be written the error says so; without hard links a copy is made too."""
    output = write_results(tmp_path / "out")
    (tmp_path / "file").write_text("")
    with pytest.raises(exceptions.ConfigurationError, match=r"a\.csv\.parquet: cannot be written"):
        Results(output.as_uri()).download(tmp_path / "file")

    def no_links(*_: object) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", no_links)
    assert len(Results(output.as_uri()).download(tmp_path / "copy")) == 3
    with pytest.raises(exceptions.ConfigurationError, match="exists already"):
        Results(output.as_uri()).download(tmp_path / "copy")


@pytest.mark.parametrize("name", ["../x", "a/../../x", "a\\b", "/etc/x"])
def test_names_of_results_lead_nowhere_else(tmp_path: Path, name: str) -> None:
    """A file system that lists odd names cannot make anyone write elsewhere."""
    results = Results(tmp_path.as_uri())
    vars(results)["files"] = (name,)
    with pytest.raises(exceptions.ConfigurationError, match="is no name for a file"):
        results.download(tmp_path / "copy")


def test_results_of_an_unfinished_job(tmp_path: Path) -> None:
    """Nobody reads half of the results by mistake."""
    with JobServer(states=("Running",)) as server:
        job = submitted(server, Time(), tmp_path)
        with pytest.raises(exceptions.ConfigurationError, match="is Running: it has no results"):
            job.results()


@pytest.mark.parametrize("is_there", [True, False])
def test_results_that_are_not_there(tmp_path: Path, is_there: bool) -> None:
    """An empty folder, and one that is gone, are errors with the address."""
    output = tmp_path / "out"
    if is_there:
        output.mkdir()
    with pytest.raises(exceptions.ConfigurationError, match=r"/out.*there are no results"):
        _ = Results(output.as_uri()).files


def test_a_result_that_is_no_table(tmp_path: Path) -> None:
    """A file that cannot be read as a table is named, and so is the way to copy it."""
    (tmp_path / "x.bin").write_bytes(b"x")
    with pytest.raises(exceptions.ConfigurationError, match=r"x.bin.*download\(\)"):
        Results(tmp_path.as_uri()).frame()
    (tmp_path / "x.bin").rename(tmp_path / "x.parquet")
    with pytest.raises(exceptions.ConfigurationError, match="cannot be read"):
        Results(tmp_path.as_uri()).frame()


@pytest.mark.parametrize(
    ("uri", "error"),
    [
        ("azureml://datastores/d/paths/out/", exceptions.HybridModelError),
        ("abfs://c@account.dfs.core.windows.net/o", exceptions.MissingDependency),
    ],
)
def test_storage_that_nothing_here_reads(
    uri: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a package is missing, the error says which, and the other way to the files."""
    for library in ("adlfs", "azureml"):
        monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(error, match="az ml job download"):
        _ = Results(uri).files


def test_where_an_endpoint_says_results_are(tmp_path: Path) -> None:
    """Without an output of the caller, the endpoint's word counts, if it names storage."""
    write_results(tmp_path / "o")
    with JobServer() as server:
        job = submitted(server, Time())
        with pytest.raises(exceptions.ConfigurationError, match="does not say where"):
            job.results()
        told = {"score": {"uri": (tmp_path / "o").as_uri()}}
        server.jobs[job.name]["properties"]["outputData"] = told
        assert len(job.results().files) == 3
        assert len(job.results((tmp_path / "o").as_uri()).files) == 3
        told["score"]["uri"] = "https://evil.example/x"
        with pytest.raises(exceptions.ConfigurationError, match="not read unasked"):
            job.results()


@pytest.mark.parametrize(
    "told",
    [
        *("https://evil.example/x", "file:///etc", "simplecache::file:///etc/passwd", None, 3, ""),
        *("abfs://c@a.dfs.core.windows.net/x?sig=1", "memory://x", "azureml://d/x::y"),
    ],
)
def test_a_far_endpoint_cannot_make_anyone_read(told: Any) -> None:
    """Files of this machine, other hosts and chained file systems are not read unasked."""
    with pytest.raises(exceptions.ConfigurationError):
        checked_told(told, is_near=False)


@pytest.mark.parametrize(
    ("address", "read"),
    [
        ("https://acc.blob.core.windows.net/c/a/b", "abfs://c@acc.dfs.core.windows.net/a/b"),
        ("wasbs://c@acc.blob.core.windows.net/a/b", "abfs://c@acc.dfs.core.windows.net/a/b"),
        ("abfss://c@acc.dfs.core.windows.net/a", "abfss://c@acc.dfs.core.windows.net/a"),
        ("https://h.example/c/a", "https://h.example/c/a"),
    ],
)
def test_addresses_of_blobs(address: str, read: str) -> None:
    """What Azure calls a blob is read by the file system abfs."""
    assert for_reading(address) == read


def test_datastores() -> None:
    """Both forms of an address name the same place in a datastore."""
    long = "azureml://subscriptions/s/resourcegroups/g/workspaces/w/datastores/d/paths/a/b/"
    for address in (long, "azureml://datastores/d/paths/a/b/"):
        assert datastore_of(address) == ("d", "a/b/")
    assert datastore_of("https://h/x") is None


def test_files_and_folders(tmp_path: Path) -> None:
    """A folder with a dot in its name is one, if it can be looked at."""
    (tmp_path / "v1.2").mkdir()
    assert not is_file((tmp_path / "v1.2").as_uri())
    assert path_of((tmp_path / "v 1").as_uri()) == tmp_path / "v 1"
    assert is_file("https://h/x.csv")
    assert not is_file("https://h/x.d/")


def test_states_in_other_words() -> None:
    """Words that Azure uses beside each other mean the same, and unknown ones are no end."""
    for word in ("Completed", "succeeded", "Finished"):
        assert JobStatus(name="n", state=word).is_completed
    assert JobStatus(name="n", state="CancelRequested").is_over is False
    assert str(JobStatus(name="n", state="Failed", error="why")) == "n: Failed (why)"


def test_hostile_answers_are_harmless() -> None:
    """Texts of any length, depth and kind in place of a job are an error or are left out."""
    answers: list[Any] = [
        {"name": "../../x"},
        {"name": "a", "properties": []},
        {"name": "a", "properties": {"status": {"x": 1}, "error": {"message": ["x"]}}},
        {"name": "a", "properties": {"status": "Run\x1b[31mning", "error": {"message": "\x1b]0;"}}},
        {"name": "a", "properties": {"outputData": {"x": 1}, "tags": 3}},
    ]
    for answer in answers:
        with FaultyEndpoint(http(200, json.dumps(answer).encode())) as endpoint:
            client = BatchClient(BatchEndpoint(uri=endpoint.uri), credential=lambda: "t" * 20)
            try:
                status = client.job("a").status()
            except exceptions.ProtocolError:
                continue
            assert str(status).isprintable()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["id", "name", "properties", "Status", "tags", "value", "nextLink"])
                | st.text(max_size=5),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_any_json_is_a_job_or_an_error(said: Any) -> None:
    """Whatever JSON an endpoint answers, it is read as a job with a harmless name, or refused."""
    with suppress(exceptions.ProtocolError):
        assert checked_name(read_job(said).name)
    with suppress(exceptions.ProtocolError):
        jobs, link = read_page(said if isinstance(said, dict) else {"value": [said]})
        assert all(checked_name(job.name) for job in jobs)
        assert link is None or isinstance(link, str)


def test_an_endpoint_is_described_without_secrets() -> None:
    """The description takes the address with and without /jobs, and holds no token."""
    made = BatchEndpoint(uri="https://b.example/jobs", deployment="green")
    assert made.uri == "https://b.example"
    assert made.model_url == "https://b.example/jobs"
    assert made == BatchEndpoint(uri="https://b.example", deployment="green")
    assert "deployment='green'" in repr(made)
    for wrong in ({"uri": "http://b.example"}, {"uri": 3}, {"uri": "https://h", "deployment": "1"}):
        with pytest.raises(exceptions.ConfigurationError):
            BatchEndpoint(**wrong)
    with pytest.raises(exceptions.ConfigurationError, match="endpoint is a BatchEndpoint"):
        BatchClient("https://b.example")  # type: ignore[arg-type]
