"""One connection to an endpoint: how it is opened, and one request and reply over its socket.

``requests`` decides how to connect (proxies, certificates, the settings of the environment) and
urllib3 connects; then request and reply go over the bare socket, because only so does one deadline
bound the whole exchange, and large tensors move without a copy.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from hybridmodel.exceptions import ConfigurationError, ProtocolError
from hybridmodel.remote.http1 import ChunkedBody, Head, decompress, encode_head, split_head
from hybridmodel.remote.protocol import HEADER_LENGTH, MAX_BODY_BYTES, parse_header_length
from hybridmodel.remote.resilience import Deadline
from hybridmodel.remote.tensor_data import Buffer

if TYPE_CHECKING:
    from concurrent.futures import Future

    from urllib3.connection import HTTPConnection

_HEADER_LENGTH = HEADER_LENGTH.lower()
_PIECE_BYTES = 1 << 18


@dataclass(frozen=True)
class Reply:
    """What came back.

    Attributes
    ----------
    status : int
        HTTP status.
    headers : mapping of str to str
        Names in lower case.
    header : bytearray
        The JSON part of the body, or all of it.
    tensors : buffer
        The rest, writable, in a buffer of its own so that the first tensor starts on an aligned
        address.
    """

    status: int
    headers: Mapping[str, str]
    header: bytearray
    tensors: Buffer


class StaleConnection(ConnectionError):
    """Raise when a connection ended before the first byte of an answer."""


class Connection:
    """One open socket, and how requests have to be addressed on it.

    Parameters
    ----------
    http : urllib3 connection
        Connected, through a proxy where there is one.
    prefix : str
        What stands before the path in a request.
    headers : mapping of str to str
        What a proxy wants besides.
    """

    def __init__(self, http: HTTPConnection, prefix: str, headers: Mapping[str, str]) -> None:
        self._http = http
        self._socket: socket.socket = http.sock
        self._prefix = prefix
        self._headers = headers
        self._readable = _readable(self._socket)
        self.reusable = False

    def exchange(
        self,
        method: str,
        url: str,
        host: str,
        headers: Mapping[str, str],
        body: Sequence[Buffer],
        deadline: Deadline,
    ) -> Reply:
        """Send one request and read its reply; afterwards `reusable` says whether to go on.

        Raises
        ------
        EndpointTimeout, ProtocolError, OSError
            The connection must be closed then.
        """
        length = sum(map(len, body))
        head = {"Host": host, **headers, **self._headers}
        if body:
            head["Content-Length"] = str(length)
        target = self._prefix + url[url.index("/", 8) :]
        self._send((encode_head(method, target, head), *body), deadline)
        return self._receive(deadline)

    def has_ended(self) -> bool:
        """Tell whether the server closed it, or sent something that nobody asked for."""
        return self._readable()

    def close(self) -> None:
        """Close the socket."""
        self._http.close()

    def _send(self, parts: Iterable[Buffer], deadline: Deadline) -> None:
        try:
            for piece in _pieces(parts):
                self._socket.settimeout(deadline.check("sending the request"))
                self._socket.sendall(piece)
        except (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
            # A server that refuses a request early closes; what it said may still be there.
            if not self.has_ended():
                raise StaleConnection("the connection broke while the request was sent") from error

    def _receive(self, deadline: Deadline) -> Reply:
        received = bytearray(self._first(deadline))
        while (found := split_head(received)) is None or found[0].status < 200:
            if found is not None:
                del received[: found[1]]
                continue
            received += self._some(deadline)
        head, end = found
        try:
            header, tensors = self._body(head, received[end:], deadline)
        except ProtocolError as error:
            error.status = head.status
            raise
        self.reusable = head.reusable and (head.chunked or head.length is not None)
        return Reply(head.status, head.headers, header, tensors)

    def _first(self, deadline: Deadline) -> bytes:
        try:
            return self._some(deadline)
        except (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
            raise StaleConnection("the server closed the connection without an answer") from error

    def _body(
        self, head: Head, received: bytearray, deadline: Deadline
    ) -> tuple[bytearray, Buffer]:
        split = head.headers.get(_HEADER_LENGTH)
        encoding = head.headers.get("content-encoding", "").lower()
        if head.chunked:
            whole = self._chunks(received, deadline)
        elif head.length is None:
            whole = self._rest(received, deadline)
        elif encoding or len(received) >= head.length or split is None:
            whole = bytearray(self._exactly(head.length, received, deadline))
        else:
            at = parse_header_length(split, head.length)
            header = bytearray(self._exactly(at, received[:at], deadline))
            return header, self._exactly(head.length - at, received[at:], deadline)
        whole = decompress(whole, encoding, MAX_BODY_BYTES)
        at = parse_header_length(split, len(whole)) if whole else 0
        return whole[:at], whole[at:]

    def _exactly(self, length: int, received: bytearray, deadline: Deadline) -> Buffer:
        if length > MAX_BODY_BYTES:
            raise ProtocolError(f"the answer announces {length} bytes, more than any answer has")
        if len(received) > length:
            raise ProtocolError(f"{len(received) - length} bytes follow the answer")
        if len(received) == length:
            return received
        # Memory that nobody has written to takes none: a server may announce more than it sends.
        body = np.empty(length, np.uint8).data
        body[: len(received)] = received
        at = len(received)
        while at < length:
            self._socket.settimeout(deadline.check("reading the answer"))
            count = self._socket.recv_into(body[at:])
            if count == 0:
                raise ConnectionResetError(f"{at} of {length} bytes came, then the end")
            at += count
        return body

    def _chunks(self, received: bytearray, deadline: Deadline) -> bytearray:
        chunks, body = ChunkedBody(), bytearray()
        body += chunks.feed(received)
        while not chunks.done:
            body += chunks.feed(self._some(deadline))
            _check_length(body)
        return body

    def _rest(self, received: bytearray, deadline: Deadline) -> bytearray:
        while piece := self._some(deadline, or_end=True):
            received += piece
            _check_length(received)
        return received

    def _some(self, deadline: Deadline, *, or_end: bool = False) -> bytes:
        self._socket.settimeout(deadline.check("reading the answer"))
        piece = self._socket.recv(_PIECE_BYTES)
        if not piece and not or_end:
            raise ConnectionResetError("the server closed the connection in the answer")
        return piece


def _readable(sock: socket.socket) -> Callable[[], bool]:
    """Return what tells at once whether there is something to read, or the end."""
    if not hasattr(select, "poll"):  # Windows, whose select takes any number of sockets.
        return lambda: bool(select.select([sock], [], [], 0)[0])
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return lambda: bool(poll.poll(0))


def connect_within(url: str, timeout_s: float) -> Connection:
    """Connect to a URL's host, in a bounded time whatever holds it up.

    Looking up a name is not bounded at all otherwise, and each of several addresses, and each
    piece of a proxy's answer, only by itself.

    Raises
    ------
    ConnectionError
        If it takes longer.
    Exception
        What `open_connection` raises.
    """
    from concurrent.futures import Future
    from concurrent.futures import TimeoutError as FutureTimeout

    future: Future[Connection] = Future()

    def connect() -> None:
        try:
            future.set_result(open_connection(url, timeout_s))
        except BaseException as error:  # noqa: BLE001 - raised by the thread that waits
            future.set_exception(error)

    threading.Thread(target=connect, name="hybridmodel-connect", daemon=True).start()
    try:
        return future.result(timeout_s)
    except BaseException as error:
        future.add_done_callback(_close_unused)
        if isinstance(error, FutureTimeout) and not future.done():
            raise ConnectionError(f"no connection within {timeout_s:g} s") from None
        raise


def _close_unused(future: Future[Connection]) -> None:
    if future.exception() is None:
        future.result().close()


def open_connection(url: str, timeout_s: float) -> Connection:
    """Connect to a URL's host as requests would.

    Parameters
    ----------
    url : str
        Decides, with the environment, which proxy and which certificates count.
    timeout_s : float
        For connecting, in seconds.

    Raises
    ------
    ConfigurationError
        If a certificate file that the environment names is not there.
    requests.RequestException, urllib3.exceptions.HTTPError, OSError
        If no connection can be made.
    """
    pool = _pool(url)
    http = pool._new_conn()
    http.timeout = timeout_s
    parts = urlsplit(url)
    by_proxy = pool.proxy is not None
    try:
        if by_proxy and parts.scheme == "https":
            pool._prepare_proxy(http)
        else:
            http.connect()
        http.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        http.close()
        raise
    if by_proxy and parts.scheme == "http":
        return Connection(http, f"http://{parts.netloc}", dict(pool.proxy_headers))
    return Connection(http, "", {})


def _pool(url: str) -> Any:
    """Let requests choose proxy and certificates; urllib3's pool knows how to connect with them."""
    import requests
    from urllib3.exceptions import LocationParseError

    with requests.Session() as session:
        settings = session.merge_environment_settings(url, {}, False, None, None)
        verify, proxies, cert = settings["verify"], settings["proxies"], settings["cert"]
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
            raise ConfigurationError(
                f"certificates: {error}; the environment names them in REQUESTS_CA_BUNDLE or "
                "CURL_CA_BUNDLE"
            ) from error
        return pool


def _pieces(parts: Iterable[Buffer]) -> Iterable[Buffer]:
    """Join what is small, so that it leaves in one packet, and cut what is large, uncopied."""
    small = bytearray()
    for part in parts:
        if len(small) + len(part) <= _PIECE_BYTES:
            small += part
            continue
        yield small
        small = bytearray()
        view = memoryview(part)
        for start in range(0, len(view), _PIECE_BYTES):
            yield view[start : start + _PIECE_BYTES]
    yield small


def _check_length(body: bytearray) -> None:
    if len(body) > MAX_BODY_BYTES:
        raise ProtocolError(f"the answer is longer than {MAX_BODY_BYTES} bytes")
