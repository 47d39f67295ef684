"""How a connection to an endpoint is opened, in a bounded time.

``requests`` decides how (proxies, certificates, the settings of the environment); everything that
goes over the network is done here, by `hybridmodel.remote.http.dial` and by
`hybridmodel.remote.http.tls`, and no step of it runs past the deadline. What follows goes over
`hybridmodel.remote.http.connection`.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from hybridmodel.exceptions import ConfigurationError
from hybridmodel.process.bounded import call_with_timeout, crew_for
from hybridmodel.remote.address import in_url, is_loopback
from hybridmodel.remote.http.bounded_socket import BoundedSocket
from hybridmodel.remote.http.connection import Connection
from hybridmodel.remote.http.dial import (
    Address,
    Connecting,
    Shared,
    addresses_of,
    dial,
    unix_address,
)
from hybridmodel.remote.http.http1 import Head, HeadReader, encode_head
from hybridmodel.remote.http.tls import Stream, TlsStream
from hybridmodel.remote.resilience import Deadline

_MOST_CONNECTING = 32
"""Threads for one host behind a SOCKS proxy, which may block each of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where a connection to an endpoint begins, and what it goes through.

    `addresses` are those of the proxy, where there is one; `socks` is urllib3's pool for a proxy
    that speaks SOCKS, which only PySocks knows. `proxy_tls` and `tls` are the names that the
    certificates of proxy and endpoint must have. The proxy is asked for a `tunnel` to a host and
    port, or it gets the whole URL, which begins with `prefix`; `headers` are for the proxy.
    """

    addresses: tuple[Address, ...] = ()
    socks: Any = None
    context: ssl.SSLContext | None = None
    proxy_tls: str | None = None
    tunnel: str | None = None
    tls: str | None = None
    prefix: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


_HINTS = {
    403: "the proxy does not let this machine reach the endpoint",
    407: "the proxy wants a user and a password, as in http://user:password@proxy:3128",
}

_routes: Shared[Route] = Shared("hybridmodel-connect")


def connect_within(
    url: str, deadline: Deadline, timeout_s: float, ca_bundle: str | None = None
) -> Connection:
    """Connect to a URL's host as requests would, in a bounded time whatever holds it up.

    The URL and the environment decide on the proxy and the certificates, unless `ca_bundle` names
    these. Raises ConnectionError if it takes longer than `timeout_s`, and `ConfigurationError` for
    settings of the environment that cannot be used.
    """
    connecting = Connecting(deadline, timeout_s)
    parts = urlsplit(url)
    key = (parts.scheme, parts.netloc, ca_bundle)
    route = _routes.get(key, lambda: route_to(url, ca_bundle), connecting)
    socket_ = _begun(route, connecting)
    try:
        stream = _through(socket_, route, connecting)
    except BaseException:
        socket_.close()
        raise
    for_proxy = {} if route.tunnel else route.headers
    return Connection(stream, route.prefix, {"Host": parts.netloc, **for_proxy})


def connect_to_socket(base: str, path: str, deadline: Deadline, timeout_s: float) -> Connection:
    """Connect to a Unix socket in a bounded time; no proxy and no name server has a part in it.

    The URLs of requests begin with `base`. Raises what `connect_within` does, and OSError that
    names the path.
    """
    try:
        stream = dial((unix_address(path),), Connecting(deadline, timeout_s))
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, f"{os.strerror(error.errno)}: {path}") from None
    return Connection(stream, "", {"Host": "localhost"}, base)


def _begun(route: Route, deadline: Deadline) -> BoundedSocket:
    if route.socks is None:
        return dial(route.addresses, deadline)
    left_s = deadline.check("connecting")
    sock: socket.socket = call_with_timeout(
        left_s,
        lambda: _by_socks(route.socks, left_s),
        crew=crew_for(f"socks {route.socks.host}", _MOST_CONNECTING),
        name="hybridmodel-socks",
        too_late=socket.socket.close,
    )
    return BoundedSocket(sock)


def _by_socks(pool: Any, timeout_s: float) -> Any:
    opened = pool._new_conn()
    opened.timeout = timeout_s
    return opened._new_conn()


def _through(stream: Stream, route: Route, deadline: Deadline) -> Stream:
    """Go through the proxy, and begin TLS with proxy and endpoint where they use it."""
    stream = _secured(stream, route.context, route.proxy_tls, deadline)
    if route.tunnel is not None:
        _open_tunnel(stream, route.tunnel, route.headers, deadline)
    return _secured(stream, route.context, route.tls, deadline)


def _secured(
    below: Stream, context: ssl.SSLContext | None, host: str | None, deadline: Deadline
) -> Stream:
    if context is None or host is None:
        return below
    secured = TlsStream(below, context, host)
    secured.shake_hands(deadline)
    return secured


def _open_tunnel(
    stream: Stream, target: str, headers: Mapping[str, str], deadline: Deadline
) -> None:
    """Ask a proxy by ``CONNECT`` to carry bytes to a host and port (RFC 9110, 9.3.6)."""
    reader = HeadReader()
    found: tuple[Head, bytes] | None = None

    def hear(piece: bytes) -> bool:
        nonlocal found
        found = reader.feed(piece)
        return not piece or found is not None

    head = encode_head("CONNECT", target, {"Host": target, **headers})
    stream.send((head,), deadline, hear)
    while found is None:
        piece = stream.receive(deadline)
        if not piece:
            raise ConnectionResetError("the proxy closed the connection in its answer to CONNECT")
        found = reader.feed(piece)
    status, rest = found[0].status, found[1]
    if not 200 <= status < 300:
        hint = f"; {_HINTS[status]}" if status in _HINTS else ""
        raise ConnectionRefusedError(f"the proxy answered {status} to CONNECT{hint}")
    if rest:
        raise ConnectionResetError("the proxy sent data before the endpoint was asked")


def route_to(url: str, ca_bundle: str | None = None) -> Route:
    """Read the environment, and look up the host; takes as long as the system needs."""
    pool = _pool(url, ca_bundle)
    parts = urlsplit(url)
    tls = _certified(pool.host) if parts.scheme == "https" else None
    if pool.proxy is not None:
        return _by_proxy(pool, tls, parts.netloc)
    context = _context(pool) if tls else None
    if "_socks_options" in pool.conn_kw:
        return Route(socks=pool, context=context, tls=tls)
    return Route(addresses=addresses_of(_bare(pool.host), pool.port), context=context, tls=tls)


def _by_proxy(pool: Any, tls: str | None, netloc: str) -> Route:
    proxy = pool.proxy
    proxy_tls = _certified(proxy.host) if proxy.scheme == "https" else None
    return Route(
        addresses=addresses_of(_bare(proxy.host), proxy.port),
        context=_context(pool) if tls or proxy_tls else None,
        proxy_tls=proxy_tls,
        tunnel=f"{in_url(_bare(pool.host))}:{pool.port}" if tls else None,
        tls=tls,
        prefix="" if tls else f"http://{netloc}",
        headers=dict(pool.proxy_headers),
    )


def _bare(host: str) -> str:
    """Return a host without the brackets of IPv6."""
    return host.strip("[]")


def _certified(host: str) -> str:
    """Return a host as a certificate names it: without the last dot, or the scope of IPv6."""
    return _bare(host).partition("%")[0].rstrip(".")


def _context(pool: Any) -> ssl.SSLContext:
    """Make a context with the authorities of urllib3's pool, and urllib3's settings."""
    from urllib3.util.ssl_ import create_urllib3_context

    context: ssl.SSLContext = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
    context.load_verify_locations(pool.ca_certs, pool.ca_cert_dir)
    context.set_alpn_protocols(["http/1.1"])
    return context


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
                "the proxy that the environment names (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY) is not "
                "a URL; characters such as / # @ in its password have to be percent-encoded"
            ) from None
        try:
            # Gives the pool the authorities that requests trusts where the environment names none.
            # A proxy that is asked over TLS has to show a valid certificate, too.
            secure = pool.proxy is not None and pool.proxy.scheme == "https"
            adapter.cert_verify(pool, "https://" if secure else url, verify, cert)
        except OSError as error:
            named = "the endpoint names them in ca_bundle"
            if ca_bundle is None:
                named = "the environment names them in REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE"
            raise ConfigurationError(f"certificates: {error}; {named}") from error
        return pool
