"""How a connection to an endpoint is opened, in a bounded time.

``requests`` decides how (proxies, certificates, the settings of the environment); everything that
goes over the network is done by `hybridmodel.remote.http.dial`, `hybridmodel.remote.http.tls` and
`hybridmodel.remote.http.tunnel`, of which no step runs past the deadline. What follows goes over
`hybridmodel.remote.http.connection`.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from hybridmodel.exceptions import ConfigurationError
from hybridmodel.process.bounded import call_with_timeout, crew_for
from hybridmodel.remote.host import is_loopback
from hybridmodel.remote.http.bounded_socket import BoundedSocket, Stream
from hybridmodel.remote.http.connection import Connection
from hybridmodel.remote.http.dial import Address, Connecting, Shared, addresses_of, dial
from hybridmodel.remote.http.tls import TlsStream
from hybridmodel.remote.http.tunnel import open_tunnel
from hybridmodel.remote.resilience import Deadline

_MOST_CONNECTING = 32
"""Threads for one host behind a SOCKS proxy, each of which may be held up by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where a connection to an endpoint begins, and what it goes through.

    Attributes
    ----------
    addresses : tuple of Address
        Of the proxy, where there is one; else of the endpoint.
    socks : urllib3 pool or None
        For a proxy that speaks SOCKS, which only PySocks knows.
    context : ssl.SSLContext or None
        For TLS on the way; None where there is none.
    proxy_tls : str or None
        Whose certificate a proxy shows that is itself asked over TLS.
    tunnel : str or None
        Host and port that a proxy carries the bytes to.
    tls : str or None
        Whose certificate the endpoint shows.
    prefix : str
        What stands before the path in a request.
    headers : mapping of str to str
        For the proxy.
    """

    addresses: tuple[Address, ...]
    socks: Any
    context: ssl.SSLContext | None
    proxy_tls: str | None
    tunnel: str | None
    tls: str | None
    prefix: str
    headers: Mapping[str, str]


_routes: Shared[Route] = Shared("hybridmodel-connect")


def connect_within(
    url: str, deadline: Deadline, timeout_s: float, ca_bundle: str | None = None
) -> Connection:
    """Connect to a URL's host as requests would, in a bounded time whatever holds it up.

    Parameters
    ----------
    url : str
        Decides, with the environment, which proxy and which certificates count.
    deadline : Deadline
        Of the call.
    timeout_s : float
        For connecting, in seconds.
    ca_bundle : str, optional
        File or folder of the authorities to trust, instead of what the environment names.

    Raises
    ------
    ConnectionError
        If it takes longer.
    ConfigurationError
        If a certificate file that is named is not there, or a proxy is no URL.
    ProtocolError, requests.RequestException, OSError
        If no connection can be made.
    """
    connecting = Connecting(deadline, timeout_s)
    parts = urlsplit(url)
    key = (parts.scheme, parts.netloc, ca_bundle)
    route = _routes.get(key, lambda: route_to(url, ca_bundle), connecting)
    stream = _begun(route, connecting)
    try:
        through = _through(stream, route, connecting)
    except BaseException:
        stream.close()
        raise
    for_proxy = {} if route.tunnel else route.headers
    return Connection(through, route.prefix, {"Host": parts.netloc, **for_proxy})


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


def _through(stream: BoundedSocket, route: Route, deadline: Deadline) -> Stream:
    """Go through the proxy, and agree on keys with whoever wants TLS."""
    found: Stream = stream
    if route.context is not None and route.proxy_tls is not None:
        found = _secured(found, route.context, route.proxy_tls, deadline)
    if route.tunnel is not None:
        open_tunnel(found, route.tunnel, route.headers, deadline)
    if route.context is not None and route.tls is not None:
        found = _secured(found, route.context, route.tls, deadline)
    return found


def _secured(below: Stream, context: ssl.SSLContext, host: str, deadline: Deadline) -> TlsStream:
    secured = TlsStream(below, context, host)
    secured.shake_hands(deadline)
    return secured


def route_to(url: str, ca_bundle: str | None = None) -> Route:
    """Ask the environment, and look up the host; takes as long as the system likes.

    Raises
    ------
    ConfigurationError
        If a certificate file that is named is not there, or a proxy is no URL.
    requests.RequestException, OSError
        If there is no such host.
    """
    pool = _pool(url, ca_bundle)
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    tls = _certified(pool.host) if secure else None
    if pool.proxy is not None:
        return _by_proxy(pool, tls, parts.netloc)
    socks = "_socks_options" in pool.conn_kw
    return Route(
        addresses=() if socks else addresses_of(_bare(pool.host), pool.port),
        socks=pool if socks else None,
        context=_context(pool) if secure else None,
        proxy_tls=None,
        tunnel=None,
        tls=tls,
        prefix="",
        headers={},
    )


def _by_proxy(pool: Any, tls: str | None, netloc: str) -> Route:
    proxy = pool.proxy
    proxy_tls = proxy.scheme == "https"
    return Route(
        addresses=addresses_of(_bare(proxy.host), proxy.port),
        socks=None,
        context=_context(pool) if tls or proxy_tls else None,
        proxy_tls=_certified(proxy.host) if proxy_tls else None,
        tunnel=_target(pool) if tls else None,
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


def _target(pool: Any) -> str:
    host = _bare(pool.host)
    return f"[{host}]:{pool.port}" if ":" in host else f"{host}:{pool.port}"


def _context(pool: Any) -> ssl.SSLContext:
    """Trust whom urllib3's pool was told to trust, and agree on what urllib3 agrees on."""
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
                "the proxy that the environment names (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY) is no "
                "URL; characters such as / # @ in its password have to be percent-encoded"
            ) from None
        try:
            # Gives the pool the authorities that requests trusts where the environment names none.
            # A proxy that is asked over TLS has to be whom we mean, whatever is asked through it.
            secure = pool.proxy is not None and pool.proxy.scheme == "https"
            adapter.cert_verify(pool, "https://" if secure else url, verify, cert)
        except OSError as error:
            named = "the endpoint names them in ca_bundle"
            if ca_bundle is None:
                named = "the environment names them in REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE"
            raise ConfigurationError(f"certificates: {error}; {named}") from error
        return pool
