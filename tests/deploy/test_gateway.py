"""The gateway of a rehearsal: which answer each request gets, over real sockets and TLS."""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hybridmodel import (
    AuthenticationFailed,
    EndpointRefused,
    EndpointTimeout,
    EndpointUnavailable,
    HybridOnnxModel,
    RateLimited,
)
from hybridmodel.deploy.rehearsal import messages
from hybridmodel.deploy.rehearsal.running import Rehearsal, rehearse
from hybridmodel.deploy.rehearsal.settings import GatewayLimits
from tests.support import models
from tests.support.rehearsing import INFER, ROW, ask, connect, expected, write_export

PIN = "azureml_model_deployment"
BODY = json.dumps(ROW).encode()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    """Rehearse two deployments, of which each takes two requests at a time."""
    folder = write_export(tmp_path_factory.mktemp("export"), concurrency=1, timeout_ms=600)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(messages, "_LINGER_S", 0.1)
        with rehearse(folder, server="embedded", without=["rate-429"]) as rehearsal:
            yield rehearsal


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write an endpoint with one deployment."""
    return write_export(tmp_path, names=("blue",))


@pytest.fixture
def rehearsal(shared: Rehearsal) -> Iterator[Rehearsal]:
    """Give out the rehearsal with all traffic on blue, and set it right afterwards."""
    yield shared
    for name in shared.deployments:
        shared.revive(name)
    shared.set_mirror({})
    shared.set_traffic({"blue": 100})
    until(lambda: not any(one.in_flight for one in shared.snapshot().deployments))


def until(is_so: Callable[[], Any], timeout_s: float = 10.0) -> None:
    """Wait until something is so."""
    end = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.005)


@contextmanager
def raw(rehearsal: Rehearsal, data: bytes) -> Iterator[ssl.SSLSocket]:
    """Send bytes over a connection of one's own."""
    context = ssl.create_default_context(cafile=str(rehearsal.authority))
    address = ("127.0.0.1", int(rehearsal.uri.rpartition(":")[2]))
    with (
        socket.create_connection(address, timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        secured.sendall(data)
        yield secured


def head(rehearsal: Rehearsal, *lines: str, key: str | None = None) -> bytes:
    """Make the head of a request for inference."""
    given = key or rehearsal.credential()
    first = (f"POST {INFER} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {given}")
    return "\r\n".join((*first, *lines, "", "")).encode()


def hybrid(rehearsal: Rehearsal, credential: Any = None, **options: Any) -> HybridOnnxModel:
    """Make a model whose endpoint is the rehearsal."""
    endpoint = rehearsal.endpoint("digits", **options)
    given = credential or rehearsal.credential
    return HybridOnnxModel(models.linear(), endpoint=endpoint, credential=given)


def read_all(secured: ssl.SSLSocket) -> bytes:
    """Read until the other side ends."""
    data = b""
    while piece := secured.recv(65536):
        data += piece
    return data


def test_the_model_answers(rehearsal: Rehearsal) -> None:
    """A good request gets the model's own answer, with the ids of the request."""
    said = ask(rehearsal, x_ms_client_request_id="mine")
    assert said.status == 200
    values = json.loads(said.body)["outputs"][0]["data"]
    np.testing.assert_allclose(np.reshape(values, (1, 2)), expected(), rtol=1e-6)
    assert said.by == "blue"
    assert said.headers["x-ms-client-request-id"] == "mine"
    assert len(said.headers["x-request-id"]) == 32


@pytest.mark.parametrize(
    ("key", "words"),
    [(None, "missing"), ("wrong", "not one of"), ("", None)],
    ids=["none", "wrong", "right"],
)
def test_keys(rehearsal: Rehearsal, key: str | None, words: str | None) -> None:
    """Only the endpoint's own keys are taken; 401 is plain text, and says what is wrong."""
    said = ask(rehearsal, key=key)
    assert said.status == (401 if words else 200)
    if words:
        assert said.headers["content-type"] == "text/plain"
        assert words in said.body.decode()


def test_health_needs_the_key(rehearsal: Rehearsal) -> None:
    """Paths of health and metadata are as guarded as inference."""
    assert ask(rehearsal, "/v2/health/ready", None, key=None).status == 401
    assert ask(rehearsal, "/v2/health/ready", None).status == 200


def test_a_pin_ignores_traffic_and_mirror(rehearsal: Rehearsal) -> None:
    """A pinned request reaches a deployment without traffic, and is copied nowhere."""
    rehearsal.set_mirror({"green": 50})
    for _ in range(8):
        assert ask(rehearsal, **{PIN: "green"}).by == "green"
        assert ask(rehearsal, **{PIN: "blue"}).by == "blue"
    assert rehearsal.snapshot().deployments[1].mirrored == 0
    said = ask(rehearsal, **{PIN: "red"})
    assert (said.status, said.body) == (404, b"there is no deployment 'red'")


def test_no_weight(rehearsal: Rehearsal) -> None:
    """Without traffic anywhere a request gets 404, and a pinned one is answered."""
    rehearsal.set_traffic({})
    assert ask(rehearsal).status == 404
    assert ask(rehearsal, **{PIN: "blue"}).status == 200


def test_traffic_is_shared(rehearsal: Rehearsal) -> None:
    """Both deployments answer their share; 40 requests on one side would be a chance of 1e-12."""
    rehearsal.set_traffic({"blue": 50, "green": 50})
    connection = connect(rehearsal)
    assert {ask(rehearsal, on=connection).by for _ in range(40)} == {"blue", "green"}
    connection.close()


def test_mirrored_answers_are_dropped(rehearsal: Rehearsal) -> None:
    """Copies go to the mirror while the live deployment answers, however the mirror fares."""
    before = rehearsal.snapshot().deployments[1]
    rehearsal.set_mirror({"green": 50})
    rehearsal.hang("green")
    assert {ask(rehearsal).by for _ in range(60)} == {"blue"}
    after = rehearsal.snapshot().deployments[1]
    assert after.mirrored - before.mirrored == 2, "as many as it has places for"
    assert after.mirror_dropped > before.mirror_dropped
    assert after.codes == before.codes


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (INFER, {"inputs": []}, 400),
        ("/v2/models/none/infer", ROW, 404),
        ("/score", ROW, 404),
    ],
    ids=["bad input", "unknown model", "score"],
)
def test_model_errors(rehearsal: Rehearsal, path: str, body: Any, status: int) -> None:
    """Whatever the model refuses is a 424, with its status in a header and its words as text."""
    said = ask(rehearsal, path, body)
    assert said.status == 424
    assert said.headers["ms-azureml-model-error-statuscode"] == str(status)
    assert said.headers["ms-azureml-model-error-reason"]
    assert said.headers["content-type"] == "text/plain"
    assert said.body


