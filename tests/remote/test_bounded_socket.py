"""A socket that never waits beyond its deadline, and hears what is said while it sends."""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hybridmodel import (
    AuthenticationFailed,
    EndpointRefused,
    EndpointTimeout,
    EndpointUnavailable,
    ProtocolError,
    TritonEndpoint,
)
from hybridmodel.exceptions import EndpointError
from hybridmodel.remote.client import EndpointClient
from hybridmodel.remote.http.bounded_socket import BoundedSocket
from hybridmodel.remote.http.connection import HttpRequest
from hybridmodel.remote.http.transport import PooledTransport
from hybridmodel.remote.resilience import Deadline
from tests.support.connecting import AWAY, SETTINGS, Authority
from tests.support.faulty import ANSWER, FaultyEndpoint, get, http, raw, read_request
from tests.support.socket_server import LARGE, SPEC, Serve, Server, authority, carry, tls

__all__ = ["authority", "tls"]  # Fixtures.


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the proxies and certificates of the machine out of the tests."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)


def answering_early(script: Serve, waits: list[threading.Event]) -> Serve:
    """Return what reads a little, answers, and then neither reads nor closes."""

    def serve(connection: socket.socket) -> None:
        connection.recv(1000)
        script(connection)
        waits[0].wait(30)

    return serve


def fails(server: Server, kind: type[EndpointError], said: str) -> EndpointError:
    """Check that the caller hears it long before the deadline of 30 s."""
    started = time.monotonic()
    with pytest.raises(kind, match=said) as caught:
        server.ask()
    assert time.monotonic() - started < 15
    return caught.value


