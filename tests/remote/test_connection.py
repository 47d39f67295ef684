"""How an endpoint is reached: real TLS with a private authority, proxies, idle connections."""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
import ssl
import threading
import time
import traceback
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import certifi
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from hybridmodel import (
    ConfigurationError,
    EndpointRefused,
    EndpointUnavailable,
    TritonEndpoint,
)
from hybridmodel.remote.client import EndpointClient
from hybridmodel.remote.http import connect, transport
from hybridmodel.remote.http.connection import HttpRequest
from hybridmodel.remote.http.transport import PooledTransport
from hybridmodel.remote.resilience import Deadline
from tests.support.faulty import ANSWER, SPEC, FaultyEndpoint, Script, get, http, raw, read_request

AWAY = "endpoint.test"
"""A host that no name server knows, so that only a proxy gets there; loopback needs none."""

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
SETTINGS = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", *PROXIES, *map(str.lower, PROXIES))


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the proxies and certificates of the machine out of the tests."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)


def ask(endpoint: TritonEndpoint) -> float:
    """Ask once and return the one number of the answer."""
    client = EndpointClient(endpoint, SPEC)
    try:
        feeds = {"x": np.ones(1, np.float32)}
        return float(client.infer(feeds, ("y",), rows=1, timeout_s=10).outputs["y"][0])
    finally:
        client.close()


class Authority:
    """A private certificate authority and one certificate for this machine."""

    def __init__(self, folder: Path, host: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "private authority")])
        self.bundle = folder / "authority.pem"
        authority = self._sign(self._name, self._key, None)
        self.bundle.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "endpoint")])
        certificate = self._sign(subject, key, ipaddress.ip_address(host))
        chain = folder / "endpoint.pem"
        chain.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(chain)

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        host: ipaddress.IPv4Address | ipaddress.IPv6Address | None,
    ) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=host is None, path_length=None), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
        )
        if host is None:
            usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
            builder = builder.add_extension(usage, critical=True)
        else:
            names = x509.SubjectAlternativeName([x509.IPAddress(host), x509.DNSName(AWAY)])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._key, hashes.SHA256())


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Make an authority that no system trusts."""
    return Authority(tmp_path_factory.mktemp("authority"), "127.0.0.1")


def test_a_private_authority_is_trusted_through_the_environment(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`REQUESTS_CA_BUNDLE` names the company's certificate, and TLS works, twice."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.bundle))
    with FaultyEndpoint(http(200, ANSWER), tls=authority.server) as faulty:
        assert ask(faulty.endpoint()) == 5.0
        assert ask(faulty.endpoint()) == 5.0


def test_the_endpoint_can_name_the_authority_itself(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ca_bundle` counts more than the environment; one that is not there is said so."""
    other = tmp_path / "other.pem"
    other.write_text(Path(certifi.where()).read_text())
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(other))
    with FaultyEndpoint(http(200, ANSWER), tls=authority.server) as faulty:
        assert ask(faulty.endpoint(ca_bundle=authority.bundle)) == 5.0
        with pytest.raises(EndpointRefused, match="ca_bundle"):
            ask(faulty.endpoint())
        with pytest.raises(ConfigurationError, match="the endpoint names them in ca_bundle"):
            ask(faulty.endpoint(ca_bundle=tmp_path / "missing.pem"))


def test_an_unknown_authority_is_refused_with_the_way_out(authority: Authority) -> None:
    """The certificate is not accepted, nothing is sent, and the message names the variable."""
    with FaultyEndpoint(http(200, ANSWER), tls=authority.server) as faulty:
        with pytest.raises(EndpointRefused, match="REQUESTS_CA_BUNDLE"):
            ask(faulty.endpoint())
        assert faulty.requests == []


def test_without_settings_the_authorities_are_those_of_requests() -> None:
    """Where nothing is set, certifi's list is used, as everywhere in Python."""
    assert connect._pool("https://example.com/", None).ca_certs == certifi.where()


