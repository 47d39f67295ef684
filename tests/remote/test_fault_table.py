"""The fault table: what an endpoint can do wrong, row by row, and what the caller sees of it.

Every fault is injected on a real socket, as a rule by a gateway before a real server, and met by
the whole model. The server has another model than the caller, so that an answer that was computed
here would be noticed. `tests.support.fault_report` prints what each row gave.
"""

from __future__ import annotations

import datetime as dt
import faulthandler
import gc
import itertools
import json
import logging
import multiprocessing
import os
import pickle
import re
import signal
import socket
import struct
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hybridmodel import (
    Answer,
    AuthenticationFailed,
    CircuitOpen,
    EndpointRefused,
    EndpointTimeout,
    EndpointUnavailable,
    HybridModelError,
    HybridOnnxModel,
    ProtocolError,
    RateLimited,
    SpecMismatch,
    TritonEndpoint,
)
from hybridmodel.remote.wire.protocol import Message
from hybridmodel.serving import EmbeddedServer, TritonServer, serve
from hybridmodel.serving.triton_files import unsupported
from tests.remote.test_connection import SETTINGS, Authority
from tests.remote.test_remote_client import answer, drip, good, silent
from tests.support import models
from tests.support.fault_report import Note, Seen, noting, seen
from tests.support.faulty import (
    FaultyEndpoint,
    Gateway,
    Rule,
    Script,
    error,
    first,
    forward,
    http,
    raw,
)

TIMEOUT_S = 10.0
SLACK_S = 2.0
KEY = "fault-key-83c1f0"
X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
LOCAL = models.linear(seed=0)


def expected(data: np.ndarray = X, version: int = 1) -> np.ndarray:
    """Compute what a version of the model at the endpoint answers."""
    found: np.ndarray = HybridOnnxModel(models.linear(seed=version)).predict(data)
    return found


Y = expected()


@pytest.fixture(scope="module")
def upstream() -> Iterator[TritonServer | EmbeddedServer]:
    """Serve a model in two versions, and one more, by the real Triton where it runs."""
    served: dict[str, Any] = {"versions": models.served()["versions"], "linear": models.linear()}
    with TritonServer(served) if unsupported() is None else serve(served) as server:
        yield server


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the key, and keep the machine's proxies and certificates out."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FAULT_KEY", KEY)


@pytest.fixture
def note(record_property: Callable[[str, object], None]) -> Note:
    """Record a line of the report."""
    return noting(record_property)


def hybrid(gateway: Gateway, credential: Any = None, **options: Any) -> HybridOnnxModel:
    """Make a model whose endpoint stands behind the gateway."""
    given = {
        "model_name": "versions",
        "auth_key_env": "FAULT_KEY",
        "timeout_s": TIMEOUT_S,
        **options,
    }
    return HybridOnnxModel(LOCAL, endpoint=gateway.endpoint(**given), credential=credential)


def ask(model: HybridOnnxModel, data: Any = X, **options: Any) -> Seen:
    """Ask the endpoint once, and check what holds for every call: it ends in time, without the key.

    What has to be there instead of the key is the test's to say.
    """
    result = seen(lambda: model.infer(data, use_azure=True, **options))
    assert model.endpoint is not None
    assert result.seconds < options.get("timeout", model.endpoint.timeout_s) + SLACK_S
    if isinstance(result.value, BaseException):
        assert KEY not in "".join(traceback.format_exception(result.value))
        assert KEY not in repr(vars(result.value))
    return result


def assert_right(result: Seen | Answer, wanted: np.ndarray = Y) -> None:
    """Check that the endpoint's model answered, and rightly."""
    came = result.answer if isinstance(result, Seen) else result
    assert came.route == "azure"
    np.testing.assert_allclose(came.outputs["y"], wanted, rtol=1e-5)


def posts(gateway: Gateway) -> list[bytes]:
    """Return the requests that ask the model."""
    return [request for request in gateway.requests if request.startswith(b"POST")]


def close(connection: socket.socket) -> None:
    """Go away without a word."""
    connection.shutdown(socket.SHUT_RDWR)


