"""How a connection to an endpoint is opened, in a bounded time.

``requests`` decides how (proxies, certificates, the settings of the environment) and urllib3
connects; what follows goes over `hybridmodel.remote.connection`.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from hybridmodel.exceptions import ConfigurationError
from hybridmodel.remote.bounded import NotDone, crew_for, within
from hybridmodel.remote.connection import Connection
from hybridmodel.remote.host import is_loopback, loopback_addresses

_MOST_CONNECTING = 32
"""Threads for one host, of which each may be held up by a name that nobody looks up."""


def connect_within(url: str, timeout_s: float, ca_bundle: str | None = None) -> Connection:
    """Connect to a URL's host, in a bounded time whatever holds it up.

    Looking up a name is not bounded at all otherwise, and each of several addresses, and each
    piece of a proxy's answer, only by itself.

    Parameters
    ----------
    url : str
        Decides, with the environment, which proxy and which certificates count.
    timeout_s : float
        For connecting, in seconds.
    ca_bundle : str, optional
        File or folder of the authorities to trust, instead of what the environment names.

    Raises
    ------
    ConnectionError
        If it takes longer.
    Exception
        What `open_connection` raises.
    """
    try:
        return within(
            timeout_s,
            lambda: open_connection(url, timeout_s, ca_bundle),
            crew=crew_for(f"connect {urlsplit(url).netloc}", _MOST_CONNECTING),
            name="hybridmodel-connect",
            too_late=Connection.close,
        )
    except NotDone:
        raise ConnectionError(f"no connection within {timeout_s:g} s") from None


def open_connection(url: str, timeout_s: float, ca_bundle: str | None = None) -> Connection:
    """Connect to a URL's host as requests would.

    Takes what `connect_within` does.

    Raises
    ------
    ConfigurationError
        If a certificate file that is named is not there, or a proxy is no URL.
    requests.RequestException, urllib3.exceptions.HTTPError, OSError
        If no connection can be made.
    """
    pool = _pool(url, ca_bundle)
    http = pool._new_conn()
    http.timeout = timeout_s
    parts = urlsplit(url)
    if addresses := loopback_addresses(parts.hostname or ""):
        http._new_conn = lambda: _dial(addresses, http.port, timeout_s)
    by_proxy = pool.proxy is not None
    try:
        if by_proxy and parts.scheme == "https":
            pool._prepare_proxy(http)
        else:
            http.connect()
        # TLS inside TLS is no socket itself, but holds one.
        tcp = getattr(http.sock, "socket", http.sock)
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        http.close()
        raise
    if by_proxy and parts.scheme == "http":
        return Connection(http, f"http://{parts.netloc}", dict(pool.proxy_headers))
    return Connection(http, "", {})


def _dial(addresses: Sequence[str], port: int, timeout_s: float) -> socket.socket:
    """Connect to the first of several addresses of this machine that takes it, without DNS."""
    for address in addresses[:-1]:
        with suppress(OSError):
            return socket.create_connection((address, port), timeout_s)
    try:
        return socket.create_connection((addresses[-1], port), timeout_s)
    except TimeoutError:
        # A time-out by itself would mean that the server has the request.
        raise ConnectionError(f"no connection within {timeout_s:g} s") from None


def _pool(url: str, ca_bundle: str | None) -> Any:
    """Let requests choose proxy and certificates; urllib3's pool knows how to connect with them."""
    import requests
    from urllib3.exceptions import LocationParseError

    with requests.Session() as session:
        settings = session.merge_environment_settings(url, {}, False, ca_bundle, None)
        verify, proxies, cert = settings["verify"], settings["proxies"], settings["cert"]
        if is_loopback(urlsplit(url).hostname or ""):
            proxies = {}  # A proxy would get the key, and means another machine by this name.
        adapter: Any = session.get_adapter(url)
        request = requests.Request("POST", url).prepare()
        try:
            pool = adapter.get_connection_with_tls_context(request, verify, proxies, cert)
        except (requests.RequestException, LocationParseError, TypeError, ValueError):
            # Not shown: what cannot be parsed may be a password.
            raise ConfigurationError(
                "the proxy that the environment names (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY) is no "
                "URL; characters such as / # @ in its password have to be percent-encoded"
            ) from None
        try:
            # Gives the pool the authorities that requests trusts where the environment names none.
            adapter.cert_verify(pool, url, verify, cert)
        except OSError as error:
            named = "the endpoint names them in ca_bundle"
            if ca_bundle is None:
                named = "the environment names them in REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE"
            raise ConfigurationError(f"certificates: {error}; {named}") from error
        return pool
