"""Submissions to a batch endpoint: one job each, whatever happens to the answers."""

from __future__ import annotations

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from hybridmodel import exceptions
from hybridmodel.remote.batch_endpoint import BatchClient, BatchEndpoint
from hybridmodel.remote.batch_endpoint.bodies import TAG
from hybridmodel.remote.batch_endpoint.outcomes import Outcome, outcome_of, table
from hybridmodel.remote.faults import FAULTS, new_error
from tests.support.faulty import FaultyEndpoint, http
from tests.support.job_server import AFTER, BEFORE, JobServer
from tests.support.paths import ROOT

IN, OUT = "azureml://datastores/d/paths/in/", "azureml://datastores/d/paths/out/"
MANY = 200


@pytest.mark.parametrize(("keeps_names", "count"), [(True, MANY), (False, 40)])
def test_many_submissions_make_one_job_each(keeps_names: bool, count: int) -> None:
    """With two thirds of the submissions spoilt, each makes exactly one job, and finds its own."""
    troubles = (*AFTER, *BEFORE)

    def trouble(number: int) -> str:
        return troubles[number % len(troubles)] if number % 3 else ""

    with JobServer(trouble, keeps_names=keeps_names) as server:
        # Some submission may meet trouble before its job five times in a row.
        client = server.client(timeout_s=0.4, max_attempts=10)

        def submit(_: int) -> str:
            return client.submit(IN, timeout=60).name

        with ThreadPoolExecutor(16) as pool:
            names = list(pool.map(submit, range(count)))
    assert len(server.bodies) > count
    assert len(server.jobs) == count
    assert sorted(names) == sorted(server.jobs)
    assert set(server.made.values()) == {1}


@pytest.mark.parametrize("trouble", AFTER)
@pytest.mark.parametrize("keeps_names", [True, False])
def test_a_lost_answer_is_found(trouble: str, keeps_names: bool) -> None:
    """After each trouble that follows the job, it is found by its name, and asked for once."""
    with JobServer(lambda _: trouble, keeps_names=keeps_names) as server:
        job = server.client(timeout_s=0.4).submit(IN)
        assert (len(server.bodies), list(server.jobs)) == (1, [job.name])
        assert not job.was_there


@pytest.mark.parametrize("trouble", BEFORE)
def test_a_lost_request_is_sent_again(trouble: str) -> None:
    """Where no job was made, a second request with the same name makes it."""
    with JobServer(lambda number: "" if number else trouble) as server:
        job = server.client().submit(IN)
        first, second = (body["properties"]["name"] for body in server.bodies)
        assert first == second == job.name
        assert list(server.jobs) == [job.name]
        sent = [headers["repeatability-request-id"] for headers in server.headers]
        assert len(sent) == 2
        assert len(set(sent)) == 1


@pytest.mark.parametrize("keeps_names", [True, False])
def test_a_job_that_shows_late_is_found(keeps_names: bool) -> None:
    """An endpoint may not know its new job at first; several looks are made, with pauses."""
    pauses: list[float] = []
    with JobServer(lambda _: "500", hidden_looks=2, keeps_names=keeps_names) as server:
        server.client(sleep=pauses.append).submit(IN)
        assert (len(server.jobs), len(server.bodies)) == (1, 1)
    assert pauses[0] == pytest.approx(0.5, abs=0.01)


def test_a_late_first_request_meets_its_own_name() -> None:
    """If the job appears after all looks, the second request is told so, and the job is found."""
    with JobServer(lambda number: "" if number else "500", hidden_looks=6) as server:
        job = server.client().submit(IN)
        assert (len(server.bodies), list(server.jobs)) == (2, [job.name])


def test_a_late_job_is_found_after_another_failure() -> None:
    """Once a job may be there, it is looked for after each failure, whatever that says itself."""
    with JobServer(lambda number: "429" if number else "500", hidden_looks=6) as server:
        job = server.client().submit(IN)
        assert (len(server.bodies), list(server.jobs)) == (2, [job.name])


