"""The parts of a rehearsed batch endpoint, without processes: queue, requests and folder."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import yaml

from hybridmodel.deploy.rehearsal.behaviours import Switches
from hybridmodel.deploy.rehearsal.folder import read_endpoint
from hybridmodel.deploy.rehearsal.jobs import queue
from hybridmodel.deploy.rehearsal.jobs.attempt import Ended
from hybridmodel.deploy.rehearsal.jobs.live import Wish
from hybridmodel.deploy.rehearsal.jobs.queue import Jobs
from hybridmodel.deploy.rehearsal.jobs.requests import JobRequests
from hybridmodel.deploy.rehearsal.live_endpoint import LiveEndpoint
from hybridmodel.deploy.rehearsal.settings import Endpoint, GatewayLimits
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.remote.batch_endpoint.bodies import TAG, Order
from tests.support.job_exports import small_batch, write, write_batch_export

URI = "https://localhost:1"


class FakeAttempt:
    """Ends when a test says so."""

    made: list[FakeAttempt]

    def __init__(
        self, files: Any, variables: dict[str, str], log: Path, told: Callable[[str], None]
    ) -> None:
        self.variables, self.told = variables, told
        self.ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        FakeAttempt.made.append(self)

    async def run(self) -> Ended:
        """Wait for the test."""
        return await self.ended

    def kill(self) -> None:
        """End as a killed process."""
        if not self.ended.done():
            self.ended.set_result(Ended(killed=True))


@pytest.fixture(autouse=True)
def no_attempts() -> None:
    """Forget the attempts of other tests."""
    FakeAttempt.made = []


def run(work: Callable[[Jobs], Coroutine[Any, Any, None]], folder: Path, **batch: int) -> None:
    """Run something with jobs, in a loop."""

    async def within() -> None:
        jobs = Jobs(small_batch(**batch), folder, folder, FakeAttempt)  # type: ignore[arg-type]
        await work(jobs)
        await jobs.close()

    asyncio.run(within())


def wish(jobs: Jobs, name: str, folder: Path) -> Wish:
    """Ask for a job of one file."""
    return Wish(
        name=name,
        deployment=jobs.batch.deployments[0],
        files=(folder / "x.csv",),
        output=folder / name,
        input_uri="file:///x.csv",
        output_uri="file:///o",
    )


async def soon() -> None:
    """Let the loop do what it can."""
    for _ in range(5):
        await asyncio.sleep(0)


def states(jobs: Jobs) -> dict[str, str]:
    """Return the states of all jobs."""
    return {job.wish.name: job.state for job in reversed(jobs.all())}


def test_jobs_wait_for_machines(tmp_path: Path) -> None:
    """Jobs beyond the cluster wait, and begin in their order when machines are free."""

    async def work(jobs: Jobs) -> None:
        for name in ("a", "b", "c", "d"):
            jobs.add(wish(jobs, name, tmp_path))
        await soon()
        assert list(states(jobs).values()) == ["Running", "Queued", "Queued", "Queued"]
        FakeAttempt.made[0].ended.set_result(Ended())
        await soon()
        assert list(states(jobs).values()) == ["Completed", "Running", "Queued", "Queued"]
        jobs.cancel("c")
        jobs.cancel("b")
        await soon()
        assert list(states(jobs).values()) == ["Completed", "Canceled", "Canceled", "Running"]

    run(work, tmp_path, nodes=3, per_job=2)


def test_a_large_job_takes_the_whole_cluster(tmp_path: Path) -> None:
    """A job that asks for more machines than there are gets all of them."""

    async def work(jobs: Jobs) -> None:
        jobs.add(wish(jobs, "a", tmp_path))
        await soon()
        assert states(jobs) == {"a": "Running"}

    run(work, tmp_path, nodes=1, per_job=4)


def test_machines_are_taken_away_so_often(tmp_path: Path) -> None:
    """A job goes on after its machine was taken away, as often as its deployment says."""

    async def work(jobs: Jobs) -> None:
        job = jobs.add(wish(jobs, "a", tmp_path))
        for attempts in (1, 2):
            await soon()
            assert (job.state, job.attempts) == ("Running", attempts)
            jobs.evict("a")
        await soon()
        assert (job.state, job.error) == ("Failed", "its machine was taken away 2 times")

    run(work, tmp_path, retries=1)


def test_what_the_driver_is_told(tmp_path: Path) -> None:
    """The process gets Azure's two variables, and its lines are counted."""

    async def work(jobs: Jobs) -> None:
        job = jobs.add(wish(jobs, "a", tmp_path))
        await soon()
        (attempt,) = FakeAttempt.made
        assert attempt.variables == {
            "AZUREML_MODEL_DIR": "/m",
            "AZUREML_BI_OUTPUT_PATH": str(tmp_path / "a"),
        }
        attempt.told("x.csv: 3 rows")
        assert (job.seen()["done"], job.seen()["said"]) == (1, "x.csv: 3 rows")
        attempt.ended.set_result(Ended(error="no such column"))
        await soon()
        assert (job.state, job.seen()["said"]) == ("Failed", "no such column")

    run(work, tmp_path)


