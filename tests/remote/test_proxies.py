"""Connections through proxies, as the environment names them."""

from __future__ import annotations

import socket
import threading
import time
import traceback
from base64 import b64encode
from typing import Any

import pytest

from hybridmodel import (
    ConfigurationError,
    EndpointUnavailable,
    TritonEndpoint,
)
from tests.support.connecting import AWAY, Authority, ask, authority, bare_environment
from tests.support.faulty import ANSWER, FaultyEndpoint, http, read_request

__all__ = ["authority", "bare_environment"]  # Fixtures.


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
