"""TLS in steps of our own: no server, and no proxy, holds a call inside of it."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator

import pytest

from hybridmodel import (
    EndpointError,
    EndpointRefused,
    EndpointTimeout,
    EndpointUnavailable,
)
from hybridmodel.remote.http.bounded_socket import BoundedSocket, Hear
from hybridmodel.remote.http.connect import connect_within
from hybridmodel.remote.http.connection import HttpRequest
from hybridmodel.remote.http.tls import TlsStream
from hybridmodel.remote.resilience import Deadline
from hybridmodel.remote.wire.tensor_data import Buffer
from tests.support.connecting import AWAY, SETTINGS, Authority
from tests.support.faulty import ANSWER, FEEDS, FaultyEndpoint, http
from tests.support.socket_server import Server, carry
from tests.support.tls_client import ask, left_behind

SLACK_S = 1.0
"""For a machine on which others work as well; what is tested for lasts ten times as long."""


OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(ANSWER) + ANSWER


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Make an authority that no system trusts."""
    return Authority(tmp_path_factory.mktemp("authority"), "127.0.0.1")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, authority: Authority) -> None:
    """Keep the proxies and certificates of the machine out, and trust the private authority."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.bundle))


def fails_in_time(uri: str, timeout_s: float, **options: float) -> EndpointError:
    """Check that the call ends when it has to, and leaves nothing behind."""
    started = time.monotonic()
    with pytest.raises(EndpointUnavailable) as caught:
        ask(uri, timeout_s, **options)
    assert time.monotonic() - started < timeout_s + SLACK_S
    assert left_behind() == []
    return caught.value


class Wire:
    """The server's side of TLS, whose bytes a test puts on the wire as it likes.

    Parameters
    ----------
    connection : socket
        Accepted.
    context : ssl.SSLContext
        Of the server.
    drip_s : float
        Pause before each byte that is sent while hands are shaken; 0 for all at once.
    send_last : bool
        Whether the last bytes of the handshake are sent, which are session tickets; else `unsent`
        are those.
    """

    def __init__(
        self,
        connection: socket.socket,
        context: ssl.SSLContext,
        drip_s: float = 0.0,
        send_last: bool = True,
    ) -> None:
        self.connection = connection
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=True)
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._send(drip_s)
                self._in.write(connection.recv(65536) or b"\0")
        self.unsent = b""
        if send_last:
            self._send(drip_s)
        else:
            self.unsent = self._out.read()

    def read_request(self) -> bytes:
        """Read until the request is complete, as far as these tests go."""
        data = b""
        while not data.endswith(FEEDS["x"].tobytes()):
            try:
                data += self._tls.read(65536)
            except ssl.SSLWantReadError:
                self._in.write(self.connection.recv(65536) or b"\0")
        return data

    def encrypted(self, data: bytes) -> bytes:
        """Return the records that hold it."""
        self._tls.write(data)
        return self._out.read()

    def _send(self, drip_s: float) -> None:
        drip(self.connection, self._out.read(), drip_s)


def drip(connection: socket.socket, data: bytes, pause_s: float) -> None:
    """Send byte by byte, or all at once without a pause."""
    if not pause_s:
        connection.sendall(data)
        return
    for byte in data:
        connection.sendall(bytes([byte]))
        time.sleep(pause_s)


class Peer(Server):
    """A server that does its own TLS, and notes when the other side has gone."""

    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        self.gone = threading.Event()

        def and_note(connection: socket.socket) -> None:
            with contextlib.suppress(OSError, ssl.SSLError):
                serve(connection)
            connection.settimeout(20)
            with contextlib.suppress(ConnectionError):
                while connection.recv(65536):
                    pass
            self.gone.set()

        super().__init__(and_note)

    @property
    def secure_uri(self) -> str:
        """Where it is reached by TLS."""
        return f"https://127.0.0.1:{self.port}"


def dripping_record(authority: Authority) -> Callable[[socket.socket], None]:
    """Return what answers well, in one record of which a byte comes at a time."""

    def serve(connection: socket.socket) -> None:
        wire = Wire(connection, authority.server)
        wire.read_request()
        drip(connection, wire.encrypted(OK), 0.1)

    return serve


def dripping_handshake(authority: Authority) -> Callable[[socket.socket], None]:
    """Return what shakes hands a byte at a time."""
    return lambda connection: Wire(connection, authority.server, 0.1) and None


@pytest.fixture
def secure_proxy(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[int], Server]]:
    """Run a proxy that is asked over TLS itself, so that TLS goes through TLS."""
    servers: list[Server] = []

    def proxy(port: int) -> Server:
        def serve(connection: socket.socket) -> None:
            connection.recv(10_000)
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            with socket.create_connection(("127.0.0.1", port)) as target:
                carry(connection, target)

        servers.append(Server(serve, authority.server).__enter__())
        monkeypatch.setenv("HTTPS_PROXY", f"https://127.0.0.1:{servers[0].port}")
        return servers[0]

    yield proxy
    for server in servers:
        server.__exit__(None, None, None)


@pytest.mark.parametrize("body", [(), (bytes(50_000_000),)], ids=["waiting", "sending"])
def test_a_flood_of_session_tickets_ends_with_the_deadline(
    body: tuple[bytes, ...], authority: Authority
) -> None:
    """OpenSSL would read tickets as long as they come; the call ends when its time is over."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.bundle.with_name("endpoint.pem"))
    context.num_tickets = 100_000
    begun = threading.Event()

    def serve(connection: socket.socket) -> None:
        # They are made in advance, so that they come faster than they are read.
        tickets = Wire(connection, context, send_last=False).unsent
        begun.set()
        connection.recv(1000)
        connection.sendall(tickets)

    with Peer(serve) as peer:
        opened = connect_within(f"{peer.secure_uri}/", Deadline(20), 20.0)
        assert begun.wait(60)
        started = time.monotonic()
        with pytest.raises(EndpointTimeout):
            opened.exchange(
                HttpRequest(
                    method="POST", url=f"{peer.secure_uri}/", body=body, deadline=Deadline(0.3)
                )
            )
        seconds = time.monotonic() - started
        opened.close()
        assert peer.gone.wait(20)
    assert seconds < 0.3 + SLACK_S