def test_an_output_that_cannot_be_made(tmp_path: Path) -> None:
    """A job whose output is a file fails, and the next one runs."""
    (tmp_path / "a").write_text("a file")

    async def work(jobs: Jobs) -> None:
        jobs.add(wish(jobs, "a", tmp_path))
        jobs.add(wish(jobs, "b", tmp_path))
        await soon()
        assert states(jobs) == {"a": "Failed", "b": "Running"}
        assert "FileExistsError" in str(jobs.find("a").error)

    run(work, tmp_path)


def test_old_jobs_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest jobs that are over make room, and none that still goes on."""
    monkeypatch.setattr(queue, "_MOST_KEPT", 2)

    async def work(jobs: Jobs) -> None:
        for name in ("a", "b"):
            jobs.add(wish(jobs, name, tmp_path))
        await soon()
        jobs.cancel("b")
        jobs.add(wish(jobs, "c", tmp_path))
        assert [*states(jobs)] == ["a", "c"]

    run(work, tmp_path)


def ask(
    jobs: Jobs,
    method: bytes,
    target: bytes,
    said: Any = None,
    pin: str | None = None,
    without: tuple[str, ...] = (),
) -> tuple[int, dict[str, Any]]:
    """Make one request."""
    body = said if isinstance(said, bytes) else json.dumps(said).encode()
    requests = JobRequests(jobs, Switches(without))
    answer = requests.answer(method, target, body, pin=pin, uri=URI)
    return answer.status, json.loads(answer.body)


def body_of(folder: Path, name: str = "n", **changes: Any) -> bytes:
    """Write a submission as the client does."""
    given = {"input_uri": (folder / "in").as_uri(), "output_uri": (folder / "o").as_uri()}
    return Order(name=name, **{**given, **changes}).message().body()


def test_requests(tmp_path: Path) -> None:
    """A submission is answered with the job, which is then found by its name and in the list."""
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for name in ("b.csv", "sub/a.csv", "_SUCCESS"):
        (tmp_path / "in" / name).write_text("")

    async def work(jobs: Jobs) -> None:
        status, job = ask(jobs, b"POST", b"/jobs", body_of(tmp_path))
        assert (status, job["name"], job["properties"]["deployment"]) == (201, "n", "blue")
        assert [path.name for path in jobs.find("n").wish.files] == ["_SUCCESS", "b.csv", "a.csv"]
        assert job["properties"]["tags"] == {TAG: "n"}
        assert ask(jobs, b"POST", b"/jobs", body_of(tmp_path))[0] == 409
        assert ask(jobs, b"GET", b"/jobs/n") == (200, jobs.find("n").described())
        assert ask(jobs, b"GET", b"/jobs/m")[0] == 404
        assert ask(jobs, b"DELETE", b"/jobs/n")[0] == 405
        jobs.set_default("green")
        ask(jobs, b"POST", b"/jobs", body_of(tmp_path, "g", output_uri=None))
        assert jobs.find("g").wish.deployment.name == "green"
        assert jobs.find("g").wish.output == tmp_path / "g" / "score"
        ask(jobs, b"POST", b"/jobs", body_of(tmp_path, "p"), pin="blue")
        assert jobs.find("p").wish.deployment.name == "blue"

    run(work, tmp_path)


def test_behaviours_that_are_switched_off(tmp_path: Path) -> None:
    """Without names, the tag says whose a job is; without a list, it gets 405."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.csv").write_text("")

    async def work(jobs: Jobs) -> None:
        off = ("job-names", "job-list")
        for _ in range(2):
            status, job = ask(jobs, b"POST", b"/jobs", body_of(tmp_path), without=off)
            assert (status, job["properties"]["tags"][TAG]) == (201, "n")
        assert len(jobs.all()) == 2
        assert ask(jobs, b"GET", b"/jobs", without=off)[0] == 405

    run(work, tmp_path)


def test_pages_of_jobs(tmp_path: Path) -> None:
    """All jobs are told, 50 on a page, with the address of the next one."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.csv").write_text("")

    async def work(jobs: Jobs) -> None:
        for number in range(60):
            ask(jobs, b"POST", b"/jobs", body_of(tmp_path, f"n{number}"))
        _, first = ask(jobs, b"GET", b"/jobs")
        assert (len(first["value"]), first["nextLink"]) == (50, f"{URI}/jobs?from=50")
        _, last = ask(jobs, b"GET", b"/jobs?from=50")
        assert [job["name"] for job in last["value"]] == [
            f"n{number}" for number in range(9, -1, -1)
        ]
        assert "nextLink" not in last
        assert len(ask(jobs, b"GET", b"/jobs?from=-1")[1]["value"]) == 50

    run(work, tmp_path)


def test_a_full_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the most jobs that may wait, a submission gets 429."""
    monkeypatch.setattr(queue, "MOST_WAITING", 1)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.csv").write_text("")

    async def work(jobs: Jobs) -> None:
        assert ask(jobs, b"POST", b"/jobs", body_of(tmp_path, "a"))[0] == 201
        assert ask(jobs, b"POST", b"/jobs", body_of(tmp_path, "b"))[0] == 429

    run(work, tmp_path)