def reset(connection: socket.socket) -> None:
    """Go away with a reset instead of an end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def cut_off(data: bytes) -> Script:
    """Return a script that writes this much, and goes away."""

    def script(connection: socket.socket) -> None:
        connection.sendall(data)
        close(connection)

    return script


def behind(status: int, body: bytes = b"", **headers: str) -> Script:
    """Return a script that answers as Azure does for a server that answered with this status."""
    return http(424, body, ms_azureml_model_error_statuscode=str(status), **headers)


def triton_error(text: str) -> bytes:
    """Write an error as Triton does."""
    return json.dumps({"error": text}).encode()


def resized(change: int) -> Script:
    """Return a script that answers well but for some bytes too many, or too few."""
    message = answer(y=Y)
    body = message.body() + b"x" * change if change > 0 else message.body()[:change]
    return http(200, body, Inference_Header_Content_Length=str(len(message.header)))


def of(**outputs: np.ndarray) -> Script:
    """Return a script that gives a well-formed answer with these outputs."""
    message: Message = answer(**outputs)
    return good(message)


def json_answer(data: bytes) -> Script:
    """Return a script that gives an answer without the binary extension."""
    head = b'{"outputs":[{"name":"y","datatype":"FP32","shape":[3,2],"data":['
    return http(200, head + data + b"]}]}")


@dataclass(frozen=True)
class Case:
    """A fault that a gateway injects some times; after that the real server answers.

    Attributes
    ----------
    number : int
        Row of the table.
    injected : str
        In words.
    script : Script
        On the wire.
    kind : type of error, optional
        What the caller sees; None for the right answer.
    status : int, optional
        Of the error.
    says : tuple of str
        All stand in its message.
    times : int
        How often it is injected. The same number of requests has to arrive, and one more where
        an answer is expected: whoever asks too often gets an answer, and fails the test.
    options : dict
        Of the endpoint.
    """

    number: int
    injected: str
    script: Script
    kind: type[HybridModelError] | None = None
    status: int | None = None
    says: tuple[str, ...] = ()
    times: int = 1
    options: dict[str, Any] = field(default_factory=dict)


def refused(number: int, injected: str, script: Script, status: int, *says: str) -> Case:
    """Describe a fault that is told at once, and not tried again."""
    return Case(number, injected, script, EndpointRefused, status, says)


def nonsense(number: int, injected: str, script: Script, *says: str, **options: Any) -> Case:
    """Describe a 200 that is no answer."""
    return Case(number, injected, script, ProtocolError, 200, says, options=options)


def other(injected: str, script: Script, *says: str) -> Case:
    """Describe a good answer of another model."""
    return Case(23, injected, script, SpecMismatch, None, says)


def lasting(number: int, injected: str, script: Script, status: int | None, *says: str) -> Case:
    """Describe a fault that is tried again, and stays."""
    return Case(number, injected, script, EndpointUnavailable, status, says, times=3)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
TRUNCATED = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{}"
PAGE = b"<html><title>Sign in</title></html>"
SOON = {"timeout_s": 0.5}

CASES = [
    Case(3, "the connection ends before a byte of the answer", close),
    Case(3, "the connection is reset before a byte of the answer", reset),
    Case(3, "the connection ends so twice", close, times=2),
    lasting(3, "the connection ends so always", close, None, "the server closed the connection"),
    Case(4, "no answer", silent, EndpointTimeout, None, ("0.5 s",), options=SOON),
    Case(
        4,
        "a body that drips, a byte each 20 ms",
        drip(TRUNCATED, 0.02),
        EndpointTimeout,
        None,
        ("0.5 s",),
        options=SOON,
    ),
    Case(
        4, "a head that drips", drip(b"HTTP/1.1 200 OK\r\nX: ", 0.02), EndpointTimeout, options=SOON
    ),
    Case(5, "a body cut off", cut_off(TRUNCATED)),
    Case(5, "a chunked body cut off", cut_off(CHUNKED + b"1000\r\n{")),
    lasting(5, "a body cut off, always", cut_off(TRUNCATED), None, "2 of 1000 bytes"),
    refused(7, "400 of Triton", error(400, "unexpected shape for 'x'"), 400, "shape for 'x'"),
    Case(
        9,
        "403",
        http(403, b"no"),
        AuthenticationFailed,
        403,
        ("onlineEndpoints/score/action", "private"),
    ),
    refused(10, "404 of the gateway", http(404, b"not found"), 404, "traffic", "/versions/1"),
    Case(
        11,
        "408 as plain text",
        http(408, b"upstream request timeout"),
        EndpointTimeout,
        408,
        ("upstream request timeout", "request_timeout_ms"),
    ),
    refused(12, "413 for a single row", http(413, b"too large"), 413, "fewer rows"),
    refused(13, "424, model 400", behind(400, triton_error("bad")), 424, "model: 400", "bad"),
    refused(13, "424, model 404", behind(404, b"who?"), 424, "model: 404", "who?", "no such model"),
    refused(13, "424, model 405", behind(405), 424, "model: 405"),
    refused(13, "424, model 501", behind(501), 424, "model: 501"),
    refused(
        13,
        "424, model 400, the reason only in its header",
        behind(400, ms_azureml_model_error_reason="bad tensor"),
        424,
        "bad tensor",
    ),
    refused(14, "424, model 500", behind(500, triton_error("crash")), 424, "model: 500", "crash"),
    refused(14, "424, model 500 as plain text", behind(500, b"crash"), 424, "500", "crash"),
    Case(15, "424, model 503", behind(503, triton_error("queue is full"))),
    Case(15, "424, model 502", behind(502)),
    Case(15, "424, model 504", behind(504), EndpointTimeout, 424, ("model: 504", "fewer rows")),
    lasting(15, "424, model 503, always", behind(503, b"queue is full"), 424, "queue is full"),
    Case(16, "424 alone", http(424, b"upstream connect error")),
    lasting(16, "424 alone, always", http(424, b"upstream connect error"), 424, "starting"),
    Case(17, "429", http(429, b"slow down")),
    Case(18, "500 of the gateway", http(500, PAGE)),
    lasting(18, "500 of the gateway, always", http(500, PAGE), 500, "Sign in"),
    Case(19, "502", http(502, b"bad gateway")),
    Case(19, "503", http(503, b"no healthy upstream")),
    Case(19, "503 that asks for half a second", http(503, Retry_After="0.5")),
    Case(19, "504", http(504, b"stream timeout"), EndpointTimeout, 504, ("fewer rows",)),
    refused(20, "501", error(501, "compression is not supported"), 501, "compression"),
    nonsense(
        21,
        "200 with a web page",
        http(200, PAGE, Content_Type="text/html"),
        "text/html",
        "Sign in",
    ),
    nonsense(21, "200 with nothing", http(200), "read"),
    nonsense(21, "200 with a list", http(200, b"[1]"), "not an object"),
    nonsense(21, "200 with an error", http(200, triton_error("odd proxy")), "odd proxy"),
    nonsense(21, "200 in a coding nobody asked for", http(200, b"x", Content_Encoding="br"), "br"),
    Case(21, "no HTTP at all", raw(b"SSH-2.0-OpenSSH_9.2p1\r\n"), ProtocolError, None, ("SSH",)),
    nonsense(22, "a header length missing", http(200, answer(y=Y).body()), "read"),
    nonsense(
        22,
        "a header length beyond the body",
        good(answer(y=Y), Inference_Header_Content_Length="99999"),
        "99999",
    ),
    nonsense(
        22,
        "a header length that is no number",
        good(answer(y=Y), Inference_Header_Content_Length="0x10"),
        "0x10",
    ),
    nonsense(22, "a tensor one byte short", resized(-1), "bytes"),
    nonsense(22, "a tensor one byte long", resized(1), "1 bytes are left over"),
    other("an output missing", of(z=Y), "'y': missing"),
    other("an output too many", of(y=Y, z=Y), "'z': the local model does not have it"),
    other("another dtype", of(y=Y.astype(np.float64)), "float64 came, float32 was expected"),
    other("another shape", of(y=Y.ravel()), "[6] came, [?, 2] was expected"),
    other("another number of rows", of(y=Y[:2]), "2 rows came, 3 were sent"),
    nonsense(
        24,
        "JSON that is not UTF-8",
        http(200, b'{"model_name": "\xff\xfe", "outputs": []}'),
        "read",
        binary=False,
    ),
    nonsense(24, "JSON with a wrong literal", json_answer(b"1,2,3,4,5,-Inf"), "read", binary=False),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.number} {case.injected}")
def test_what_the_caller_sees(case: Case, upstream: Any, note: Note) -> None:
    """Class, status, words and number of requests are those of the table; the next call is well."""
    with (
        Gateway(upstream.port, first(*[case.script] * case.times)) as gateway,
        hybrid(gateway, **case.options) as model,
    ):
        data = X[:1] if "single row" in case.injected else X
        result = ask(model, data)
        # After a 400 or 424, the configuration is asked for as well.
        arrived = len(posts(gateway))
        afterwards = ask(model)
    note(case.number, case.injected, result, result.seconds)
    assert arrived == case.times + (case.kind is None)
    if case.kind is None:
        assert_right(result)
        assert result.answer.attempts == arrived
    else:
        assert_failed(case, result, arrived)
    assert_right(afterwards)


def assert_failed(case: Case, result: Seen, arrived: int) -> None:
    """Check an error against its row."""
    failure = result.error
    assert type(failure) is case.kind
    assert all(words in str(failure) for words in case.says), str(failure)
    assert getattr(failure, "status", None) == case.status
    assert getattr(failure, "attempts", arrived) == arrived


def answered(result: Seen, note: Note, number: int, injected: str) -> Answer:
    """Note a call that has to be answered."""
    note(number, injected, result, result.seconds)
    assert_right(result)
    return result.answer


def raised(
    result: Seen, note: Note, number: int, injected: str, kind: type[HybridModelError], *says: str
) -> Any:
    """Note a call that has to fail."""
    note(number, injected, result, result.seconds)
    assert type(result.error) is kind, result.value
    assert all(words in str(result.error) for words in says), str(result.error)
    return result.error


def nobody(uri: str, **options: Any) -> HybridOnnxModel:
    """Make a model whose endpoint cannot be reached."""
    given = {"auth_key_env": "FAULT_KEY", "timeout_s": TIMEOUT_S, **options}
    return HybridOnnxModel(LOCAL, endpoint=TritonEndpoint(uri=uri, model_name="m", **given))


@pytest.fixture
def closed() -> Iterator[str]:
    """Give an address where nobody listens, and nobody else will."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@pytest.fixture