def test_a_dead_deployment(rehearsal: Rehearsal) -> None:
    """A killed deployment is a 424 with 503 behind it, until it is revived."""
    rehearsal.kill("blue")
    said = ask(rehearsal)
    assert (said.status, said.headers["ms-azureml-model-error-statuscode"]) == (424, "503")
    assert rehearsal.snapshot().deployments[0].condition == "dead"
    assert ask(rehearsal, **{PIN: "green"}).status == 200
    rehearsal.revive("blue")
    assert ask(rehearsal).status == 200


def test_late_work_goes_on(rehearsal: Rehearsal) -> None:
    """After request_timeout_ms comes 408; the work keeps its place until it is done."""
    rehearsal.hang("blue")
    said = ask(rehearsal)
    assert (said.status, said.body) == (408, b"upstream request timeout")
    seen = rehearsal.snapshot().deployments[0]
    assert (seen.condition, seen.in_flight) == ("hung", 1)
    before = seen.model_codes.get("200", 0)
    rehearsal.revive("blue")
    until(lambda: rehearsal.snapshot().deployments[0].in_flight == 0)
    assert rehearsal.snapshot().deployments[0].model_codes["200"] == before + 1


def test_pending_requests_are_limited(rehearsal: Rehearsal) -> None:
    """The third request of a deployment with one instance for one at a time gets 429."""
    rehearsal.slow("blue", 0.4)
    whole = head(rehearsal, f"Content-Length: {len(BODY)}") + BODY
    with raw(rehearsal, whole) as one, raw(rehearsal, whole) as two:
        until(lambda: rehearsal.snapshot().deployments[0].in_flight == 2)
        assert rehearsal.snapshot().deployments[0].waiting == 1
        assert ask(rehearsal).status == 429
        assert ask(rehearsal, **{PIN: "green"}).status == 200
        assert one.recv(12) == b"HTTP/1.1 200"
        # It had its turn after the first, and that was too late.
        assert two.recv(12) == b"HTTP/1.1 408"


def test_refusals_come_before_the_body(rehearsal: Rehearsal) -> None:
    """A key is judged by the head alone; then the connection ends, and what was said arrives."""
    with raw(rehearsal, head(rehearsal, "Content-Length: 50000000", key="wrong")) as secured:
        said = read_all(secured)
    assert said.startswith(b"HTTP/1.1 401")
    assert b"connection: close" in said.lower()


