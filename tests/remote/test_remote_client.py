"""The client against endpoints that do what no real server can be made to do."""

from __future__ import annotations

import json
import socket
import threading
import time
import traceback
from email.utils import formatdate

import numpy as np
import pytest

from hybridmodel import (
    AuthenticationFailed,
    ConfigurationError,
    EndpointError,
    EndpointRefused,
    EndpointUnavailable,
    InputMismatch,
    ProtocolError,
    SpecMismatch,
    TritonEndpoint,
)
from hybridmodel.data.answer import Answer
from hybridmodel.remote.client import EndpointClient
from hybridmodel.remote.http.connection import HttpRequest, Reply
from tests.support.faulty import FaultyEndpoint, Script, error, http, raw
from tests.support.remote_answers import FEEDS, SPEC, Y, answer, ask, good


def closed_port() -> int:
    """Return a port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
    return port


def test_a_dead_endpoint_is_unavailable() -> None:
    """Nobody listening is said with the address."""
    port = closed_port()
    endpoint = TritonEndpoint(uri=f"http://127.0.0.1:{port}", model_name="m", auth_key_env=None)
    with pytest.raises(EndpointUnavailable, match=f"127.0.0.1:{port}.*refused"):
        EndpointClient(endpoint, SPEC).infer(FEEDS, ("y",))


def test_a_redirect_is_not_followed_and_its_query_not_shown() -> None:
    """The key and the data go to nobody but the endpoint."""
    with FaultyEndpoint(good()) as other:
        script = http(307, b"", Location=f"{other.uri}/v2?token=SECRET")
        with FaultyEndpoint(script) as faulty, pytest.raises(EndpointRefused) as caught:
            ask(faulty)
        assert other.requests == []
    assert "SECRET" not in str(caught.value)


def test_a_server_that_repeats_the_key_does_not_spread_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The key is blotted out of what the server said."""
    monkeypatch.setenv("CANARY_KEY", "canary-4711")
    script = error(400, "you sent Bearer canary-4711")
    with FaultyEndpoint(script) as faulty:
        client = EndpointClient(faulty.endpoint(auth_key_env="CANARY_KEY"), SPEC)
        with pytest.raises(EndpointRefused, match=r"you sent Bearer \*\*\*"):
            client.infer(FEEDS, ("y",))
    assert b"Authorization: Bearer canary-4711" in faulty.requests[0]


K = "canary-4711"