def full() -> Iterator[str]:
    """Give an address where connecting never ends: its queue is full, and nobody accepts."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listening, ExitStack() as waiting:
        for _ in range(4):
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(listening.getsockname())
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_row_01_a_name_that_nobody_has(note: Note) -> None:
    """DNS that knows nothing is tried again, and said with the name."""
    with nobody("https://nobody.invalid") as model:
        result = ask(model)
    failure = raised(result, note, 1, "DNS failure", EndpointUnavailable, "nobody.invalid")
    assert (failure.attempts, failure.status) == (3, None)


def test_row_01_nobody_listens(closed: str, note: Note) -> None:
    """A refused connection is tried again, and said with the address."""
    with nobody(closed) as model:
        result = ask(model)
    failure = raised(result, note, 1, "refused", EndpointUnavailable, "refused", closed)
    assert failure.attempts == 3


def test_row_01_connecting_never_ends(full: str, note: Note) -> None:
    """Each attempt to connect is bounded by itself, all together by the deadline."""
    with nobody(full, connect_timeout_s=0.2) as model:
        result = ask(model)
        slow = ask(model, timeout=0.15)
    says = "no connection within 0.2 s"
    assert raised(result, note, 1, "connect timeout", EndpointUnavailable, says).attempts == 3
    raised(slow, note, 1, "connect timeout beyond the deadline", EndpointTimeout, "0.15 s")


def test_row_01_the_deadline_bounds_the_attempts(closed: str, note: Note) -> None:
    """Ten attempts that may be made end with the call's time nevertheless."""
    with nobody(closed, max_attempts=10, breaker_failures=None) as model:
        result = ask(model, timeout=1.0)
    failure = raised(result, note, 1, "refused, 10 attempts in 1 s", EndpointUnavailable)
    assert failure.attempts < 10
    assert result.seconds < 1.0 + SLACK_S / 2


def test_row_01_a_private_network_is_thought_of(closed: str) -> None:
    """Whoever cannot connect is told that the endpoint may be private."""
    with nobody(closed, max_attempts=1) as model:
        assert "private" in str(ask(model).error)