def test_a_refused_connection_is_kept(rehearsal: Rehearsal) -> None:
    """Where the body has come already, the next request takes the same connection."""
    length = f"Content-Length: {len(BODY)}"
    with raw(rehearsal, head(rehearsal, length, key="wrong") + BODY) as secured:
        assert secured.recv(12) == b"HTTP/1.1 401"
        while b"not one of" not in secured.recv(65536):
            pass
        secured.sendall(head(rehearsal, length, "Connection: close") + BODY)
        assert read_all(secured).startswith(b"HTTP/1.1 200")


def test_forms_of_requests(rehearsal: Rehearsal) -> None:
    """Chunks, a body that waits to be called, and HEAD are all HTTP."""
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
    end = "Connection: close"
    with raw(rehearsal, head(rehearsal, "Transfer-Encoding: chunked", end) + chunks) as secured:
        assert read_all(secured).startswith(b"HTTP/1.1 200")
    waiting = head(rehearsal, f"Content-Length: {len(BODY)}", "Expect: 100-continue", end)
    with raw(rehearsal, waiting) as secured:
        assert secured.recv(100).startswith(b"HTTP/1.1 100")
        secured.sendall(BODY)
        assert read_all(secured).startswith(b"HTTP/1.1 200")
    said = ask(rehearsal, "/v2/health/live", None, method="HEAD")
    assert (said.status, said.body) == (424, b""), "the embedded server takes no HEAD"


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"x" * 70_000,
    ],
    ids=["no HTTP", "two lengths", "no end"],
)
def test_bad_http(rehearsal: Rehearsal, data: bytes) -> None:
    """What is not HTTP gets 400 and the end of the connection."""
    with raw(rehearsal, data) as secured:
        assert read_all(secured).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    ("key", "status"), [(None, 400), ("wrong", 401)], ids=["the model's", "refused"]
)
@pytest.mark.parametrize("chunks", [b"zz\r\nab", b"2\r\nabcd\r\n0\r\n\r\n", b"1;" + b"x" * 70_000])
def test_chunks_that_are_none(
    rehearsal: Rehearsal, chunks: bytes, key: str | None, status: int
) -> None:
    """A body that breaks HTTP's rules is answered too, and ends the connection."""
    with raw(rehearsal, head(rehearsal, "Transfer-Encoding: chunked", key=key) + chunks) as secured:
        said = read_all(secured)
    assert said.startswith(b"HTTP/1.1 %d" % status)
    assert b"connection: close" in said.lower()


def test_swagger(rehearsal: Rehearsal) -> None:
    """The description names the addresses of the models, for who has the key."""
    said = json.loads(ask(rehearsal, "/swagger.json", None).body)
    assert said["info"]["title"] == "digits-ep"
    assert INFER in said["paths"]
    assert ask(rehearsal, "/swagger.json", None, key=None).status == 401


def test_bandwidth(folder: Path) -> None:
    """A body beyond the bandwidth takes its time, and trailers say how much it was."""
    limits = GatewayLimits(bandwidth_bytes_per_s=1_000_000)
    with rehearse(folder, server="embedded", limits=limits) as rehearsal:
        spaces = BODY + b" " * 100_000
        lines = (f"Content-Length: {len(spaces)}", "Connection: close")
        started = time.monotonic()
        with raw(rehearsal, head(rehearsal, *lines) + spaces) as secured:
            said = read_all(secured).decode()
        assert time.monotonic() - started > 0.1
        assert said.startswith("HTTP/1.1 200")
        assert "ms-azureml-bandwidth-request-delay-ms: 100" in said.partition("\r\n0\r\n")[2]
        assert rehearsal.snapshot().delayed_s > 0.1
        old = head(rehearsal, lines[0]).replace(b"HTTP/1.1", b"HTTP/1.0") + spaces
        with raw(rehearsal, old) as secured:
            said = read_all(secured).decode()
        assert said.startswith("HTTP/1.1 200")
        assert "chunked" not in said, "HTTP/1.0 has no trailers"


def test_answers_that_nobody_takes(folder: Path) -> None:
    """A client that reads nothing loses its connection, and the answer its memory."""
    limits = GatewayLimits(idle_s=0.3)
    count = 200_000
    tensor = {"name": "x", "datatype": "FP32", "shape": [count, 4], "data": [0] * (4 * count)}
    body = json.dumps({"inputs": [tensor]}).encode()
    with rehearse(folder, server="embedded", limits=limits, without=["bandwidth"]) as rehearsal:
        with raw(rehearsal, head(rehearsal, f"Content-Length: {len(body)}") + body):
            until(lambda: rehearsal.snapshot().codes)
            assert rehearsal.snapshot().held_bytes > 1_000_000
            until(lambda: rehearsal.snapshot().connections == 0)
        assert rehearsal.snapshot().held_bytes == 0


