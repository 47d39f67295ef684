"""The fault table: what an endpoint can do wrong, row by row, and what the caller sees of it.

Every fault is injected on a real socket, as a rule by a gateway before a real server, and met by
the whole model. The server has another model than the caller, so that an answer that was computed
here would be noticed. `tests.support.fault_report` prints what each row gave.
"""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hybridmodel import (
    AuthenticationFailed,
    EndpointTimeout,
    EndpointUnavailable,
    ProtocolError,
    SpecMismatch,
)
from hybridmodel.remote.wire.protocol import Message
from tests.support.fault_report import Note, Seen
from tests.support.fault_rows import (
    PAGE,
    Case,
    X,
    Y,
    ask,
    assert_right,
    close,
    environment,
    hybrid,
    json_answer,
    note,
    posts,
    refused,
    reset,
    upstream,
)
from tests.support.faulty import (
    Gateway,
    Script,
    error,
    first,
    http,
    raw,
)
from tests.support.remote_answers import answer, drip, good, silent

__all__ = ["environment", "note", "upstream"]  # Fixtures.


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


def test_the_table_is_complete() -> None:
    """All 33 rows stand here."""
    parts = Path(__file__).parent.glob("test_fault_rows_*.py")
    named = re.findall(r"def test_row_(\d\d)_", "".join(part.read_text() for part in parts))
    assert {case.number for case in CASES} | set(map(int, named)) == set(range(1, 34))
