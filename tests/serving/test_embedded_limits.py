"""The embedded server among strangers: how much it takes, from whom, and for how long."""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hybridmodel.exceptions import ConfigurationError, ProtocolError
from hybridmodel.local.session import LocalSession
from hybridmodel.serving import EmbeddedServer, Limits, serve
from hybridmodel.serving.requests import read_request
from tests.support import models
from tests.support.wire import LENGTH, Answer, Call, ask, tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

ROW = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}
BODY = json.dumps({"inputs": [ROW]}).encode()
SOON_S = 5.0
"""Longer than any time limit of these tests, and shorter than those of a server."""


def small(**limits: Any) -> EmbeddedServer:
    """Start a server of one model with some limits."""
    return serve({"m": models.identity()}, limits=Limits(**limits))


class Talk:
    """One connection on which bytes are sent as they are."""

    def __init__(self, server: EmbeddedServer) -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=SOON_S)

    def send(self, *lines: str, body: bytes = b"") -> Talk:
        """Send the lines of a head and what follows it."""
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        return self

    def infer(self, *headers: str, body: bytes = b"") -> Talk:
        """Begin to ask the model."""
        first = "POST /v2/models/m/infer HTTP/1.1"
        return self.send(first, "Host: localhost", *headers, body=body)

    def answer(self) -> tuple[int, Any]:
        """Read the status and the JSON of the answer."""
        head = b""
        while b"\r\n\r\n" not in head:
            head += self._some()
        head, _, body = head.partition(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        while len(body) < size:
            body += self._some()
        return int(head.split()[1]), json.loads(body[:size])

    def ends(self) -> bool:
        """Wait for the end of the connection."""
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionResetError:
            pass
        return True

    def _some(self) -> bytes:
        some = self.socket.recv(65536)
        assert some, "the connection ended before the answer"
        return some

    def __enter__(self) -> Talk:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


@pytest.fixture(scope="module")
def plain() -> Iterator[EmbeddedServer]:
    """Start a server with no key, and the limits that it has by itself."""
    with serve({"m": models.identity(), "text": models.identity("BYTES")}) as server:
        yield server


@pytest.mark.parametrize("expect", [[], ["Expect: 100-continue"]])
@pytest.mark.parametrize("size", [101, 2**26 + 1, 2**40, 10**19])
def test_a_large_body_is_refused_before_it_is_sent(size: int, expect: list[str]) -> None:
    """A request that announces too many bytes is refused by its head alone."""
    with small(max_body_bytes=100) as server, Talk(server) as talk:
        status, said = talk.infer(f"Content-Length: {size}", *expect).answer()
        assert (status, list(said)) == (413, ["error"])
        assert "100 bytes" in said["error"]


def test_a_body_without_a_length_is_refused_when_it_is_too_large() -> None:
    """Chunks are counted as they come."""
    with small(max_body_bytes=1000) as server, Talk(server) as talk:
        talk.infer("Transfer-Encoding: chunked")
        for _ in range(11):
            talk.socket.sendall(b"64\r\n" + b" " * 100 + b"\r\n")
        assert talk.answer()[0] == 413


def test_bodies_up_to_the_limit_are_taken() -> None:
    """The limit is the last size that is taken, with a length and in chunks."""
    with small(max_body_bytes=len(BODY)) as server:
        with Talk(server) as talk:
            status, said = talk.infer(f"Content-Length: {len(BODY)}", body=BODY).answer()
            assert (status, said["outputs"][0]["data"]) == (200, [1, 2, 3])
        chunk = f"{len(BODY):x}\r\n".encode() + BODY + b"\r\n0\r\n\r\n"
        with Talk(server) as talk:
            assert talk.infer("Transfer-Encoding: chunked", body=chunk).answer()[0] == 200


def test_all_bodies_together_have_a_limit() -> None:
    """What does not fit beside the others' bytes gets 503, and fits when those are answered."""
    half = len(BODY) // 2
    with small(max_held_bytes=len(BODY) + 10) as server:
        with Talk(server) as first, Talk(server) as second:
            first.infer(f"Content-Length: {len(BODY)}", body=BODY[:half])
            time.sleep(0.2)  # Until these bytes are held.
            status, said = second.infer(f"Content-Length: {len(BODY)}", body=BODY).answer()
            assert (status, list(said)) == (503, ["error"])
            first.socket.sendall(BODY[half:])
            assert first.answer()[0] == 200
        with Talk(server) as gone:
            gone.infer(f"Content-Length: {len(BODY)}", body=BODY[:half])
        until = time.monotonic() + SOON_S
        while Call("m", BODY).send(server.port).status != 200:
            assert time.monotonic() < until


def test_what_could_never_be_held_is_too_large() -> None:
    """A body above the limit of all bodies is refused for good, not for now."""
    with small(max_held_bytes=10) as server:
        assert Call("m", BODY).send(server.port).status == 413


def test_connections_have_a_limit() -> None:
    """Where all connections are busy, one more gets 503 at once; when one ends there is room."""
    half, rest = BODY[:9], BODY[9:]
    with small(max_connections=2) as server:
        with Talk(server) as one, Talk(server) as two:
            for talk in (one, two):
                talk.infer(f"Content-Length: {len(BODY)}", body=half)
            with Talk(server) as three:
                status, said = three.answer()
                assert (status, "2 busy connections" in said["error"]) == (503, True)
                assert three.ends()
            for talk in (one, two):
                talk.socket.sendall(rest)
                assert talk.answer()[0] == 200
        assert ask(server.port, "GET", "/v2").status == 200


def test_idle_connections_make_room() -> None:
    """Nobody keeps others out by connections that rest: one of them ends for a new one."""
    with small(max_connections=2) as server, Talk(server) as one, Talk(server) as two:
        for talk in (one, two):
            assert talk.send("GET /v2 HTTP/1.1", "Host: localhost").answer()[0] == 200
        for _ in range(5):
            with Talk(server) as three:
                assert three.send("GET /v2 HTTP/1.1", "Host: localhost").answer()[0] == 200
        ended, _, _ = select.select([one.socket, two.socket], [], [], SOON_S)
        assert ended
        assert ended[0].recv(1) == b""


def drip(talk: Talk, data: bytes) -> float:
    """Send byte by byte until the other side ends; return the seconds that it took."""
    start = time.monotonic()
    talk.socket.settimeout(0.02)
    for number in range(2000):
        try:
            talk.socket.sendall(data[number % len(data)].to_bytes(1, "big"))
            if b"408" in talk.socket.recv(65536):
                break
        except TimeoutError:
            continue
        except (ConnectionResetError, BrokenPipeError):
            break
    return time.monotonic() - start


@pytest.mark.parametrize("before", [False, True])
def test_a_head_that_drips_is_ended(before: bool) -> None:
    """A head has its time, however steadily it comes, on a new connection and on a used one."""
    with small(head_timeout_s=0.4) as server, Talk(server) as talk:
        if before:
            assert talk.send("GET /v2 HTTP/1.1", "Host: localhost").answer()[0] == 200
        assert 0.3 < drip(talk, b"a") < SOON_S
        assert talk.ends()


def test_a_connection_that_says_nothing_is_ended() -> None:
    """Who connects and is silent gets 408 when the time for a head is over."""
    with small(head_timeout_s=0.3) as server, Talk(server) as talk:
        status, said = talk.answer()
        assert (status, list(said)) == (408, ["error"])
        assert talk.ends()


@pytest.mark.parametrize("refused", [False, True])
def test_a_body_that_drips_is_ended(refused: bool) -> None:
    """A body has its time, also one that has been refused and is thrown away."""
    size = 10**6 if refused else 2000
    with small(body_timeout_s=0.4, max_body_bytes=10**5) as server, Talk(server) as talk:
        talk.infer(f"Content-Length: {size}")
        if refused:
            assert talk.answer()[0] == 413
        assert 0.3 < drip(talk, b" ") < SOON_S
        assert talk.ends()


def test_an_answer_that_nobody_takes_is_ended() -> None:
    """Who asks for much and reads nothing does not keep a connection."""
    size = 2**22
    body = np.zeros((size // 12, 3), np.float32).tobytes()
    with small(answer_timeout_s=0.4, max_connections=1) as server, Talk(server) as talk:
        talk.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        talk.infer(f"Content-Length: {len(body)}", f"{LENGTH}: 0", body=body)
        time.sleep(0.2)
        start = time.monotonic()
        while ask(server.port, "GET", "/v2").status != 200:
            assert time.monotonic() < start + SOON_S
            time.sleep(0.05)


def test_time_limits_leave_the_idle_and_the_computing_alone() -> None:
    """A connection may rest between two requests, and a model may take its time."""
    short = Limits(head_timeout_s=0.2, body_timeout_s=0.2, answer_timeout_s=0.2)
    x, turns = tensor("x", "FP32", [1.0])[0], tensor("turns", "INT64", [1_000_000])[0]
    body = json.dumps({"inputs": [x, turns]}).encode()
    with serve({"m": models.loop()}, limits=short) as server, Talk(server) as talk:
        talk.socket.settimeout(60)
        for _ in range(2):
            start = time.monotonic()
            assert talk.infer(f"Content-Length: {len(body)}", body=body).answer()[0] == 200
            assert time.monotonic() - start > 0.2
            time.sleep(0.4)


def test_what_is_no_http_is_told_so(plain: EmbeddedServer) -> None:
    """Bytes that are no HTTP get 400 in the form of the protocol's errors, and the end."""
    with Talk(plain) as talk:
        assert talk.send("nonsense").answer() == (400, {"error": "Invalid HTTP request received."})
        assert talk.ends()
    with Talk(plain) as talk:
        talk.send("GET /v2 HTTP/1.1", "Host: localhost", "X: " + "y" * 2_000_000)
        assert talk.answer()[0] == 400


HOSTS = {
    "localhost": 200,
    "localhost:8000": 200,
    "LocalHost": 200,
    "127.0.0.1:1": 200,
    "[::1]:80": 200,
    "192.168.1.7": 200,
    "demo.localhost": 200,
    "evil.example": 421,
    "evil.example:8000": 421,
    "localhost.evil.example": 421,
    "127.0.0.1.evil.example": 421,
    "evil.example/localhost": 421,
    "user@localhost": 421,
    "[evil.example]": 421,
    "2130706433": 421,
    "": 421,
}


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("path", ["/v2", "/v2/models/m", "/v2/models/nobody"])
def test_names_that_others_could_point_here_are_refused(
    plain: EmbeddedServer, host: str, path: str
) -> None:
    """Without a key only names that nobody else can let point to this machine are answered."""
    answer = ask(plain.port, "GET", path, headers={"Host": host})
    expected = 404 if HOSTS[host] == 200 and path.endswith("nobody") else HOSTS[host]
    assert (answer.status, "error" in answer.json) == (expected, expected != 200)


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:8000", 200),
        ("http://evil.example", 403),
        ("http://localhost:3000", 403),
        ("http://localhost", 403),
        ("null", 403),
        ("", 403),
    ],
)
def test_pages_of_other_origins_are_refused(
    plain: EmbeddedServer, origin: str, status: int
) -> None:
    """A page from elsewhere cannot make the server compute."""
    headers = {"Host": "localhost:8000", "Origin": origin, "Content-Type": "text/plain"}
    assert ask(plain.port, "POST", "/v2/models/m/infer", BODY, headers).status == status


def test_a_key_opens_under_any_name() -> None:
    """With a key, the key decides and not the name, for servers that others reach."""
    with serve({"m": models.identity()}, auth_key="k") as server:
        headers = {"Host": "models.example", "Authorization": "Bearer k"}
        assert ask(server.port, "GET", "/v2", headers=headers).status == 200
        assert ask(server.port, "GET", "/v2", headers={"Host": "models.example"}).status == 401


@pytest.mark.parametrize("host", ["0.0.0.0", "", "::", "203.0.113.1"])
def test_no_address_of_others_without_a_key(host: str) -> None:
    """Where other machines could reach the server, it does not start without a key."""
    with pytest.raises(ConfigurationError, match="auth_key"):
        serve({"m": models.identity()}, host=host)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2", "::1"])
def test_loopback_needs_no_key(host: str) -> None:
    """Addresses of this machine alone need none, and the server says which it has."""
    with (
        serve({"m": models.identity()}, host=host) as server,
        socket.create_connection((host, server.port), timeout=SOON_S),
    ):
        assert str(server.port) in server.uri


def test_every_address_with_a_key() -> None:
    """With a key it may listen everywhere."""
    with serve({"m": models.identity()}, host="0.0.0.0", auth_key="k") as server:
        headers = {"Authorization": "Bearer k"}
        assert ask(server.port, "GET", "/v2", headers=headers).status == 200


@pytest.mark.parametrize("name", ["max_body_bytes", "head_timeout_s", "max_connections"])
def test_limits_are_above_zero(name: str) -> None:
    """A limit that would let nothing through is refused where it is given."""
    with pytest.raises(ConfigurationError, match=name):
        Limits(**{name: 0})


def described(shape: list[int], size: int | None = None, **changes: Any) -> bytes:
    """Describe an input with a shape and perhaps a size in bytes."""
    given = {"parameters": {"binary_data_size": size}} if size is not None else {"data": []}
    return json.dumps({"inputs": [{**ROW, **given, "shape": shape, **changes}]}).replace(
        '"data": [1, 2, 3], "parameters"', '"parameters"'
    ).encode()  # fmt: skip


BOMBS: dict[str, tuple[str, bytes, bytes]] = {
    "deep lists": ("m", b'{"inputs":' + b"[" * 10**6, b""),
    "deep objects": ("m", b'{"inputs":' + b'{"a":' * 10**6, b""),
    "deep data": ("m", BODY.replace(b"[1, 2, 3]", b"[" * 10**5 + b"]" * 10**5), b""),
    "many numbers": ("m", described([2**40, 3]), b""),
    "rows beyond memory": ("m", described([2**62, 2**62]), b""),
    "no row, and more columns than an address": ("m", described([0, 2**62]), b""),
    "no row of anything": ("m", described([0] * 1000), b""),
    "a number of 10,000 digits": ("m", BODY.replace(b"[1, 2, 3]", b"1" + b"0" * 10**4), b""),
    "a size of 10,000 digits": ("m", BODY.replace(b"[1, 3]", b"[1" + b"0" * 10**4 + b"]"), b""),
    "announced bytes": ("m", described([2**40, 3], 2**42 * 3), b"...."),
    "negative bytes": ("m", described([1, 3], -12), b"...."),
    "a string of 4 GiB": (
        "text",
        described([1, 3], 16, datatype="BYTES"),
        struct.pack("<I", 2**32 - 1) + b"." * 12,
    ),
    "a million strings in 12 bytes": (
        "text",
        described([10**6, 3], 12, datatype="BYTES"),
        b"\0" * 12,
    ),
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_are_refused(plain: EmbeddedServer, bomb: str) -> None:
    """What announces far more than it holds is refused as any bad request, and at once."""
    model, head, raw = BOMBS[bomb]
    start = time.monotonic()
    answer = Call(model, head, raw).send(plain.port)
    assert (answer.status, list(answer.json)) == (400, ["error"])
    assert len(answer.body) < 1000
    assert time.monotonic() - start < SOON_S


SERVER = """
import sys
from hybridmodel.serving import Limits, serve
from tests.support import models
with serve({"m": models.identity()}, limits=Limits(max_json_bytes=2**21)) as server:
    print(server.port, flush=True)
    sys.stdin.read()
"""


def peak_bytes(pid: int) -> int:
    """Return the most memory that a process has had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("piece", [b"[],", b"{},", b'"ab",', b"1e9,"])
def test_json_takes_bounded_memory(piece: bytes) -> None:
    """However many send the worst of JSON at a time, the server reads it one by one."""
    data = piece * (2**21 // len(piece) - 100)
    body = BODY.replace(b"[1, 2, 3]", b"[" + data[:-1] + b"]")
    command = [sys.executable, "-c", SERVER]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ
    ) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        assert Call("m", BODY).send(port).status == 200
        before = peak_bytes(process.pid)

        def attack(_: int) -> Answer:
            return Call("m", body).send(port)

        with ThreadPoolExecutor(8) as threads:
            statuses = {answer.status for answer in threads.map(attack, range(16))}
        grown = peak_bytes(process.pid) - before
        process.communicate()
    assert statuses == {400}
    # Eight bodies twice over, and one of them read.
    assert grown < 2**21 * (8 * 2 + 60)


def test_more_json_than_allowed_is_not_read(plain: EmbeddedServer) -> None:
    """JSON beyond its limit gets 413 and the way out, whatever it holds."""
    with small(max_json_bytes=1000) as server:
        answer = Call("m", b"[" * 1001).send(server.port)
        assert answer.status == 413
        assert "binary_data" in answer.json["error"]
        x = np.ones((1000, 3), np.float32)
        described, raw = tensor("x", "FP32", x, binary=True)
        assert Call("m", {"inputs": [described]}, raw).send(server.port).status == 200


SPEC = LocalSession(models.identity()).spec
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "shape", "datatype", "data", "parameters", "binary_data"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)
FIELDS = st.dictionaries(st.sampled_from(["name", "shape", "datatype", "data", "parameters"]), JSON)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    head=st.dictionaries(st.sampled_from(["id", "inputs", "outputs", "parameters"]), JSON),
    fields=FIELDS,
    asked=FIELDS,
    raw=st.binary(max_size=20),
    length=st.sampled_from([None, "0", "00", "7", "-1", "x", ""]) | st.just("right"),
)
def test_any_request_is_read_or_refused(
    head: dict[str, Any], fields: Any, asked: Any, raw: bytes, length: str | None
) -> None:
    """No request does anything but pass or be refused as one."""
    whole = {"inputs": [{**ROW, **fields}], "outputs": [{"name": "y", **asked}], **head}
    text = json.dumps(whole).encode()
    length = str(len(text)) if length == "right" else length
    with suppress(ProtocolError):
        request = read_request(bytearray(text + raw), length, SPEC, Limits())
        assert request.inputs["x"].dtype == np.float32