def test_the_library_reads_delayed_answers(folder: Path) -> None:
    """Large tensors come whole through a gateway that delays them and sends trailers."""
    limits = GatewayLimits(bandwidth_bytes_per_s=2_000_000)
    with rehearse(folder, server="embedded", limits=limits) as rehearsal:
        many = np.ones((10_000, 4), np.float32)
        with hybrid(rehearsal) as model:
            np.testing.assert_allclose(
                model.predict(many, use_azure=True), model.predict(many), rtol=1e-5
            )
        assert rehearsal.snapshot().delayed_s > 0.1


@pytest.mark.parametrize(
    ("trouble", "error"),
    [
        ("key", AuthenticationFailed),
        ("weight", EndpointRefused),
        ("late", EndpointTimeout),
        ("model", EndpointRefused),
        ("dead", EndpointUnavailable),
        ("full", RateLimited),
    ],
)
def test_the_library_reads_each_refusal(
    rehearsal: Rehearsal, trouble: str, error: type[Exception]
) -> None:
    """Each status of the gateway becomes the error of the library that says what to do."""
    options: dict[str, Any] = {"breaker_failures": None, "max_attempts": 1, "binary": True}
    credential: Any = rehearsal.credential
    if trouble == "key":
        credential = lambda: "wrong"  # noqa: E731
    elif trouble == "weight":
        rehearsal.set_traffic({})
    elif trouble == "model":
        options["model_version"] = "7"
    elif trouble == "dead":
        rehearsal.kill("blue")
    else:
        rehearsal.hang("blue")
    whole = head(rehearsal, f"Content-Length: {len(BODY)}") + BODY
    with ExitStack() as stack:
        if trouble == "full":
            for _ in range(2):
                stack.enter_context(raw(rehearsal, whole))
            until(lambda: rehearsal.snapshot().deployments[0].in_flight == 2)
        model = stack.enter_context(hybrid(rehearsal, credential, **options))
        with pytest.raises(error):
            model.predict(np.ones((1, 4), np.float32), use_azure=True)


@pytest.mark.parametrize(
    ("limits", "size", "status"),
    [
        ({"max_body_bytes": 1000}, 2000, 413),
        ({"max_held_bytes": 1000}, 2000, 503),
    ],
    ids=["body", "all bodies"],
)
def test_memory_is_bounded(folder: Path, limits: Any, size: int, status: int) -> None:
    """Too large a body is refused, announced or in chunks, and gives its place back."""
    with rehearse(folder, server="embedded", limits=GatewayLimits(**limits)) as rehearsal:
        spaces = BODY + b" " * size
        assert ask(rehearsal, body=spaces).status == status
        chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(spaces), spaces)
        lines = ("Transfer-Encoding: chunked", "Connection: close")
        with raw(rehearsal, head(rehearsal, *lines) + chunks) as secured:
            assert read_all(secured).startswith(b"HTTP/1.1 %d" % status)
        seen = rehearsal.snapshot()
        assert (seen.held_bytes, seen.deployments[0].in_flight) == (0, 0)
        assert ask(rehearsal).status == 200


def test_limits_of_the_endpoint(folder: Path) -> None:
    """More requests in a second get 429, and more connections at a time none."""
    limits = GatewayLimits(requests_per_s=5, connections=1)
    with rehearse(folder, server="embedded", limits=limits) as rehearsal:
        connection = connect(rehearsal)
        assert ask(rehearsal, on=connection).status == 200
        with pytest.raises((ConnectionError, ssl.SSLError)):
            ask(rehearsal)
        statuses = [ask(rehearsal, on=connection).status for _ in range(8)]
        assert statuses[0] == 200
        assert 429 in statuses
        connection.close()


def test_expired_tokens(tmp_path: Path) -> None:
    """An endpoint with tokens takes those of Entra ID until they expire, and no key."""
    folder = write_export(tmp_path, auth_mode="aad_token")
    with rehearse(folder, server="embedded") as rehearsal:
        assert ask(rehearsal).status == 200
        assert ask(rehearsal, key="a key").status == 401
    limits = GatewayLimits(token_s=0)
    with rehearse(folder, server="embedded", limits=limits) as rehearsal:
        said = ask(rehearsal)
        assert (said.status, said.body) == (401, b"the token has expired")