@pytest.mark.parametrize("expired", [False, True])
def test_row_02_a_certificate(
    expired: bool,
    upstream: Any,
    note: Note,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that is not accepted is told with the way out; nothing is sent, nothing repeated."""
    if expired:
        past = SimpleNamespace(**vars(dt))
        past.datetime = type("Past", (), {"now": staticmethod(ten_days_ago)})
        monkeypatch.setattr("tests.remote.test_connection.dt", past)
    authority = Authority(tmp_path, "127.0.0.1")
    if expired:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.bundle))
    accepted = 0
    with Gateway(upstream.port, first(), tls=authority.server) as gateway:
        with hybrid(gateway) as model:
            result = ask(model)
        arrived = len(gateway.requests)
        if not expired:
            with hybrid(gateway, ca_bundle=str(authority.bundle)) as model:
                assert_right(ask(model))
                accepted = 1
    injected, says = ("expired", "expired") if expired else ("of an unknown authority", "verify")
    failure = raised(result, note, 2, f"a certificate {injected}", EndpointRefused, says)
    assert "REQUESTS_CA_BUNDLE" in str(failure)
    assert (arrived, failure.attempts, len(gateway.requests)) == (0, 1, accepted)


def ten_days_ago(zone: Any) -> Any:
    """Tell a time when certificates of today were not thought of."""
    return dt.datetime.now(zone) - dt.timedelta(days=10)


@pytest.mark.parametrize(("how", "done"), [(close, "closed"), (reset, "reset")])
def test_row_03_a_reused_connection_that_is_dead(
    how: Script, done: str, upstream: Any, note: Note
) -> None:
    """What is sent on a connection that ends just then is sent again at once, on another."""
    script: list[Script] = []
    with (
        Gateway(upstream.port, lambda _: script.pop() if script else None) as gateway,
        hybrid(gateway, max_attempts=1) as model,
    ):
        assert_right(ask(model))
        script.append(how)
        result = ask(model)
        assert len(gateway.requests) == 3
    answered(result, note, 3, f"a reused connection, {done} as it is used")


def test_row_04_counts_for_the_breaker(upstream: Any, note: Note) -> None:
    """A timeout speaks against an endpoint, and is not tried again."""
    with (
        Gateway(upstream.port, first(silent)) as gateway,
        hybrid(gateway, timeout_s=1.0, breaker_failures=1) as model,
    ):
        result, following = ask(model), ask(model)
        assert len(gateway.requests) == 1
    raised(result, note, 4, "no answer, with a breaker of one failure", EndpointTimeout)
    raised(following, note, 4, "the call after that", CircuitOpen, "1 s")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_row_06_a_redirect(status: int, upstream: Any, note: Note) -> None:
    """It is not followed, and its path and query are not repeated."""
    with FaultyEndpoint(good()) as elsewhere:
        script = http(status, PAGE, Location=f"{elsewhere.uri}/login?token=S3CRET")
        with Gateway(upstream.port, first(script)) as gateway, hybrid(gateway) as model:
            result = ask(model)
        assert len(gateway.requests) == 1
        assert elsewhere.requests == []
    failure = raised(result, note, 6, str(status), EndpointRefused, "redirect", "not followed")
    assert failure.status == status
    assert "S3CRET" not in str(failure)
    assert "login" not in str(failure)


def test_row_06_names_the_host(upstream: Any) -> None:
    """The host of a redirect shows which login page or proxy stands in between."""
    script = http(302, PAGE, Location="https://login.example/?token=S3CRET")
    with Gateway(upstream.port, first(script)) as gateway, hybrid(gateway) as model:
        assert "login.example" in str(ask(model).error)


def test_row_07_what_the_server_says_of_a_tensor(upstream: Any, note: Note) -> None:
    """A model that takes five columns asks one that takes four: refused in the server's words."""
    with Gateway(upstream.port, first()) as gateway:
        endpoint = gateway.endpoint(model_name="linear")
        with HybridOnnxModel(models.linear(n_features=5), endpoint=endpoint) as model:
            result = ask(model, np.ones((3, 5), np.float32))
    failure = raised(result, note, 7, "another shape, real server", EndpointRefused, "'x'", "shape")
    assert (failure.status, len(posts(gateway))) == (400, 1)


class Tokens:
    """A credential whose first token has expired already."""

    def __init__(self) -> None:
        self.given = iter(["old", "new", "newer"])

    def get_token(self, *scopes: str) -> Any:
        """Give the next token."""
        assert scopes == ("https://ml.azure.com/.default",)
        return SimpleNamespace(token=next(self.given), expires_on=time.time() + 3600)


def only(key: str) -> Rule:
    """Return a rule: 401 for every other key."""
    accepted = f"Bearer {key}\r\n".encode()
    return lambda request: None if accepted in request else http(401, b"token expired")


def test_row_08_an_expired_token(upstream: Any, note: Note) -> None:
    """It is renewed once, at once, and the next call begins with the new one."""
    with Gateway(upstream.port, only("new")) as gateway, hybrid(gateway, Tokens()) as model:
        result = ask(model)
        assert_right(ask(model))
        assert len(gateway.requests) == 3
    assert answered(result, note, 8, "401 for an expired token").attempts == 2


def test_row_08_a_rotated_key(upstream: Any, note: Note, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other key is tried when the first is refused, and first from then on."""
    monkeypatch.setenv("FAULT_KEY_2", "second-key")
    with (
        Gateway(upstream.port, only("second-key")) as gateway,
        hybrid(gateway, secondary_key_env="FAULT_KEY_2") as model,
    ):
        result = ask(model)
        assert_right(ask(model))
        assert len(gateway.requests) == 3
    assert answered(result, note, 8, "401 for the primary key").attempts == 2


def test_row_08_no_key_is_good(upstream: Any, note: Note) -> None:
    """The second refusal is the caller's, with the scope that a token needs."""
    with Gateway(upstream.port, only("none")) as gateway, hybrid(gateway, Tokens()) as model:
        result = ask(model)
        assert len(gateway.requests) == 2
    says = ("https://ml.azure.com/.default", "token expired")
    failure = raised(result, note, 8, "401, always", AuthenticationFailed, *says)
    assert (failure.status, failure.attempts) == (401, 2)


def test_row_10_a_version_that_is_not_served(upstream: Any, note: Note) -> None:
    """A real server's refusal names what was asked for."""
    with (
        Gateway(upstream.port, first()) as gateway,
        hybrid(gateway, model_version="9") as model,
    ):
        result = ask(model)
    failure = raised(result, note, 10, "a wrong version, real server", EndpointRefused, "versions")
    assert (failure.status in (400, 404), len(posts(gateway))) == (True, 1)


def test_row_12_too_large(upstream: Any, note: Note) -> None:
    """Chunks are halved until they pass, and the rows come back in order."""
    rows = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)

    def rule(request: bytes) -> Script | None:
        return http(413, b"too large") if len(request) > 2000 else None

    with Gateway(upstream.port, rule) as gateway, hybrid(gateway) as model:
        result = ask(model, rows)
        arrived = len(gateway.requests)
        afterwards = ask(model, rows)
    note(12, "413 above 2,000 bytes, for 3,200", result, result.seconds)
    assert_right(result, expected(rows))
    assert_right(afterwards, expected(rows))
    # One of 200 rows, one or two of 100, four of 50; and only four the second time.
    assert (result.answer.attempts, arrived in (6, 7)) == (4, True)
    assert len(gateway.requests) == arrived + 4


@pytest.mark.parametrize(
    ("headers", "least_s"),
    [
        ({"Retry_After": "1"}, 1.0),
        ({"retry_after_ms": "300"}, 0.3),
        ({"x_ms_retry_after_ms": "300", "Retry_After": "9"}, 0.3),
    ],
)
def test_row_17_a_limit_that_says_how_long(
    headers: dict[str, Any], least_s: float, upstream: Any, note: Note
) -> None:
    """What is asked to wait is waited, and fewer requests are under way at a time afterwards."""
    with (
        Gateway(upstream.port, first(http(429, **headers))) as gateway,
        hybrid(gateway) as model,
    ):
        before = model.stats()["azure.in_flight_limit"]
        result = ask(model)
        after = model.stats()["azure.in_flight_limit"]
    shown = ", ".join(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())
    answered(result, note, 17, f"429 with {shown}")
    assert result.seconds >= least_s
    assert after <= before / 2 + 1


def test_row_17_a_limit_longer_than_the_call(upstream: Any, note: Note) -> None:
    """A pause that cannot end in time is not begun."""
    script = http(429, b"quota", Retry_After="60")
    with Gateway(upstream.port, first(script)) as gateway, hybrid(gateway) as model:
        result = ask(model)
        assert len(gateway.requests) == 1
    failure = raised(result, note, 17, "429 with retry-after: 60", RateLimited, "quota")
    assert failure.retry_after_s == 60.0
    assert result.seconds < 1.0


def test_row_17_retries_do_not_multiply_the_load(upstream: Any, note: Note) -> None:
    """Of twenty calls that all fail, a quarter is tried again, and the rest is sent once."""
    with Gateway(upstream.port, lambda _: http(429)) as gateway, hybrid(gateway) as model:
        results = [ask(model) for _ in range(20)]
        arrived = len(gateway.requests)
    raised(results[-1], note, 17, f"429 for 20 calls: {arrived} requests", RateLimited)
    assert all(type(result.error) is RateLimited for result in results)
    assert arrived == 25


class Crowd:
    """A rule that counts how many requests are under way, and may refuse above a number."""

    def __init__(self, upstream: int, most: int = 1000) -> None:
        self._upstream, self._most = upstream, most
        self._lock = threading.Lock()
        self.now = self.highest = self.refused = 0
        self.peers: set[Any] = set()

    def __call__(self, request: bytes) -> Script:
        """Answer by the real server while counting."""

        def script(connection: socket.socket) -> None:
            self.peers.add(connection.getpeername())
            with self._lock:
                self.now += 1
                self.highest = max(self.highest, self.now)
                over = self.now > self._most
                self.refused += over
            try:
                answer_with = http(429) if over else forward(self._upstream, request, 1, 0.01)
                answer_with(connection)
            finally:
                with self._lock:
                    self.now -= 1

        return script


def test_row_17_many_threads_at_a_small_deployment(upstream: Any, note: Note) -> None:
    """Sixteen threads before a deployment that takes two at a time end well or limited."""
    crowd = Crowd(upstream.port, most=2)
    with Gateway(upstream.port, crowd) as gateway, hybrid(gateway) as model:
        with ThreadPoolExecutor(16) as threads:
            results = list(threads.map(lambda _: ask(model), range(160)))
        limit = model.stats()["azure.in_flight_limit"]
    good_ones = [result for result in results if isinstance(result.value, Answer)]
    for result in good_ones:
        assert_right(result)
    assert {type(result.value) for result in results} <= {Answer, RateLimited}
    slowest = max(result.seconds for result in results)
    saw = f"{len(good_ones)} right answers, the rest RateLimited, {crowd.refused} times 429"
    note(17, "160 calls of 16 threads, 429 above 2 at a time", saw, slowest)
    assert len(good_ones) > 100
    assert limit < 16


def test_row_24_infinity_in_json(upstream: Any, note: Note) -> None:
    """What Python's JSON writes beyond the standard is read; a real server answers in binary."""
    literals = b"NaN,Infinity,-Infinity,1,2,3"
    with Gateway(upstream.port, first(json_answer(literals))) as gateway:
        with hybrid(gateway, binary=False) as model:
            result = ask(model)
        with hybrid(gateway) as model:
            huge = ask(model, np.full((1, 4), 3e38, np.float32))
            nan = ask(model, np.full((1, 4), np.nan, np.float32))
    note(24, "NaN and infinities in JSON", result, result.seconds)
    came = result.answer.outputs["y"].ravel()
    np.testing.assert_array_equal(came, np.array([np.nan, np.inf, -np.inf, 1, 2, 3], np.float32))
    assert not np.isfinite(huge.answer.outputs["y"]).all()
    assert np.isnan(nan.answer.outputs["y"]).all()


@pytest.mark.parametrize("pieces", [10, 1000])
def test_row_25_an_answer_that_comes_slowly(pieces: int, upstream: Any, note: Note) -> None:
    """It is waited for within the deadline, and given up beyond it."""
    with (
        Gateway(upstream.port, lambda request: forward(upstream.port, request, pieces, 0.02)) as gw,
        hybrid(gw) as model,
    ):
        result = ask(model, timeout=1.0)
        assert len(gw.requests) == 1
    if pieces == 10:
        answered(result, note, 25, "an answer that takes 0.2 s to arrive, of 1 s")
    else:
        raised(result, note, 25, "an answer that takes longer than the call", EndpointTimeout)


def test_row_25_azure_says_that_it_delayed(upstream: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Who sends more than the endpoint's bandwidth is warned."""
    message = answer(y=Y)
    script = good(message, ms_azureml_bandwidth_response_delay_ms="1200")
    with Gateway(upstream.port, first(script)) as gateway, hybrid(gateway) as model:
        assert_right(ask(model))
    assert "1200" in caplog.text


def split(upstream: int) -> Rule:
    """Return a rule: half of the traffic for version 1, half for 3, unless one is pinned."""
    turns = itertools.cycle([b"1", b"3"])
    versions = {b"blue": b"1", b"green": b"3"}

    def rule(request: bytes) -> Script:
        pinned = re.search(rb"azureml-model-deployment: (\w+)", request)
        version = versions[pinned[1]] if pinned else next(turns)
        routed = request.replace(b"/versions/1/", b"/versions/" + version + b"/")
        return forward(upstream, routed)

    return rule


def test_row_26_two_deployments_behind_one_address(upstream: Any, note: Note) -> None:
    """Each answer says which version gave it, and one deployment can be pinned."""
    with Gateway(upstream.port, split(upstream.port)) as gateway:
        with hybrid(gateway) as model:
            results = [ask(model) for _ in range(6)]
        with hybrid(gateway, deployment="green") as model:
            pinned = [ask(model) for _ in range(4)]
    for result in results + pinned:
        assert_right(result, expected(version=int(result.answer.model_version or 0)))
    saw = " ".join(f"{result.answer.model_version}" for result in results)
    note(26, "traffic split in two", f"right answers of versions {saw}", results[0].seconds)
    assert {result.answer.model_version for result in results} == {"1", "3"}
    assert {result.answer.model_version for result in pinned} == {"3"}


def test_row_26_is_seen_in_the_log(upstream: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The log of a split endpoint shows which version answered."""
    caplog.set_level(logging.DEBUG, "hybridmodel")
    with Gateway(upstream.port, split(upstream.port)) as gateway, hybrid(gateway) as model:
        ask(model), ask(model)
    assert "version 1" in caplog.text
    assert "version 3" in caplog.text


class Outage:
    """A rule that answers 503 until it is over, and then slowly."""

    over = False

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream

    def __call__(self, request: bytes) -> Script:
        """Answer."""
        if self.over:
            return forward(self._upstream, request, 1, 0.3)
        return http(503, b"no healthy upstream")


def test_row_27_an_outage(upstream: Any, note: Note) -> None:
    """Calls fail at once with the cause, nothing is asked meanwhile, and one probe ends it."""
    outage = Outage(upstream.port)
    with (
        Gateway(upstream.port, outage) as gateway,
        hybrid(gateway, max_attempts=1, breaker_failures=3, breaker_reset_s=0.5) as model,
    ):
        failing = [ask(model) for _ in range(3)]
        left_alone = [ask(model) for _ in range(20)]
        arrived = len(gateway.requests)
        outage.over = True
        time.sleep(left_alone[0].error.retry_after_s)
        with ThreadPoolExecutor(8) as threads:
            probing = list(threads.map(lambda _: ask(model), range(8)))
        probes = len(gateway.requests) - arrived
        afterwards = ask(model)
        here = model.infer(X)
    assert {type(result.error) for result in failing} == {EndpointUnavailable}
    for result in left_alone:
        assert type(result.error) is CircuitOpen
        assert result.seconds < 0.3
    says = ("3 failures in a row since", "again in", "no healthy upstream")
    failure = raised(left_alone[0], note, 27, "503 for all, the 4th call", CircuitOpen, *says)
    assert (arrived, failure.attempts, 0 < failure.retry_after_s <= 0.5) == (3, 0, True)
    answered(afterwards, note, 27, "the call after the probe")
    assert probes == 1
    assert sorted(type(one.value).__name__ for one in probing) == ["Answer"] + ["CircuitOpen"] * 7
    # Asked for, the local model answers all the time; not asked for, never.
    assert here.route == "local"


def test_row_28_many_threads(upstream: Any, note: Note) -> None:
    """No more requests are under way than were allowed, over no more connections."""
    crowd = Crowd(upstream.port)
    with (
        Gateway(upstream.port, crowd) as gateway,
        hybrid(gateway, max_in_flight=4) as model,
        ThreadPoolExecutor(24) as threads,
    ):
        results = list(threads.map(lambda _: ask(model), range(120)))
    for result in results:
        assert_right(result)
    saw = f"120 right answers, at most {crowd.highest} at a time, {len(crowd.peers)} connections"
    note(28, "24 threads, max_in_flight=4", saw, max(result.seconds for result in results))
    assert crowd.highest <= 4
    assert len(crowd.peers) <= 4


def test_row_28_waiting_for_a_turn_is_bounded(upstream: Any, note: Note) -> None:
    """Who waits behind a call that hangs waits no longer than its own deadline."""
    reached = threading.Event()

    def hang(connection: socket.socket) -> None:
        reached.set()
        silent(connection)

    with (
        Gateway(upstream.port, first(hang)) as gateway,
        hybrid(gateway, max_in_flight=1) as model,
        ThreadPoolExecutor(1) as thread,
    ):
        hanging = thread.submit(ask, model, timeout=1.5)
        assert reached.wait(5)
        result = ask(model, timeout=0.5)
        assert len(gateway.requests) == 1
        assert type(hanging.result().error) is EndpointTimeout
        assert_right(ask(model))
    raised(result, note, 28, "no turn within 0.5 s", EndpointTimeout, "0.5 s", "1 requests")


def _ask_in_child(model: HybridOnnxModel, results: Any) -> None:
    faulthandler.dump_traceback_later(20, exit=True)
    results.put([ask(model).answer for _ in range(5)])


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_row_29_a_fork(upstream: Any, note: Note) -> None:
    """Parent and child ask at the same time over connections of their own."""
    crowd = Crowd(upstream.port)
    with Gateway(upstream.port, crowd) as gateway, hybrid(gateway) as model:
        assert_right(ask(model))
        of_parent = set(crowd.peers)
        context = multiprocessing.get_context("fork")
        results = context.Queue()
        child = context.Process(target=_ask_in_child, args=(model, results))
        started = time.monotonic()
        child.start()
        here = [ask(model) for _ in range(5)]
        for one in [*here, *results.get(timeout=30)]:
            assert_right(one)
        seconds = time.monotonic() - started
        child.join(10)
    note(29, "a fork after a call", f"10 right answers, {len(crowd.peers)} connections", seconds)
    assert child.exitcode == 0
    assert len(of_parent) == 1
    assert len(crowd.peers) == 2


def _drop(only_here: list[HybridOnnxModel]) -> None:
    faulthandler.dump_traceback_later(10, exit=True)
    only_here.clear()
    gc.collect()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_row_29_a_child_may_drop_the_model() -> None:
    """A child that has no use for what its parent used does not wait for the parent's threads."""
    options = {"extra_session_config": {"session.intra_op.allow_spinning": "0"}}
    used = [HybridOnnxModel(LOCAL, session_options={**options, "intra_op_num_threads": 2})]
    used[0].predict(X)
    child = multiprocessing.get_context("fork").Process(target=_drop, args=(used,))
    child.start()
    child.join(20)
    assert child.exitcode == 0


def test_row_29_a_pickle(upstream: Any, note: Note) -> None:
    """It holds no key and no connection, and answers over its own."""
    crowd = Crowd(upstream.port)
    with Gateway(upstream.port, crowd) as gateway, hybrid(gateway) as model:
        assert_right(ask(model))
        pickled = pickle.dumps(model)
        with pickle.loads(pickled) as twin:
            result = ask(twin)
            assert_right(ask(model))
    answered(result, note, 29, "a pickle of a used model")
    assert KEY.encode() not in pickled
    assert len(crowd.peers) == 2


@pytest.mark.parametrize("data", [X[:0], pd.DataFrame(X)[:0]], ids=["array", "frame"])
def test_row_30_zero_rows(data: Any, upstream: Any, note: Note) -> None:
    """They are answered here; nobody is asked."""
    with Gateway(upstream.port, first()) as gateway, hybrid(gateway) as model:
        result = ask(model, data)
        assert gateway.requests == []
    note(30, f"zero rows, {type(data).__name__}", result, result.seconds)
    assert (result.answer.attempts, result.answer.outputs["y"].shape) == (0, (0, 2))


def small_batches(upstream: int) -> Rule:
    """Return a rule: no more than four rows, as Triton says it."""

    def rule(request: bytes) -> Script | None:
        if request.startswith(b"GET"):
            return http(200, b'{"max_batch_size": 4}')
        rows = re.search(rb'"shape":\[(\d+),', request)
        assert rows is not None
        over = int(rows[1]) > 4
        return error(400, "inference request batch-size must be <= 4") if over else None

    return rule


def test_row_31_more_rows_than_the_server_takes(upstream: Any, note: Note) -> None:
    """One refusal, one look at the configuration, then chunks; later calls are cut at once."""
    rows = np.random.default_rng(1).normal(size=(30, 4)).astype(np.float32)
    with Gateway(upstream.port, small_batches(upstream.port)) as gateway, hybrid(gateway) as model:
        result = ask(model, rows)
        arrived = len(gateway.requests)
        assert_right(ask(model, rows), expected(rows))
    note(31, "30 rows for a server of 4 at a time", result, result.seconds)
    assert_right(result, expected(rows))
    assert (arrived, len(gateway.requests)) == (1 + 1 + 8, 1 + 1 + 8 + 8)


def test_row_31_all_or_nothing(upstream: Any, note: Note) -> None:
    """When one chunk of many is refused, the call is."""
    spoilt = iter([None, None, error(400, "bad row")])
    with (
        Gateway(upstream.port, lambda request: next(spoilt, None)) as gateway,
        hybrid(gateway, max_batch_size=4) as model,
    ):
        result = ask(model, np.ones((40, 4), np.float32))
        assert_right(ask(model))
    raised(result, note, 31, "one chunk of ten refused", EndpointRefused, "bad row")


def test_row_31_a_real_triton_of_small_batches(note: Note) -> None:
    """Triton itself refuses the fifth row, and answers all of them in chunks."""
    if reason := unsupported():
        pytest.skip(reason)
    rows = np.random.default_rng(2).normal(size=(30, 4)).astype(np.float32)
    with (
        TritonServer({"linear": models.linear(seed=1)}, max_batch_size=4) as server,
        HybridOnnxModel(LOCAL, endpoint=server.endpoint("linear")) as model,
    ):
        result = ask(model, rows)
    note(31, "30 rows for a real Triton of 4 at a time", result, result.seconds)
    assert_right(result, expected(rows))
    assert result.answer.attempts == 8


def test_row_32_a_netrc_file(
    upstream: Any, note: Note, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A password for all hosts does not take the key's place."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password wrong\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with Gateway(upstream.port, only(KEY)) as gateway, hybrid(gateway) as model:
        result = ask(model)
        assert b"Basic" not in gateway.requests[0]
    answered(result, note, 32, "a netrc file with a password for the host")


def test_row_32_a_proxy(upstream: Any, note: Note, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that the environment names is used, and kept out of where it is not wanted."""

    def rule(request: bytes) -> Script:
        return forward(upstream.port, request.replace(b"http://triton.test", b"", 1))

    with Gateway(upstream.port, rule) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.uri)
        with hybrid(proxy, uri="http://triton.test", allow_http=True) as model:
            result = ask(model)
        seen_by_proxy = proxy.requests[0]
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        with hybrid(proxy) as model:
            assert_right(ask(model))
    answered(result, note, 32, "HTTP_PROXY in the environment")
    assert seen_by_proxy.startswith(b"POST http://triton.test/v2/models/versions/versions/1/infer ")


class Pausing(logging.Handler):
    """Notes that a pause before another attempt begins."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.begun = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        """Note it."""
        if "another in" in record.getMessage():
            self.begun.set()


def interrupted(model: HybridOnnxModel, data: np.ndarray = X) -> float:
    """Make a call that Ctrl-C ends, and return how long it took."""
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        model.predict(data, use_azure=True)
    return time.monotonic() - started


def control_c() -> None:
    """Do what the terminal does."""
    os.kill(os.getpid(), signal.SIGINT)


def control_c_and_silence(connection: socket.socket) -> None:
    """Interrupt whoever asked, and say nothing."""
    control_c()
    silent(connection)


@pytest.mark.skipif(os.name != "posix", reason="signals between threads")
def test_row_33_control_c_in_a_pause(upstream: Any, note: Note) -> None:
    """It ends the pause at once; nothing is sent after it, and the model can go on."""
    logger, handler = logging.getLogger("hybridmodel"), Pausing()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)

    def user() -> None:
        if handler.begun.wait(10):
            control_c()

    waiting = threading.Thread(target=user)
    waiting.start()
    try:
        script = http(503, Retry_After="8")
        with Gateway(upstream.port, first(script)) as gateway, hybrid(gateway) as model:
            seconds = interrupted(model)
            assert len(gateway.requests) == 1
            assert_right(ask(model))
    finally:
        waiting.join(10)
        logger.removeHandler(handler)
        logger.setLevel(level)
    note(33, "Ctrl-C in a pause of 8 s", "KeyboardInterrupt", seconds)
    assert seconds < SLACK_S


@pytest.mark.skipif(os.name != "posix", reason="signals between threads")
def test_row_33_control_c_while_the_answer_is_awaited(upstream: Any, note: Note) -> None:
    """It ends the wait at once, and the next call gets its own answer."""
    with (
        Gateway(upstream.port, first(control_c_and_silence)) as gateway,
        hybrid(gateway) as model,
    ):
        seconds = interrupted(model)
        assert_right(ask(model))
    note(33, "Ctrl-C while waiting for an answer", "KeyboardInterrupt", seconds)
    assert seconds < SLACK_S


@pytest.mark.skipif(os.name != "posix", reason="signals between threads")
def test_row_33_control_c_in_a_call_of_many_requests(upstream: Any, note: Note) -> None:
    """A call that was cut into requests is not waited for, and its turns are free for others."""
    scripts = [silent, silent, silent, control_c_and_silence]
    with (
        Gateway(upstream.port, first(*scripts)) as gateway,
        hybrid(gateway, max_batch_size=4, max_in_flight=4) as model,
    ):
        seconds = interrupted(model, np.ones((40, 4), np.float32))
        following = ask(model, timeout=TIMEOUT_S / 2)
    note(33, "Ctrl-C in a call of ten requests", "KeyboardInterrupt", seconds)
    answered(following, note, 33, "the call after that, where four may be under way")
    assert seconds < SLACK_S


def test_row_33_no_pause_reaches_the_deadline(upstream: Any, note: Note) -> None:
    """The call ends with the server's error instead of sleeping into its deadline."""
    script = http(503, b"later", Retry_After="2")
    with Gateway(upstream.port, first(script)) as gateway, hybrid(gateway) as model:
        result = ask(model, timeout=1.0)
        assert len(gateway.requests) == 1
    raised(result, note, 33, "503 that asks for 2 s of a call of 1 s", EndpointUnavailable, "later")
    assert result.seconds < 1.0


def test_the_table_is_complete() -> None:
    """All 33 rows stand here."""
    named = re.findall(r"def test_row_(\d\d)_", Path(__file__).read_text())
    assert {case.number for case in CASES} | set(map(int, named)) == set(range(1, 34))
