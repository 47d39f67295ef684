"""Whom a connection trusts, and how a certificate that is not accepted is said."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import certifi
import pytest

from hybridmodel import (
    ConfigurationError,
    EndpointRefused,
    EndpointUnavailable,
    TritonEndpoint,
)
from hybridmodel.remote.http import connect
from tests.support.connecting import Authority, ask, authority, bare_environment
from tests.support.faulty import ANSWER, FaultyEndpoint, http

__all__ = ["authority", "bare_environment"]  # Fixtures.


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
