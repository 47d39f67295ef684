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
    Answer,
    AuthenticationFailed,
    ConfigurationError,
    EndpointError,
    EndpointRefused,
    EndpointTimeout,
    EndpointUnavailable,
    InputMismatch,
    ModelSpec,
    ProtocolError,
    RateLimited,
    SpecMismatch,
    TensorSpec,
    TritonEndpoint,
)
from hybridmodel.remote.client import EndpointClient
from hybridmodel.remote.http.connection import Reply
from hybridmodel.remote.wire.protocol import Message, encode_response
from tests.support.faulty import FaultyEndpoint, Script, error, http, raw

SPEC = ModelSpec(
    (TensorSpec("x", "FP32", (-1, 2), batched=True),),
    (TensorSpec("y", "FP32", (-1,), batched=True), TensorSpec("z", "INT64", (-1,), batched=True)),
)
FEEDS = {"x": np.ones((3, 2), np.float32)}
Y = np.arange(3, dtype=np.float32)


def answer(**outputs: np.ndarray) -> Message:
    """Encode a response of a model that has these outputs, all binary."""
    return encode_response(
        outputs,
        dict.fromkeys(outputs, True),
        model_name="m",
        model_version="7",
        request_id=None,
    )


def good(message: Message | None = None, **headers: str) -> Script:
    """Return a script that gives a well-formed answer."""
    message = message or answer(y=Y)
    named = {name.replace("-", "_"): value for name, value in message.headers.items()}
    return http(200, message.body(), **{**named, **headers})


def ask(faulty: FaultyEndpoint, names: tuple[str, ...] = ("y",), **options: float) -> Answer:
    """Ask once."""
    client = EndpointClient(faulty.endpoint(), SPEC)
    try:
        return client.infer(FEEDS, names, rows=3, **options)
    finally:
        client.close()


def test_a_good_answer_is_returned_with_who_gave_it() -> None:
    """Outputs, version, attempts and the id that was sent come back."""
    with FaultyEndpoint(good()) as faulty:
        result = ask(faulty)
    np.testing.assert_array_equal(result.outputs["y"], Y)
    assert (result.model_version, result.attempts) == ("7", 1)
    assert f"x-ms-client-request-id: {result.request_id}".encode() in faulty.requests[0]


def test_arrays_are_writable_and_aligned() -> None:
    """What is handed out belongs to the caller."""
    message = answer(y=Y, z=np.arange(3))
    with FaultyEndpoint(good(message)) as faulty:
        outputs = ask(faulty, ("z", "y")).outputs
    assert list(outputs) == ["z", "y"]
    for array in outputs.values():
        assert array.flags.writeable
        assert array.flags.aligned


@pytest.mark.parametrize(
    ("script", "kind", "said"),
    [
        (error(400, "bad tensor"), EndpointRefused, "answered 400: bad tensor"),
        (error(404, "unknown model"), EndpointRefused, "no such model or version"),
        (http(401, b""), AuthenticationFailed, "https://ml.azure.com/.default"),
        (http(403, b"no"), AuthenticationFailed, "onlineEndpoints/score/action"),
        (http(408, b"upstream request timeout"), EndpointTimeout, "request_timeout_ms"),
        (http(413, b"too big"), EndpointRefused, "fewer rows"),
        (http(429, b"slow down", Retry_After="7"), RateLimited, "too many requests"),
        (error(500, "model crashed"), EndpointRefused, "model crashed"),
        (http(500, b"<html>oops"), EndpointUnavailable, "oops"),
        (error(501, "compressed"), EndpointRefused, "compressed"),
        (http(502, b"bad gateway"), EndpointUnavailable, "bad gateway"),
        (error(503, "queue full"), EndpointUnavailable, "queue full"),
        (http(504, b""), EndpointTimeout, "answered 504"),
        (http(302, b"", Location="https://login/?secret"), EndpointRefused, "redirect"),
        (http(204), ProtocolError, "answered 204"),
        (
            error(424, "no", ms_azureml_model_error_statuscode="400"),
            EndpointRefused,
            r"424 \(model: 400\)",
        ),
        (
            error(424, "busy", ms_azureml_model_error_statuscode="503"),
            EndpointUnavailable,
            "busy",
        ),
        (error(424, "x", ms_azureml_model_error_statuscode="500"), EndpointRefused, "model: 500"),
        (http(424, b"restarting"), EndpointUnavailable, "restarting"),
    ],
)
def test_each_status_says_what_the_caller_can_do(
    script: Script, kind: type[EndpointError], said: str
) -> None:
    """Every status becomes the error of its kind, with status, URL, id and the server's words."""
    with FaultyEndpoint(script) as faulty, pytest.raises(kind, match=said) as caught:
        ask(faulty)
    assert type(caught.value) is kind
    assert caught.value.endpoint == f"{faulty.uri}/v2/models/m/versions/1"
    assert caught.value.status is not None
    assert str(caught.value.request_id).encode() in faulty.requests[0]