@pytest.mark.parametrize(
    "script",
    [
        http(200, b'{"error": "bad key canary-4711"}'),
        http(200, b'{"id": "canary-4711", "outputs": []}'),
        http(
            200,
            b'{"outputs": [{"name": "canary-4711", "datatype": "FP32", "shape": [0], "data": []}]}',
        ),
        http(200, b'{"outputs": [{"name": "y", "datatype": "canary-4711"}]}'),
        http(404, b"you sent canary-4711"),
        raw(b"HTTP/1.1 200 OK\r\nAuthorization Bearer canary-4711\r\n\r\n"),
        raw(b"Authorization: Bearer canary-4711\r\n\r\n"),
    ],
    ids=range(7),
)
def test_whatever_a_server_repeats_the_key_is_not_shown(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server may say the key in any place; no message, and no cause of one, says it again."""
    monkeypatch.setenv("CANARY_KEY", K)
    with FaultyEndpoint(script) as faulty:
        client = EndpointClient(faulty.endpoint(auth_key_env="CANARY_KEY"), SPEC)
        with pytest.raises((EndpointError, SpecMismatch)) as caught:
            client.infer(FEEDS, ("y",))
    assert K not in "".join(traceback.format_exception(caught.value))
    assert K not in repr(vars(caught.value))


def test_a_credential_that_fails_says_so() -> None:
    """What the credential raises is the cause of an authentication failure; nothing is sent."""

    def broken() -> str:
        raise RuntimeError("no vault")

    with FaultyEndpoint(good()) as faulty:
        client = EndpointClient(faulty.endpoint(), SPEC, broken)
        with pytest.raises(AuthenticationFailed, match="gave no key: RuntimeError: no vault"):
            client.infer(FEEDS, ("y",))
        assert faulty.requests == []


@pytest.mark.parametrize(("value", "low", "high"), [("1.5", 1.5, 1.5), ("soon", None, None)])
def test_retry_after_in_other_forms(value: str, low: float | None, high: float | None) -> None:
    """Fractions are read, and what is no time is none."""
    script = http(503, b"", Retry_After=value)
    with FaultyEndpoint(script) as faulty, pytest.raises(EndpointUnavailable) as caught:
        ask(faulty)
    assert caught.value.retry_after_s in (low, high)


def test_retry_after_as_a_date() -> None:
    """A date is as far away as it is."""
    then = formatdate(time.time() + 100, usegmt=True)
    script = http(503, b"", Retry_After=then)
    with FaultyEndpoint(script) as faulty, pytest.raises(EndpointUnavailable) as caught:
        ask(faulty)
    assert caught.value.retry_after_s is not None
    assert 50 < caught.value.retry_after_s <= 100


def test_netrc_does_not_replace_the_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A password for the same host in the user's netrc file is not sent, with a key or without."""
    netrc = tmp_path_factory.mktemp("home") / "netrc"
    netrc.write_text("default login user password wrong\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("CANARY_KEY", "canary-4711")
    with FaultyEndpoint(good()) as faulty:
        EndpointClient(faulty.endpoint(auth_key_env="CANARY_KEY"), SPEC).infer(FEEDS, ("y",))
        EndpointClient(faulty.endpoint(), SPEC).infer(FEEDS, ("y",))
    assert b"Authorization: Bearer canary-4711\r\n" in faulty.requests[0]
    assert b"Authorization" not in faulty.requests[1]


def test_the_request_is_the_protocol() -> None:
    """Path, headers, JSON and raw tensor are what a server of the protocol expects."""
    with FaultyEndpoint(good()) as faulty:
        ask(faulty)
    head, _, body = faulty.requests[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:])
    length = int(headers["Inference-Header-Content-Length"])
    described = json.loads(body[:length])
    assert lines[0] == "POST /v2/models/m/versions/1/infer HTTP/1.1"
    assert headers["Accept-Encoding"] == "identity"
    assert headers["User-Agent"].startswith("hybridmodel")
    assert described["inputs"] == [
        {
            "name": "x",
            "datatype": "FP32",
            "shape": [3, 2],
            "parameters": {"binary_data_size": 24},
        }
    ]
    assert described["outputs"] == [{"name": "y", "parameters": {"binary_data": True}}]
    assert body[length:] == FEEDS["x"].tobytes()


@pytest.mark.parametrize(("value", "told"), [(np.nan, True), (np.inf, True), (1.0, False)])
def test_what_json_does_not_know_is_named_when_a_server_refuses_it(
    value: float, told: bool
) -> None:
    """A server that cannot read NaN says no more than that; the message says which input."""
    with FaultyEndpoint(error(422, "JSON decode error")) as faulty:
        client = EndpointClient(faulty.endpoint(binary=False), SPEC)
        with pytest.raises(EndpointRefused) as caught:
            client.infer({"x": np.full(1, value, np.float32)}, ("y",))
    assert ("input 'x' holds NaN or infinity" in str(caught.value)) is told


def test_a_server_without_the_binary_extension_is_asked_in_json() -> None:
    """What `GET /v2` says decides the form, once."""
    answer_json = b'{"outputs":[{"name":"y","datatype":"FP32","shape":[3],"data":[0,1,2]}]}'
    scripts = (http(200, b'{"extensions": []}'), http(200, answer_json), http(200, answer_json))
    with FaultyEndpoint(*scripts) as faulty:
        client = EndpointClient(faulty.endpoint(binary=None), SPEC)
        for _ in range(2):
            np.testing.assert_array_equal(client.infer(FEEDS, ("y",)).outputs["y"], Y)
    assert faulty.requests[0].startswith(b"GET /v2 ")
    assert [request[:4] for request in faulty.requests[1:]] == [b"POST", b"POST"]
    assert json.loads(faulty.requests[1].partition(b"\r\n\r\n")[2])["inputs"][0]["data"] == [1] * 6


@pytest.mark.parametrize("script", [error(404, "hidden"), http(200, b"<html>")])
def test_an_endpoint_that_hides_its_metadata_is_asked_in_binary(script: Script) -> None:
    """A gateway that answers `GET /v2` with nothing of use does not stop a call."""
    with FaultyEndpoint(script, good()) as faulty:
        client = EndpointClient(faulty.endpoint(binary=None), SPEC)
        np.testing.assert_array_equal(client.infer(FEEDS, ("y",)).outputs["y"], Y)


class Recorder:
    """A transport that counts and answers nothing good."""

    def __init__(self) -> None:
        self.sent = 0

    def send(self, _: HttpRequest) -> Reply:
        """Count."""
        self.sent += 1
        return Reply(503, {}, bytearray(), bytearray())

    def close(self) -> None:
        """Do nothing."""


def test_a_request_of_two_gibibytes_is_refused_before_it_is_sent() -> None:
    """The protocol's limit is said with what to do, instead of a server's confused answer."""
    recorder = Recorder()
    endpoint = TritonEndpoint(
        uri="http://localhost:1", model_name="m", auth_key_env=None, binary=True
    )
    client = EndpointClient(endpoint, SPEC, make_transport=lambda _: recorder)
    # Zeros that nobody touches take no memory.
    feeds = {"x": np.zeros((2**28, 2), np.float32)}
    with pytest.raises(InputMismatch, match="fewer rows"):
        client.infer(feeds, ("y",))
    assert recorder.sent == 0


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (None, "HYBRIDMODEL_API_KEY, which is not set"),
        ("", "empty"),
        ("k\r\nX-Evil: 1", "control characters"),
        ("schlüssel", "ASCII"),
        ("two words", "blanks"),
        ("newline\n", "line break"),
    ],
)
def test_a_key_that_cannot_be_sent_is_refused_before_anything_is_sent(
    key: str | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the variable and never shows its value."""
    monkeypatch.delenv("HYBRIDMODEL_API_KEY", raising=False)
    if key is not None:
        monkeypatch.setenv("HYBRIDMODEL_API_KEY", key)
    recorder = Recorder()
    endpoint = TritonEndpoint(uri="http://localhost:1", model_name="m", binary=True)
    client = EndpointClient(endpoint, SPEC, make_transport=lambda _: recorder)
    with pytest.raises(ConfigurationError, match=said) as caught:
        client.infer(FEEDS, ("y",))
    assert recorder.sent == 0
    assert not key or key not in str(caught.value)


@pytest.mark.parametrize("deployment", [None, "blue"])
def test_a_deployment_can_be_picked(deployment: str | None) -> None:
    """Azure Machine Learning reads its name from a header; without one traffic decides."""
    with FaultyEndpoint(good()) as faulty:
        EndpointClient(faulty.endpoint(deployment=deployment), SPEC).infer(FEEDS, ("y",))
    assert (b"azureml-model-deployment: blue\r\n" in faulty.requests[0]) is (deployment == "blue")


class Token:
    """What a credential of azure-identity hands out."""

    token = "canary-token"


class Credential:
    """Stands in for a credential of azure-identity."""

    scopes: list[str]

    def __init__(self) -> None:
        self.scopes = []

    def get_token(self, *scopes: str) -> Token:
        """Hand out a token and remember for what."""
        self.scopes += scopes
        return Token()


def test_a_token_credential_is_asked_for_the_scope_of_azure_ml() -> None:
    """The scope is the data plane's, and the token goes into the header."""
    credential = Credential()
    with FaultyEndpoint(good()) as faulty:
        EndpointClient(faulty.endpoint(), SPEC, credential).infer(FEEDS, ("y",))
    assert credential.scopes == ["https://ml.azure.com/.default"]
    assert b"Authorization: Bearer canary-token\r\n" in faulty.requests[0]


def test_a_function_can_be_the_credential() -> None:
    """What it returns is sent."""
    with FaultyEndpoint(good()) as faulty:
        EndpointClient(faulty.endpoint(), SPEC, lambda: "from-a-vault").infer(FEEDS, ("y",))
    assert b"Authorization: Bearer from-a-vault\r\n" in faulty.requests[0]


@pytest.mark.parametrize("credential", ["a-key", 5, object()])
def test_a_credential_of_another_kind_is_refused(credential: object) -> None:
    """A key as a plain string is refused too, without being shown."""
    endpoint = TritonEndpoint(uri="http://localhost:1", model_name="m")
    with pytest.raises(ConfigurationError, match="get_token") as caught:
        EndpointClient(endpoint, SPEC, credential)
    assert "a-key" not in str(caught.value)


def test_connections_are_reused() -> None:
    """Ten calls make one connection."""
    seen: list[tuple[str, int]] = []

    def script(connection: socket.socket) -> None:
        seen.append(connection.getpeername())
        good()(connection)

    with FaultyEndpoint(script) as faulty:
        client = EndpointClient(faulty.endpoint(), SPEC)
        for _ in range(10):
            client.infer(FEEDS, ("y",))
        client.close()
        client.infer(FEEDS, ("y",))
    assert len(set(seen[:10])) == 1
    assert seen[10] != seen[0]


def test_threads_share_a_client_and_get_their_own_answers() -> None:
    """Sixteen threads at once never see each other's rows."""

    def script(connection: socket.socket) -> None:
        good(answer(y=Y))(connection)

    with FaultyEndpoint(script) as faulty:
        client = EndpointClient(faulty.endpoint(), SPEC)
        results: list[Answer] = []
        threads = [
            threading.Thread(
                target=lambda: results.extend(client.infer(FEEDS, ("y",)) for _ in range(10))
            )
            for _ in range(16)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        client.close()
    assert len(results) == 160
    assert len({result.request_id for result in results}) == 160


@pytest.mark.parametrize(
    ("script", "ready"),
    [(http(200), True), (error(400, "not ready"), False), (http(503), False)],
)
def test_readiness_is_judged_by_the_status_alone(script: Script, ready: bool) -> None:
    """Servers answer with or without a body, and refuse with one status or another."""
    with FaultyEndpoint(script) as faulty:
        assert EndpointClient(faulty.endpoint(), SPEC).is_ready() is ready


def test_readiness_of_a_dead_endpoint_is_an_error() -> None:
    """Not being able to ask is not the same as "not ready"."""
    endpoint = TritonEndpoint(
        uri=f"http://127.0.0.1:{closed_port()}", model_name="m", auth_key_env=None
    )
    with pytest.raises(EndpointUnavailable):
        EndpointClient(endpoint, SPEC).is_ready()


def test_metadata_that_is_none_is_a_protocol_error() -> None:
    """A web page in place of metadata is said to be one."""
    with FaultyEndpoint(http(200, b"<html>")) as faulty, pytest.raises(ProtocolError) as caught:
        EndpointClient(faulty.endpoint(), SPEC).metadata()
    assert caught.value.endpoint
