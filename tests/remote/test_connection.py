"""Connections that are kept, ended, refused and interrupted."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from hybridmodel import (
    EndpointRefused,
    EndpointUnavailable,
    TritonEndpoint,
)
from hybridmodel.remote.client import EndpointClient
from hybridmodel.remote.http import transport
from hybridmodel.remote.http.connection import HttpRequest
from hybridmodel.remote.http.transport import PooledTransport
from hybridmodel.remote.resilience import Deadline
from tests.support.connecting import ask, bare_environment
from tests.support.faulty import ANSWER, SPEC, FaultyEndpoint, Script, get, http, raw

__all__ = ["bare_environment"]  # Fixtures.


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


@pytest.fixture
def counted() -> Iterator[tuple[FaultyEndpoint, list[object]]]:
    """Run an endpoint that notes from which port each request came."""
    ports: list[object] = []

    def script(connection: socket.socket) -> None:
        ports.append(connection.getpeername())
        http(200, b"{}")(connection)

    with FaultyEndpoint(script) as faulty:
        yield faulty, ports


def exchange(shared: PooledTransport, faulty: FaultyEndpoint) -> None:
    """Send one request."""
    shared.send(get(faulty.uri, Deadline(10)))


def test_a_connection_is_retired_when_it_has_been_idle(
    counted: tuple[FaultyEndpoint, list[object]],
) -> None:
    """Gateways drop idle connections silently, so an old one is not trusted."""
    faulty, ports = counted
    clock = Clock()
    shared = PooledTransport(faulty.endpoint(), clock=clock)
    for now in (0.0, transport.MAX_IDLE_S - 1, 2 * transport.MAX_IDLE_S):
        clock.now = now
        exchange(shared, faulty)
    assert ports[0] == ports[1] != ports[2]


def test_a_connection_that_the_server_closed_is_not_used_again() -> None:
    """The end of an idle connection is noticed before the next request is sent on it."""
    closed = threading.Event()

    def script(connection: socket.socket) -> None:
        http(200, b"{}")(connection)
        connection.shutdown(socket.SHUT_RDWR)
        closed.set()

    with FaultyEndpoint(script) as faulty:
        shared = PooledTransport(faulty.endpoint())
        for _ in range(3):
            closed.clear()
            exchange(shared, faulty)
            assert closed.wait(10)
    assert len(faulty.requests) == 3


@pytest.mark.parametrize(
    "script",
    [
        http(200, b"{}", Connection="close"),
        raw(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}"),
    ],
)
def test_a_server_that_wants_to_close_is_obeyed(script: Script) -> None:
    """Such a connection is not kept."""
    with FaultyEndpoint(script) as faulty:
        shared = PooledTransport(faulty.endpoint())
        exchange(shared, faulty)
        assert shared._idle == []


def test_a_body_that_ends_with_the_connection_is_read_whole() -> None:
    """HTTP/1.0 servers announce no length."""

    def script(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + ANSWER)
        connection.shutdown(socket.SHUT_RDWR)

    with FaultyEndpoint(script) as faulty:
        assert ask(faulty.endpoint()) == 5.0


def test_a_server_may_say_continue_first() -> None:
    """Interim answers are passed over."""
    answer = f"HTTP/1.1 200 OK\r\nContent-Length: {len(ANSWER)}\r\n\r\n".encode() + ANSWER
    with FaultyEndpoint(raw(b"HTTP/1.1 100 Continue\r\n\r\n" + answer)) as faulty:
        assert ask(faulty.endpoint()) == 5.0


def test_a_refusal_in_the_middle_of_a_large_request_is_heard() -> None:
    """A server that answers 413 before it has read everything, and closes, gets its word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1000)
                http(413, b"too large")(connection)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(1 << 20):
                    pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        uri = f"http://127.0.0.1:{listening.getsockname()[1]}"
        endpoint = TritonEndpoint(uri=uri, model_name="m", auth_key_env=None, binary=True)
        client = EndpointClient(endpoint, SPEC)
        feeds = {"x": np.zeros(20_000_000, np.float32)}
        with pytest.raises(EndpointRefused, match="answered 413: too large"):
            client.infer(feeds, ("y",))
        client.close()
        thread.join(10)


def test_an_interrupted_call_leaves_no_half_used_connection() -> None:
    """After Ctrl-C the connection is closed, so that the next call cannot read its answer."""

    class Interrupting(Deadline):
        calls = 0

        def check(self, doing: str) -> float:
            self.calls += 1
            if doing == "reading the answer":
                raise KeyboardInterrupt
            return super().check(doing)

    with FaultyEndpoint(http(200, b"{}")) as faulty:
        shared = PooledTransport(faulty.endpoint())
        with pytest.raises(KeyboardInterrupt):
            shared.send(get(faulty.uri, Interrupting(10)))
        assert shared._idle == []


def test_an_answer_that_announces_too_much_takes_no_memory() -> None:
    """A server that announces two gibibytes and sends none is not believed in advance."""
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    head = b"HTTP/1.1 200 OK\r\nInference-Header-Content-Length: 2\r\n"
    script = raw(head + b"Content-Length: 2000000000\r\n\r\n{}1")

    def then_close(opened: socket.socket) -> None:
        script(opened)
        opened.shutdown(socket.SHUT_RDWR)

    with FaultyEndpoint(then_close) as faulty, pytest.raises(EndpointUnavailable):
        ask(faulty.endpoint())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_large_bodies_arrive_whole_in_both_directions() -> None:
    """Ten megabytes there and back are the same bytes."""
    sent = np.random.default_rng(0).random(2_500_000, np.float32)
    with FaultyEndpoint(http(200, sent.tobytes())) as faulty:
        shared = PooledTransport(faulty.endpoint())
        reply = shared.send(
            HttpRequest(
                method="POST",
                url=f"{faulty.uri}/v2",
                body=(b"head", memoryview(sent).cast("B")),
                deadline=Deadline(20),
                json_bytes=sent.nbytes,
            )
        )
    assert bytes(reply.header) == sent.tobytes()
    assert faulty.requests[0].endswith(b"head" + sent.tobytes())