@pytest.mark.parametrize(
    ("said", "pin", "status", "words"),
    [
        (b"no json", None, 400, "cannot be read"),
        (b"[]", None, 400, "not an object"),
        ({"properties": []}, None, 400, "has no input"),
        ({"properties": {"name": "../x"}}, None, 400, "the name of a job"),
        ({"properties": {"name": 3}}, None, 400, "the name of a job"),
        ({"properties": {"dataset": {"path": "https://h/x.csv"}}}, None, 400, "file:// addresses"),
        ({"properties": {"dataset": {"path": "file:///etc"}}}, None, 400, "is not below"),
        ({"properties": {"dataset": {"path": "{}/../.."}}}, None, 400, "is not below"),
        ({"properties": {"dataset": {"path": "{}/link/x.csv"}}}, None, 400, "is not below"),
        ({"properties": {"dataset": {"path": "{}/empty"}}}, None, 400, "has no files"),
        ({"properties": {}}, "red", 404, "there is no deployment 'red'"),
    ],
)
def test_submissions_that_are_refused(
    tmp_path: Path, said: Any, pin: str | None, status: int, words: str
) -> None:
    """What cannot be a job is refused, and nothing outside of the data's folder is touched."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("/etc")
    if not isinstance(said, bytes):
        said = json.loads(json.dumps(said).replace("{}/", f"{tmp_path.as_uri()}/"))

    async def work(jobs: Jobs) -> None:
        answered, answer = ask(jobs, b"POST", b"/jobs", said, pin)
        assert (answered, words in answer["error"]["message"]) == (status, True), answer
        assert not jobs.all()

    run(work, tmp_path)


def test_an_output_elsewhere(tmp_path: Path) -> None:
    """A job writes below the data's folder only, also through links."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.csv").write_text("")
    (tmp_path / "link").symlink_to("/etc")

    async def work(jobs: Jobs) -> None:
        for output in ("file:///etc/x", (tmp_path / "link" / "x").as_uri(), "abfs://c@a/x"):
            answer = ask(jobs, b"POST", b"/jobs", body_of(tmp_path, output_uri=output))
            assert answer[0] == 400
        assert not jobs.all()

    run(work, tmp_path)


def test_the_folder(tmp_path: Path) -> None:
    """Endpoint, deployments, default, machines and the driver's settings are those of the files."""
    endpoint = read_endpoint(write_batch_export(tmp_path, nodes=4, per_job=2, default="green"))
    batch = endpoint.batch
    assert batch is not None
    assert (endpoint.name, endpoint.auth_mode, endpoint.deployments) == (
        "digits-batch",
        "aad_token",
        (),
    )
    assert (batch.default, batch.nodes) == ("green", 4)
    assert [(one.name, one.nodes, one.retries) for one in batch.deployments] == [
        ("blue", 2, 3),
        ("green", 2, 3),
    ]
    assert batch.deployments[0].variables == {
        "HYBRIDMODEL_BATCH_KEEP": "id",
        "HYBRIDMODEL_BATCH_FORMAT": "parquet",
    }


@pytest.mark.parametrize(
    ("file", "changes", "words"),
    [
        ("batch-blue-deployment.yml", {"model": {"path": "../.."}}, "is not inside"),
        ("batch-blue-deployment.yml", {"model": {"path": "./other"}}, "no saved model"),
        ("batch-blue-deployment.yml", {"model": "azureml:m:1"}, "has no model.path"),
        ("batch-blue-deployment.yml", {"name": "1"}, "Azure takes 3 to 32 letters"),
        ("batch-blue-deployment.yml", {"resources": {"instance_count": 0}}, "a whole number"),
        ("batch-endpoint.yml", {"defaults": {"deployment_name": "red"}}, "none of the deployments"),
        (
            "other-endpoint.yml",
            {"auth_mode": "key", "defaults": {}, "name": "other"},
            "two batch endpoints",
        ),
    ],
)
def test_folders_that_are_refused(
    tmp_path: Path, file: str, changes: dict[str, Any], words: str
) -> None:
    """A mistake in a file is said with its name, and nothing outside of the folder is read."""
    folder = write_batch_export(tmp_path / "export")
    known = yaml.safe_load((folder / file).read_text()) if (folder / file).exists() else {}
    write(folder / file, {**known, **changes})
    with pytest.raises(ConfigurationError, match=words):
        read_endpoint(folder)


def test_an_endpoint_without_deployments(tmp_path: Path) -> None:
    """An endpoint alone cannot be rehearsed, and an online one has no jobs."""
    folder = write_batch_export(tmp_path)
    for path in folder.glob("*-deployment.yml"):
        path.unlink()
    with pytest.raises(ConfigurationError, match="no file describes a deployment"):
        read_endpoint(folder)
    online = LiveEndpoint(Endpoint(name="e-p", deployments=()), {}, Switches(), GatewayLimits())
    with pytest.raises(ConfigurationError, match="e-p is no batch endpoint"):
        online.batch_jobs()