@pytest.mark.parametrize(
    ("script", "kind", "said"),
    [
        (http(413, b"too large"), EndpointRefused, "answered 413: too large"),
        (http(401, b"no"), AuthenticationFailed, "answered 401: no"),
        (http(503, b"busy", Retry_After="7"), EndpointUnavailable, "answered 503: busy"),
        (http(413, bytes(300_000)), EndpointRefused, "answered 413"),
        (raw(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 413 X\r\nContent-Length: 0\r\n\r\n"),
         EndpointRefused, "answered 413"),
        (raw(b"SSH-2.0-OpenSSH\r\n"), ProtocolError, "not HTTP: it begins b'SSH"),
    ],
)  # fmt: skip
def test_a_refusal_is_heard_while_the_request_is_sent(
    script: Serve, kind: type[EndpointError], said: str, tls: ssl.SSLContext | None
) -> None:
    """A server that refuses, stops reading and keeps the connection open is understood at once."""
    waits: list[threading.Event] = []
    with Server(answering_early(script, waits), tls) as server:
        waits.append(server.over)
        fails(server, kind, said)


def test_a_refusal_in_two_pieces_is_heard(tls: ssl.SSLContext | None) -> None:
    """Half of a head does not end the sending; the whole of it does."""
    waits: list[threading.Event] = []

    def halves(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 413 Too La")
        # The client goes on sending until it can send no more.
        total = 0
        while total < 1_000_000:
            total += len(connection.recv(65536))
        connection.sendall(b"rge\r\nContent-Length: 2\r\n\r\nno")

    with Server(answering_early(halves, waits), tls) as server:
        waits.append(server.over)
        fails(server, EndpointRefused, "answered 413: no")


def test_a_connection_with_half_a_request_in_it_is_not_used_again(
    tls: ssl.SSLContext | None,
) -> None:
    """After a refusal that came early the next call opens another connection."""
    refused: list[bool] = []

    def serve(connection: socket.socket) -> None:
        if not refused:
            refused.append(True)
            connection.recv(1000)
            http(413, b"too large")(connection)
            server.over.wait(30)
        else:
            assert read_request(connection) is not None
            http(200, b"{}")(connection)

    with Server(serve, tls) as server:
        shared = PooledTransport(TritonEndpoint(uri=server.uri, model_name="m", auth_key_env=None))
        for status, body in ((413, memoryview(LARGE).cast("B")), (200, b"small")):
            reply = shared.send(
                HttpRequest(
                    method="POST",
                    url=f"{server.uri}/v2",
                    body=(body,),
                    deadline=Deadline(30),
                )
            )
            assert reply.status == status
        shared.close()
    assert server.accepted == 2


def take(connection: socket.socket) -> bytes:
    """Read the whole of a request with `LARGE` in it."""
    data = bytearray()
    while len(data) < LARGE.nbytes or not data.endswith(LARGE.tobytes()[-1000:]):
        data += connection.recv(1 << 20)
    return bytes(data.partition(b"\r\n\r\n")[2])


def wait_until_heard(heard: list[bool]) -> None:
    """Read nothing until the client, whose request fits no buffer, has heard something."""
    deadline = time.monotonic() + 10
    while not heard and time.monotonic() < deadline:
        time.sleep(0.001)


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Note each time that something came while something was sent, and whether that was the end."""
    found: list[bool] = []
    hear = BoundedSocket._heard

    def noted(self: BoundedSocket, then: Callable[[bytes], bool]) -> bool:
        found.append(hear(self, then))
        return found[-1]

    monkeypatch.setattr(BoundedSocket, "_heard", noted)
    return found


def test_interim_answers_do_not_end_the_sending(
    tls: ssl.SSLContext | None, heard: list[bool]
) -> None:
    """A server may say Continue before it reads, in pieces: everything is sent all the same."""
    requests: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        for piece in (b"HTTP/1.1 100 Con", b"tinue\r\n\r\nHTTP/1.1 102 Processing\r\n", b"\r\n"):
            connection.sendall(piece)
        wait_until_heard(heard)
        requests.append(take(connection))
        http(200, ANSWER)(connection)

    with Server(serve, tls) as server:
        assert server.ask() == 5.0
    assert requests[0].endswith(LARGE.tobytes())
    assert heard
    assert not any(heard)


def test_a_session_ticket_is_no_answer(
    authority: Authority, heard: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What TLS itself sends while the request is on its way is read, and the sending goes on."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.bundle))
    requests: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        wait_until_heard(heard)
        requests.append(take(connection))
        http(200, ANSWER)(connection)

    with Server(serve, authority.server) as server:
        assert server.ask() == 5.0
    assert requests[0].endswith(LARGE.tobytes())
    assert heard
    assert not any(heard)


@pytest.mark.parametrize("kind", ["end", "reset"])
def test_a_server_that_leaves_while_the_request_is_sent(
    kind: str, tls: ssl.SSLContext | None
) -> None:
    """The end of the connection is noticed at once, however it comes."""

    def serve(connection: socket.socket) -> None:
        connection.recv(1000)
        if kind == "reset":
            linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    with Server(serve, tls) as server:
        fails(server, EndpointUnavailable, "connection")


def test_a_server_that_neither_reads_nor_speaks_is_left_at_the_deadline(
    tls: ssl.SSLContext | None,
) -> None:
    """A request that nobody takes ends with the deadline, not later."""
    over = threading.Event()
    with Server(lambda _: over.wait(30) and None, tls) as server:
        started = time.monotonic()
        with pytest.raises(EndpointTimeout, match="passed while sending the request"):
            server.ask(timeout_s=0.7)
        assert time.monotonic() - started < 5
        over.set()


def test_systems_without_poll_do_the_same(
    tls: ssl.SSLContext | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows has only `select`: refusals, whole requests, silence and idle connections."""
    monkeypatch.delattr(select, "poll", raising=False)
    waits: list[threading.Event] = []
    with Server(answering_early(http(413, b"too large"), waits), tls) as server:
        waits.append(server.over)
        fails(server, EndpointRefused, "answered 413: too large")
    with FaultyEndpoint(http(200, ANSWER), tls=tls) as faulty:
        client = EndpointClient(faulty.endpoint(), SPEC)
        for _ in range(3):
            outputs = client.infer({"x": LARGE[:1_000_000]}, ("y",), timeout_s=20).outputs
            assert outputs["y"].tolist() == [5.0]
        client.close()
    with FaultyEndpoint(lambda _: faulty.wait(20), tls=tls) as faulty:
        client = EndpointClient(faulty.endpoint(), SPEC)
        with pytest.raises(EndpointTimeout):
            client.infer({"x": LARGE[:1]}, ("y",), timeout_s=0.5)


def test_what_tls_has_read_ahead_is_noticed(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes behind an answer that TLS has taken from the wire already keep it from being reused."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.bundle))
    body = bytes(100_000)
    head = f"HTTP/1.1 200 OK\r\nInference-Header-Content-Length: 2\r\nContent-Length: {len(body)}"
    script = raw(head.encode() + b"\r\n\r\n" + body + b"HTTP/1.1 200 OK")
    with FaultyEndpoint(script, tls=authority.server) as faulty:
        shared = PooledTransport(faulty.endpoint())
        for _ in range(2):
            shared.send(get(faulty.uri, Deadline(20)))
            assert [connection.has_ended() for _, connection in shared._idle] == [True]
        shared.close()


def test_an_answer_beyond_the_memory_is_refused() -> None:
    """Where memory is limited, an answer that announces more than that is an error of its own."""
    resource = pytest.importorskip("resource")
    sizes = Path("/proc/self/statm")
    if not sizes.exists():
        pytest.skip("only Linux says how much is in use")
    pages = int(sizes.read_text().split()[0])
    limits = resource.getrlimit(resource.RLIMIT_AS)
    head = b"HTTP/1.1 200 OK\r\nInference-Header-Content-Length: 2\r\n"
    script = raw(head + b"Content-Length: 2000000002\r\n\r\n{}")
    with FaultyEndpoint(script) as faulty:
        shared = PooledTransport(faulty.endpoint())
        most = pages * resource.getpagesize() + 1_000_000_000
        resource.setrlimit(resource.RLIMIT_AS, (most, limits[1]))
        try:
            with pytest.raises(ProtocolError, match="announces 2000000000 bytes, too many"):
                shared.send(get(faulty.uri, Deadline(20)))
        finally:
            resource.setrlimit(resource.RLIMIT_AS, limits)
        shared.close()


@pytest.fixture
def tunnel(authority: Authority) -> Iterator[Callable[[int], Server]]:
    """Run a proxy that is asked over TLS itself."""
    servers: list[Server] = []

    def proxy(port: int) -> Server:
        def serve(connection: socket.socket) -> None:
            connection.recv(10_000)
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            with socket.create_connection(("127.0.0.1", port)) as target:
                carry(connection, target)

        servers.append(Server(serve, authority.server).__enter__())
        return servers[0]

    yield proxy
    for server in servers:
        server.__exit__(None, None, None)


def test_tls_inside_tls_carries_large_requests(
    authority: Authority,
    tunnel: Callable[[int], Server],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Through a proxy that is itself asked over TLS, a request arrives whole, however slowly."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.bundle))
    requests: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        server.over.wait(0.5)  # Until every buffer on the way is full.
        requests.append(take(connection))
        http(200, ANSWER)(connection)

    with Server(serve, authority.server) as server:
        proxy = tunnel(server.port)
        monkeypatch.setenv("HTTPS_PROXY", f"https://127.0.0.1:{proxy.port}")
        server.uri = f"https://{AWAY}:{server.port}"  # What is on this machine needs no proxy.
        assert server.ask() == 5.0
    assert requests[0].endswith(LARGE.tobytes())
    assert proxy.accepted == 1