def test_a_secure_connection_that_breaks_is_unavailable() -> None:
    """A server that goes away in the handshake is no matter of certificates."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            opened, _ = listening.accept()
            opened.recv(10_000)
            opened.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        uri = f"https://127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(EndpointUnavailable) as caught:
            ask(TritonEndpoint(uri=uri, model_name="m", auth_key_env=None))
        thread.join(10)
    assert "REQUESTS_CA_BUNDLE" not in str(caught.value)


def test_a_certificate_of_another_host_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trusted authority is not enough, the name has to be right."""
    authority = Authority(tmp_path, "127.0.0.9")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.bundle))
    with FaultyEndpoint(http(200, ANSWER), tls=authority.server) as faulty:
        with pytest.raises(EndpointRefused, match="IP address mismatch"):
            ask(faulty.endpoint())
        assert faulty.requests == []


def test_a_certificate_file_that_is_not_there_is_said(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong path in the environment is a matter of configuration, with the path."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/authority.pem")
    with (
        FaultyEndpoint(http(200, ANSWER), tls=authority.server) as faulty,
        pytest.raises(ConfigurationError, match=r"/nowhere/authority\.pem"),
    ):
        ask(faulty.endpoint())


def test_a_server_without_tls_behind_https_is_refused() -> None:
    """Https to a plain port says so instead of waiting."""
    with FaultyEndpoint(http(200, ANSWER)) as faulty:
        endpoint = TritonEndpoint(
            uri=faulty.uri.replace("http", "https"),
            model_name="m",
            auth_key_env=None,
            connect_timeout_s=0.5,
        )
        with pytest.raises(EndpointUnavailable, match=r"no connection within 0\.5 s"):
            ask(endpoint)


def tunnel(connection: socket.socket) -> None:
    """Do as a proxy does after CONNECT: answer, then carry bytes both ways."""
    connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
    with socket.create_connection(("127.0.0.1", tunnel.port)) as target:  # type: ignore[attr-defined]
        there = threading.Thread(target=_carry, args=(connection, target), daemon=True)
        there.start()
        _carry(target, connection)