@pytest.mark.parametrize("way", ["direct", "through a proxy over TLS"])
@pytest.mark.parametrize("what", [dripping_record, dripping_handshake])
def test_what_drips_through_tls_ends_with_the_deadline(
    what: Callable[[Authority], Callable[[socket.socket], None]],
    way: str,
    authority: Authority,
    secure_proxy: Callable[[int], Server],
) -> None:
    """A record of which a byte comes at a time is not waited for; thread and socket are gone."""
    with Peer(what(authority)) as peer:
        if way != "direct":
            secure_proxy(peer.port)
        fails_in_time(peer.secure_uri, 1.0)
        assert peer.gone.wait(20)


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("count", [1, 3])
def test_a_dripping_proxy_leaves_nothing_behind(
    scheme: str, count: int, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer to CONNECT that drips ends with the time for connecting: no thread, no socket."""

    def serve(connection: socket.socket) -> None:
        if scheme == "https":
            wire = Wire(connection, authority.server)
            for byte in b"HTTP/1.1 200 Connection established\r\n" * 9:
                connection.sendall(wire.encrypted(bytes([byte])))
                time.sleep(0.05)
        else:
            connection.recv(10_000)
            drip(connection, b"HTTP/1.1 200 Connection established\r\n" * 9, 0.05)

    for _ in range(count):
        with Peer(serve) as peer:
            monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://127.0.0.1:{peer.port}")
            error = fails_in_time(f"https://{AWAY}", 5.0, connect_timeout_s=1.0)
            assert "no connection within 1 s" in str(error)
            # On a busy machine the time may be over before the proxy is asked.
            assert not peer.accepted or peer.gone.wait(5)


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", EndpointUnavailable, "password"),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n<html>", EndpointUnavailable, "answered 403 to CONNECT"),
        (b"SSH-2.0-OpenSSH\r\n", EndpointError, "not HTTP"),
        (b"HTTP/1.1 200 OK\r\n\r\nsurprise", EndpointUnavailable, "the proxy sent data before"),
        (b"", EndpointUnavailable, "in its answer to CONNECT"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 4000, EndpointError, "interim"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", EndpointError, "100 headers"),
    ],
)
def test_a_proxy_that_does_not_connect_is_said(
    answer: bytes, kind: type[EndpointError], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refusals, other protocols and endless answers are errors at once, with what to do."""

    def serve(connection: socket.socket) -> None:
        connection.recv(10_000)
        connection.sendall(answer)
        connection.shutdown(socket.SHUT_WR)

    with Peer(serve) as peer:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{peer.port}")
        with pytest.raises(kind, match=said):
            ask(f"https://{AWAY}", 5.0)
        assert peer.gone.wait(2)


def test_interim_answers_of_a_proxy_are_passed_over(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy may say Continue before it connects."""

    def serve(connection: socket.socket) -> None:
        connection.recv(10_000)
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")
        with socket.create_connection(("127.0.0.1", faulty.port)) as target:
            while True:
                for source in select.select([connection, target], [], [], 30)[0]:
                    data = source.recv(65536)
                    if not data:
                        return
                    (target if source is connection else connection).sendall(data)

    with FaultyEndpoint(http(200, ANSWER), tls=authority.server) as faulty, Peer(serve) as peer:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{peer.port}")
        assert ask(faulty.uri) == 5.0


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_over_tls_has_to_be_whom_we_mean(
    scheme: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy whose certificate is not trusted gets nothing, whatever is asked through it."""
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with FaultyEndpoint(http(200, ANSWER), tls=authority.server) as proxy:
        monkeypatch.setenv(f"{scheme.upper()}_PROXY", proxy.uri)
        with pytest.raises(EndpointRefused, match="certificate"):
            ask(f"{scheme}://triton.test", allow_http=True)
        assert proxy.requests == []


def test_plain_http_goes_through_a_proxy_over_tls(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy gets the request with the whole address, encrypted."""
    with FaultyEndpoint(http(200, ANSWER), tls=authority.server) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.uri)
        assert ask("http://triton.test", allow_http=True) == 5.0
    assert proxy.requests[0].startswith(b"POST http://triton.test/v2/models/m/versions/1/infer ")


@pytest.mark.parametrize("farewell", [True, False])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_an_answer_that_ends_with_the_connection_is_read(
    version: ssl.TLSVersion, farewell: bool, authority: Authority
) -> None:
    """Without a length the end of the connection ends the answer, with TLS's farewell or not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.bundle.with_name("endpoint.pem"))
    context.maximum_version = version

    def script(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + ANSWER)
        assert isinstance(connection, ssl.SSLSocket)
        if farewell:
            with contextlib.suppress(OSError):
                connection.unwrap()
        connection.close()

    with FaultyEndpoint(script, tls=context) as faulty:
        assert ask(faulty.uri) == 5.0


def test_a_record_that_was_changed_on_the_way_is_refused(authority: Authority) -> None:
    """Bytes that do not fit their seal are never given to the reader."""

    def serve(connection: socket.socket) -> None:
        wire = Wire(connection, authority.server)
        wire.read_request()
        record = bytearray(wire.encrypted(OK))
        record[20] ^= 1
        connection.sendall(record)

    with Peer(serve) as peer:
        with pytest.raises(EndpointRefused, match="no secure connection"):
            ask(peer.secure_uri)
        assert peer.gone.wait(2)


def test_a_large_request_is_encrypted_piece_by_piece(authority: Authority) -> None:
    """Beside the request little memory is taken, and the time is looked at between the pieces."""
    request = bytes(20_000_000)
    context = ssl.create_default_context(cafile=authority.bundle)
    pieces: list[int] = []

    class Below(BoundedSocket):
        def send(self, parts: Iterable[Buffer], deadline: Deadline, hear: Hear) -> bool:
            parts = list(parts)
            pieces.append(sum(map(len, parts)))
            return super().send(parts, deadline, hear)

    def serve(connection: socket.socket) -> None:
        with authority.server.wrap_socket(connection, server_side=True) as secured:
            left = len(request)
            while left:
                left -= len(secured.recv(left))
            secured.sendall(b"all")

    with Peer(serve) as peer, socket.create_connection(("127.0.0.1", peer.port)) as sock:
        stream = TlsStream(Below(sock), context, "127.0.0.1")
        stream.shake_hands(Deadline(20))
        assert stream.send((request,), Deadline(60), lambda _: True)
        assert stream.receive(Deadline(20)) == b"all"
    assert max(pieces) < 200_000


def test_a_peer_that_sends_and_does_not_read_is_left() -> None:
    """What came is not piled up without end while something has to be sent first."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.settimeout(0)
        context = ssl.create_default_context()
        stream = TlsStream(BoundedSocket(ours), context, "localhost")
        stop = threading.Event()

        def flood() -> None:
            while not stop.is_set():
                with contextlib.suppress(BlockingIOError):
                    theirs.send(bytes(65536))

        def fill() -> None:
            with contextlib.suppress(BlockingIOError):
                while True:
                    ours.send(bytes(65536), socket.MSG_DONTWAIT)

        fill()
        flooder = threading.Thread(target=flood)
        flooder.start()
        try:
            with pytest.raises(ConnectionResetError, match="does not read"):
                stream.shake_hands(Deadline(20))
        finally:
            stop.set()
            flooder.join()