def test_nobody_can_tell() -> None:
    """Where the endpoint does not answer afterwards, the error says so, and names the job."""
    with JobServer(lambda _: "lost", failing_looks=10**6) as server:
        with pytest.raises(exceptions.SubmissionUnknown, match="not known") as caught:
            server.client().submit(IN)
        assert [caught.value.job] == list(server.jobs)
        assert len(server.bodies) == 1


def test_a_name_that_cannot_be_looked_for_is_not_submitted() -> None:
    """With a name of the caller, the endpoint has to say first that it has no such job."""
    with JobServer(failing_looks=10**6) as server:
        with pytest.raises(exceptions.EndpointUnavailable, match="answered 503"):
            server.client().submit(IN, name="nightly")
        assert not server.bodies


@pytest.mark.parametrize("link", ["https://evil.example/jobs?from=1", "http://[", "/other"])
def test_a_token_goes_to_no_other_place(link: str) -> None:
    """A next page elsewhere is not asked for: then nobody can tell whether there is a job."""
    with JobServer(keeps_names=False) as server:
        client = server.client()
        for _ in range(21):
            client.submit(IN)
        server.next_link = link
        server.trouble = lambda _: "500 before"
        with pytest.raises(exceptions.SubmissionUnknown, match="page of them is elsewhere"):
            client.submit(IN)


@pytest.mark.parametrize("keeps_names", [True, False])
@pytest.mark.parametrize("trouble", ["500 before", "lost", "500", "garbage"])
def test_an_endpoint_without_a_list(trouble: str, keeps_names: bool) -> None:
    """Where jobs are not listed, only an endpoint that is known to keep names tells for sure."""
    troubles = {1: trouble}
    with JobServer(
        lambda number: troubles.get(number, ""), keeps_names=keeps_names, lists=False
    ) as server:
        client = server.client()
        client.submit(IN, name="earlier")
        if keeps_names:
            client.submit(IN, name="night")
        else:
            with pytest.raises(exceptions.SubmissionUnknown, match="a list of them is answered"):
                client.submit(IN, name="night")
        assert max(server.made.values()) == 1
        assert len(server.bodies) <= 3


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (400, exceptions.EndpointRefused, "answered 400"),
        (401, exceptions.AuthenticationFailed, "https://ml.azure.com/.default"),
        (403, exceptions.AuthenticationFailed, "batchEndpoints/jobs/write"),
        (404, exceptions.EndpointRefused, "no deployment of that name"),
        (307, exceptions.EndpointRefused, "a redirect"),
    ],
)
def test_a_refusal_is_final(status: int, error: type[Exception], words: str) -> None:
    """What is refused before a job is made is raised at once, with what helps."""
    with FaultyEndpoint(http(status, b"{}")) as endpoint:
        client = BatchClient(BatchEndpoint(uri=endpoint.uri), credential=lambda: "token")
        with pytest.raises(error, match=words):
            client.submit(IN)
        assert len(endpoint.requests) == 1


def test_a_new_token_is_asked_for_once() -> None:
    """A token that has expired is renewed, and the submission goes on with the new one."""
    tokens = iter(["old-token-of-a-test", "new-token-of-a-test"])
    with FaultyEndpoint(http(401), http(200, b'{"name": "n"}')) as endpoint:
        client = BatchClient(BatchEndpoint(uri=endpoint.uri), credential=lambda: next(tokens))
        assert client.submit(IN).name == "n"
        assert [b"new-token" in request for request in endpoint.requests] == [False, True]


def test_tokens_are_those_of_azure_machine_learning() -> None:
    """A credential of azure-identity's kind is asked for the scope of batch endpoints."""
    scopes: list[str] = []

    class Credential:
        def get_token(self, *asked: str) -> str:
            scopes.extend(asked)
            return "token-of-a-test"

    with JobServer() as server:
        server.client(credential=Credential()).submit(IN)
        assert server.headers[0]["Authorization"] == "Bearer token-of-a-test"
    assert scopes == ["https://ml.azure.com/.default"]