def _carry(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        return


def test_https_goes_through_the_tunnel_of_a_proxy(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CONNECT first, with the proxy's password; the key goes only through the tunnel."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.bundle))
    monkeypatch.setenv("CANARY_KEY", "canary-4711")
    with FaultyEndpoint(http(200, ANSWER), tls=authority.server) as faulty:
        tunnel.port = faulty.port  # type: ignore[attr-defined]
        with FaultyEndpoint(tunnel) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", f"http://user:pw@127.0.0.1:{proxy.port}")
            away = faulty.endpoint(uri=f"https://{AWAY}:{faulty.port}", auth_key_env="CANARY_KEY")
            assert ask(away) == 5.0
        assert b"Authorization: Bearer canary-4711" in faulty.requests[0]
    assert proxy.requests[0].startswith(f"CONNECT {AWAY}:{faulty.port} HTTP/1".encode())
    assert b"Basic " + b64encode(b"user:pw") in proxy.requests[0]
    assert b"canary" not in b"".join(proxy.requests)


def test_http_goes_to_a_proxy_with_the_whole_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without TLS the proxy gets the request itself, addressed to the endpoint."""
    with FaultyEndpoint(http(200, ANSWER)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://user:pw@127.0.0.1:{proxy.port}")
        endpoint = TritonEndpoint(
            uri="http://triton.test",
            model_name="m",
            allow_http=True,
            auth_key_env=None,
            binary=True,
        )
        assert ask(endpoint) == 5.0
    head = proxy.requests[0]
    assert head.startswith(b"POST http://triton.test/v2/models/m/versions/1/infer HTTP/1.1\r\n")
    assert b"\r\nHost: triton.test\r\n" in head
    assert b"Proxy-Authorization: Basic " + b64encode(b"user:pw") in head.replace(
        b"proxy-authorization", b"Proxy-Authorization"
    )


def test_a_host_can_be_kept_from_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """`NO_PROXY` counts: the host is looked up then, where the proxy would have answered."""
    monkeypatch.setenv("NO_PROXY", AWAY)
    with FaultyEndpoint(http(200, ANSWER)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.uri)
        away = proxy.endpoint(uri=f"http://{AWAY}", allow_http=True, max_attempts=1)
        with pytest.raises(EndpointUnavailable, match="no connection"):
            ask(away)
        assert proxy.requests == []


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "localhost", "a.localhost", "[::1]"])
def test_this_machine_is_never_asked_through_a_proxy(
    host: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy would get the key, and means another machine by such a name."""
    monkeypatch.setenv("CANARY_KEY", "canary-4711")
    scheme = "https" if variable == "HTTPS_PROXY" else "http"
    with FaultyEndpoint(http(200, ANSWER)) as proxy:
        monkeypatch.setenv(variable, proxy.uri)
        here = proxy.endpoint(uri=f"{scheme}://{host}:1", auth_key_env="CANARY_KEY", max_attempts=1)
        with pytest.raises(EndpointUnavailable):
            ask(here)
        assert proxy.requests == []


@pytest.mark.parametrize("host", ["localhost", "a.localhost", "LOCALHOST."])
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_localhost_is_never_looked_up(
    host: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names below ``localhost`` are 127.0.0.1 or ::1, whatever a name server would say."""
    real = socket.getaddrinfo

    def elsewhere(name: Any, *args: Any, **options: Any) -> Any:
        assert name in ("127.0.0.1", "::1"), f"{name} was looked up"
        return real(name, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", elsewhere)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as listener:
        thread = threading.Thread(target=answer_once, args=(listener,))
        thread.start()
        port = listener.getsockname()[1]
        endpoint = TritonEndpoint(
            uri=f"http://{host}:{port}", model_name="m", auth_key_env=None, binary=True
        )
        assert ask(endpoint) == 5.0
        thread.join(10)


def answer_once(listener: socket.socket) -> None:
    """Answer one request."""
    connection, _ = listener.accept()
    with connection:
        read_request(connection)
        http(200, ANSWER)(connection)


def test_a_dead_proxy_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that is down is said to be what is down."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with FaultyEndpoint(http(200, ANSWER)) as faulty:
        away = faulty.endpoint(uri=f"http://{AWAY}:{faulty.port}", allow_http=True)
        with pytest.raises(EndpointUnavailable, match=r"ProxyError|refused"):
            ask(away)
        assert faulty.requests == []


@pytest.mark.parametrize(
    "value",
    ["no scheme at all", "http://", "http://user:S3CRET#@127.0.0.1:9", "http://user:S3CRET/@h:9"],
)
def test_a_proxy_that_is_none_is_said(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy setting that cannot be understood never means "no proxy", nor is it repeated."""
    monkeypatch.setenv("HTTP_PROXY", value)
    with FaultyEndpoint(http(200, ANSWER)) as faulty:
        away = faulty.endpoint(uri=f"http://{AWAY}:{faulty.port}", allow_http=True)
        with pytest.raises(ConfigurationError, match="percent-encoded") as caught:
            ask(away)
        assert faulty.requests == []
    assert "S3CRET" not in "".join(traceback.format_exception(caught.value))


def test_a_proxy_that_drips_does_not_hold_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time for connecting is bounded as a whole, not for each piece of a proxy's answer."""

    def drip(connection: socket.socket) -> None:
        for char in b"HTTP/1.1 200 Connection established":
            connection.sendall(bytes([char]))
            time.sleep(0.2)

    with FaultyEndpoint(drip) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        endpoint = TritonEndpoint(
            uri=f"https://{AWAY}", model_name="m", auth_key_env=None, connect_timeout_s=0.5
        )
        started = time.monotonic()
        with pytest.raises(EndpointUnavailable, match="no connection within"):
            ask(endpoint)
        assert time.monotonic() - started < 4


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