def test_retry_after_is_kept() -> None:
    """The caller learns how long the endpoint wants to be left alone."""
    script = http(429, b"", Retry_After="7")
    with FaultyEndpoint(script) as faulty, pytest.raises(RateLimited) as caught:
        ask(faulty)
    assert caught.value.retry_after_s == 7.0


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (http(200, b"<html>sign in</html>", Content_Type="text/html"), "cannot be read"),
        (http(200, b""), "cannot be read"),
        (http(200, b"[1]"), "not an object"),
        (http(200, b'{"error": "odd proxy"}'), "odd proxy"),
        (good(Inference_Header_Content_Length="99999"), "but the body has"),
        (good(Inference_Header_Content_Length="-5"), "not a number"),
        (good(Inference_Header_Content_Length="x" * 50), "not a number"),
        (http(200, answer(y=Y).body()), "cannot be read"),
        (http(200, b'{"outputs": [], "id": "another"}'), "that of request 'another'"),
        (http(200, b'{"outputs": 5}'), "not a list"),
    ],
    ids=range(10),
)
def test_an_answer_that_is_not_the_protocol_is_a_protocol_error(script: Script, said: str) -> None:
    """A 200 that lies or means something else never becomes an array."""
    with FaultyEndpoint(script) as faulty, pytest.raises(ProtocolError, match=said) as caught:
        ask(faulty)
    assert caught.value.status == 200


@pytest.mark.parametrize("change", [-1, 1], ids=["one byte short", "one byte more"])
def test_a_tensor_of_another_size_is_a_protocol_error(change: int) -> None:
    """Bytes that are missing or left over are noticed, not filled up or dropped."""
    message = answer(y=Y)
    body = message.body()[:change] if change < 0 else message.body() + b"x"
    script = http(200, body, Inference_Header_Content_Length=str(len(message.header)))
    with FaultyEndpoint(script) as faulty, pytest.raises(ProtocolError, match="bytes"):
        ask(faulty)


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        ({"z": np.arange(3)}, "'y': missing"),
        ({"y": Y, "other": Y}, "'other': the local model does not have it"),
        ({"y": Y.astype(np.float64)}, "float64 came, float32 was expected"),
        ({"y": Y.reshape(3, 1)}, r"shape \[3, 1\] came, \[\?\] was expected"),
        ({"y": np.arange(4, dtype=np.float32)}, "4 rows came, 3 were sent"),
    ],
)
def test_an_answer_of_another_model_is_a_spec_mismatch(
    outputs: dict[str, np.ndarray], said: str
) -> None:
    """Names, dtypes, shapes and row counts must be those of the local model."""
    script = good(answer(**outputs))
    with FaultyEndpoint(script) as faulty, pytest.raises(SpecMismatch, match=said) as caught:
        ask(faulty)
    assert len(caught.value.differences) == 1


def test_every_difference_is_listed_at_once() -> None:
    """Nobody has to repair an endpoint one error at a time."""
    message = answer(y=Y.astype(np.float64), z=np.arange(5))
    with FaultyEndpoint(good(message)) as faulty, pytest.raises(SpecMismatch) as caught:
        ask(faulty, ("y", "z"))
    assert len(caught.value.differences) == 2


def silent(connection: socket.socket) -> None:
    """Say nothing until the client goes away."""
    connection.settimeout(30)
    connection.recv(1)


def drip(head: bytes, pause_s: float) -> Script:
    """Return a script that writes an endless body, one byte at a time."""

    def script(connection: socket.socket) -> None:
        connection.sendall(head)
        while True:
            time.sleep(pause_s)
            connection.sendall(b" ")

    return script


@pytest.mark.parametrize(
    "script",
    [
        silent,
        drip(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", 0.02),
        drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\n", 0.02),
        drip(b"HTTP/1.1 200 OK\r\nX-Padding: ", 0.02),
    ],
    ids=["silence", "dripping body", "dripping chunk", "dripping header"],
)
def test_the_deadline_ends_an_answer_that_does_not_come(script: Script) -> None:
    """Neither silence nor a drip, wherever it drips, holds a call longer than its deadline."""
    with FaultyEndpoint(script) as faulty:
        started = time.monotonic()
        with pytest.raises(EndpointTimeout) as caught:
            ask(faulty, timeout_s=0.5)
        assert time.monotonic() - started < 5
    assert caught.value.status is None


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (lambda connection: None, EndpointUnavailable),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{}"), EndpointUnavailable),
        (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n"), EndpointUnavailable),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n{}"), ProtocolError),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n{}"), ProtocolError),
        (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), ProtocolError),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}{}"), ProtocolError),
        (raw(b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n{}"), ProtocolError),
        (raw(b"not http at all\r\n\r\n"), ProtocolError),
        (raw(b"SSH-2.0-OpenSSH_9.2p1\r\n"), ProtocolError),
        (raw(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000), ProtocolError),
    ],
    ids=range(11),
)
def test_a_broken_exchange_never_becomes_an_answer(
    script: Script, kind: type[EndpointError]
) -> None:
    """What breaks is unavailable, what is not HTTP is a protocol error; neither is half read."""

    def then_close(connection: socket.socket) -> None:
        script(connection)
        connection.shutdown(socket.SHUT_RDWR)

    with FaultyEndpoint(then_close) as faulty, pytest.raises(kind) as caught:
        ask(faulty)
    assert type(caught.value) is kind


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

    def send(self, *_: object, **__: object) -> Reply:
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