def test_the_error_of_the_last_attempt() -> None:
    """Where no attempt makes a job, the error says how many there were, and that there is none."""
    with JobServer(lambda _: "500 before") as server:
        with pytest.raises(exceptions.EndpointUnavailable, match="no job nightly is there") as got:
            server.client().submit(IN, name="nightly")
        assert (got.value.attempts, len(server.bodies)) == (5, 5)


def test_no_submission_on_a_connection_that_was_used() -> None:
    """A kept connection may end after the server has read a request, which nobody would notice."""
    with JobServer() as server:
        client = server.client()
        job = client.submit(IN)
        job.status()
        server.trouble = lambda _: "lost"
        client.submit(IN)
        assert len(server.bodies) == 2


def test_the_time_of_a_submission() -> None:
    """All requests and looks together take no longer than the timeout, and the error says more."""
    with JobServer(lambda _: "hang", failing_looks=10**6) as server:
        with pytest.raises(exceptions.SubmissionUnknown):
            server.client(timeout_s=20).submit(IN, timeout=0.5)
        assert len(server.bodies) == 1


def test_a_name_continues_an_earlier_submission() -> None:
    """The same name gives the same job, in another process as well, and makes no second one."""
    with JobServer() as server:
        first = server.client().submit(IN, OUT, name="nightly")
        again = server.client().submit(IN, OUT, name="nightly")
        assert (first.was_there, again.was_there, again.name) == (False, True, "nightly")
        assert len(server.bodies) == 1


def test_a_name_is_of_one_piece_of_work() -> None:
    """The name of a job with another input is refused, because its answers are others."""
    with JobServer() as server:
        server.client().submit(IN, OUT, name="nightly")
        with pytest.raises(exceptions.ConfigurationError, match="another input or output"):
            server.client().submit("azureml://datastores/d/paths/else/", OUT, name="nightly")


def test_the_token_is_never_shown() -> None:
    """A server that repeats the token does not bring it into an error."""
    with FaultyEndpoint(http(400, b'{"error": "Bearer token-of-a-test"}')) as endpoint:
        client = BatchClient(BatchEndpoint(uri=endpoint.uri), lambda: "token-of-a-test")
        with pytest.raises(exceptions.EndpointRefused) as caught:
            client.submit(IN)
    assert "token-of-a-test" not in f"{caught.value!r} {caught.value} {client!r}"


@pytest.mark.parametrize(
    "answer",
    [
        {"name": "tokenOfATest0123456789"},
        {"name": "n", "properties": {"status": "tokenOfATest0123456789"}},
        {"name": "n", "properties": {"outputData": {"x": {"uri": "x://tokenOfATest0123456789"}}}},
    ],
)
def test_a_token_in_an_answer_is_not_shown(answer: dict[str, Any]) -> None:
    """A server that puts the token into the fields of a job does not have it printed."""
    with FaultyEndpoint(http(200, json.dumps(answer).encode())) as endpoint:
        client = BatchClient(
            BatchEndpoint(uri=endpoint.uri), lambda: "tokenOfATest0123456789", sleep=lambda _: None
        )
        try:
            job = client.submit(IN)
            shown = f"{job!r} {job.status()!r}"
        except exceptions.SubmissionUnknown as error:
            shown = f"{error!r} {error}"
    assert "OfATest0" not in shown


def test_an_interrupt_says_how_to_go_on() -> None:
    """Ctrl-C in a submission tells that the job may be there, and its name."""

    def interrupted(_: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with JobServer(lambda _: "500 before") as server:
        with pytest.raises(KeyboardInterrupt) as caught:
            server.client(sleep=interrupted).submit(IN, name="nightly")
        assert "nightly" in caught.value.__notes__[0]


def test_both_bodies() -> None:
    """The two forms of a submission have the fields of Azure's documents, and the client's name."""
    with JobServer() as server:
        client = server.client()
        client.submit(IN, OUT, name="a")
        client.submit("https://h.example/x.csv", name="b")
        client.submit(IN, OUT, name="c", form="dataset")
        client.submit("azureml://datastores/d/paths/v1.2", name="d", input_type="folder")
    asked = [body["properties"] for body in server.bodies]
    assert [one["name"] for one in asked] == [one["tags"][TAG] for one in asked] == [*"abcd"]
    assert asked[0]["InputData"] == {"input": {"JobInputType": "UriFolder", "Uri": IN}}
    assert asked[0]["OutputData"] == {"score": {"JobOutputType": "UriFolder", "Uri": OUT}}
    assert asked[1]["InputData"]["input"]["JobInputType"] == "UriFile"
    assert "OutputData" not in asked[1]
    assert asked[2]["dataset"] == {"dataInputType": "DataUrl", "Path": IN}
    assert asked[2]["outputDataset"] == {"datastoreId": "d", "path": "out/"}
    assert asked[3]["InputData"]["input"]["JobInputType"] == "UriFolder"


def test_the_deployment_is_named_or_the_default() -> None:
    """A submission names a deployment in Azure's header, or leaves it to the endpoint."""
    with JobServer() as server:
        server.client().submit(IN)
        endpoint = BatchEndpoint(uri=server.uri, deployment="green")
        BatchClient(endpoint, credential=lambda: "t" * 20).submit(IN)
        named = [headers.get("azureml-model-deployment") for headers in server.headers]
        assert named == [None, "green"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"input_uri": ""}, "input_uri is an address or a path"),
        ({"input_uri": 3}, "not 3"),
        ({"input_uri": "ftp://h/x"}, "an address of ftp:"),
        ({"input_uri": "/no/such/folder"}, "there is no /no/such/folder"),
        ({"input_uri": "https://h/x?sig=secret"}, "a query, a fragment or a password"),
        ({"input_uri": "https://user:secret@h/x"}, "a query, a fragment or a password"),
        ({"input_uri": "https://h/a b"}, "without blanks"),
        ({"input_uri": "abfs://c@a/x::y"}, "without blanks and '::'"),
        ({"input_uri": IN, "name": "a b"}, "the name of a job"),
        ({"input_uri": IN, "form": "other"}, "form is one of inputs, dataset"),
        ({"input_uri": IN, "input_type": "table"}, "input_type is file or folder"),
        ({"input_uri": IN, "timeout": 0}, "timeout is a positive number"),
        ({"input_uri": IN, "output_uri": "abfs://c@a/o", "form": "dataset"}, "the form 'dataset'"),
    ],
)
def test_what_cannot_be_submitted(given: dict[str, Any], words: str) -> None:
    """An argument that cannot work is refused before anything is sent, without its secrets."""
    with JobServer() as server, pytest.raises(exceptions.ConfigurationError, match=words) as got:
        server.client().submit(**given)
    assert "secret" not in str(got.value)
    assert not server.bodies


def test_files_of_this_machine_stay_here() -> None:
    """An endpoint elsewhere cannot read a local path, and is not asked to."""
    client = BatchClient(BatchEndpoint(uri="https://b.region.inference.ml.azure.com/jobs"))
    with pytest.raises(exceptions.ConfigurationError, match="which the endpoint cannot read"):
        client.submit(ROOT)


def test_every_status_of_the_callers_fault_is_final() -> None:
    """Of the 4xx only those may come after a job was made that say that time or a server failed."""
    rows = [fault for fault in FAULTS if fault.name[0] == "4"]
    unsure = {row.name for row in rows if outcome_of(error_of(row.name)) is Outcome.UNKNOWN}
    assert unsure == {"408", "424"}


def error_of(name: str) -> exceptions.EndpointError:
    """Make the error of a row, as a status gives it."""
    error = new_error(name, "m")
    error.status = int(name) if name.isdigit() else 499
    return error


def test_the_outcomes_are_documented() -> None:
    """The table of what a failed submission says is the one in the documents."""
    assert table() in (ROOT / "docs" / "batch_endpoints.md").read_text()
