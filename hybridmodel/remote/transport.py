"""One HTTP exchange: bytes out, bytes in, before a deadline; every failure in our own words.

`RequestsTransport` is the only place that knows ``requests``. Anything with the same `send` and
`close` can stand in for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Protocol

from hybridmodel.exceptions import (
    ConfigurationError,
    EndpointError,
    EndpointRefused,
    EndpointTimeout,
    EndpointUnavailable,
    ProtocolError,
)
from hybridmodel.remote.endpoint import TritonEndpoint
from hybridmodel.remote.protocol import HEADER_LENGTH, MAX_BODY_BYTES, parse_header_length
from hybridmodel.remote.resilience import Deadline

if TYPE_CHECKING:
    import requests

POOL_SIZE = 32
"""Connections kept open to one endpoint; more threads than that open and close their own."""

_CHUNK_BYTES = 1 << 18


@dataclass(frozen=True)
class Reply:
    """What came back.

    Attributes
    ----------
    status : int
        HTTP status.
    headers : mapping of str to str
        Looked up without regard to case.
    header : bytearray
        The JSON part of the body, or all of it.
    tensors : bytearray
        The rest, in a buffer of its own so that the first tensor starts on an aligned address.
    """

    status: int
    headers: Mapping[str, str]
    header: bytearray
    tensors: bytearray


class Transport(Protocol):
    """What the client needs of HTTP."""

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None,
        key: str | None,
        deadline: Deadline,
    ) -> Reply:
        """Exchange one request for one reply, of whatever status, or raise an `EndpointError`."""

    def close(self) -> None:
        """Give the connections back."""


class RequestsTransport:
    """HTTP through one pooled ``requests`` session, with its proxies and certificate settings.

    Parameters
    ----------
    endpoint : TritonEndpoint
        Bounds the time for connecting.
    """

    def __init__(self, endpoint: TritonEndpoint) -> None:
        self._connect_timeout_s = endpoint.connect_timeout_s
        self._session = _open_session()

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None,
        key: str | None,
        deadline: Deadline,
    ) -> Reply:
        """Exchange one request for one reply.

        Parameters
        ----------
        method, url : str
            What to ask.
        headers : mapping of str to str
            Besides ``Authorization``, which `key` makes.
        body : bytes or None
            Sent with its length.
        key : str or None
            Sent as a bearer token.
        deadline : Deadline
            Ends the exchange, wherever it stands.

        Raises
        ------
        EndpointTimeout
            If the deadline passes.
        EndpointUnavailable
            If no connection can be made, or it breaks.
        EndpointRefused
            If the certificate is not accepted.
        ProtocolError
            If the header length is impossible, or the body larger than the protocol allows.
        """
        left = deadline.check("waiting to connect")
        try:
            with self._session.request(
                method,
                url,
                data=body,
                headers=dict(headers),
                auth=lambda request: _authorise(request, key),
                timeout=(min(self._connect_timeout_s, left), left),
                allow_redirects=False,
                stream=True,
            ) as response:
                return _read(response, deadline)
        except Exception as error:
            translated = _translate(error, deadline)
            if translated is None:
                raise
            raise translated from error

    def close(self) -> None:
        """Close the pooled connections."""
        self._session.close()


def _open_session() -> requests.Session:
    from http.cookiejar import DefaultCookiePolicy

    import requests
    from requests.adapters import HTTPAdapter

    session = requests.Session()
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.headers["Accept-Encoding"] = "identity"
    adapter = HTTPAdapter(pool_connections=2, pool_maxsize=POOL_SIZE, max_retries=0)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


def _authorise(request: requests.PreparedRequest, key: str | None) -> requests.PreparedRequest:
    # Given as auth= even when there is no key: otherwise requests takes a password from ~/.netrc.
    if key is not None:
        request.headers["Authorization"] = f"Bearer {key}"
    return request


def _read(response: requests.Response, deadline: Deadline) -> Reply:
    body = bytearray()
    while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=True):
        body += chunk
        deadline.check("reading the answer")
        if len(body) > MAX_BODY_BYTES:
            raise ProtocolError(f"the answer is larger than {MAX_BODY_BYTES} bytes")
    status, headers = response.status_code, response.headers
    length = parse_header_length(headers.get(HEADER_LENGTH), len(body)) if body else 0
    return Reply(status, headers, body[:length], body[length:])


def _translate(error: Exception, deadline: Deadline) -> Exception | None:
    """Say what a failure of requests or urllib3 means; None for what is not theirs."""
    for kinds, translated, meaning in _translations():
        if isinstance(error, kinds) and not isinstance(error, EndpointError):
            if deadline.remaining_s() == 0 and issubclass(translated, EndpointUnavailable):
                translated, meaning = EndpointTimeout, "the deadline passed"
            return translated(f"{meaning} ({_root_cause(error)})")
    return None


@cache
def _translations() -> tuple[tuple[tuple[type[Exception], ...], type[Exception], str], ...]:
    """List what the libraries raise, most specific first, and what it means here."""
    import requests.exceptions as from_requests
    import urllib3.exceptions as from_urllib3

    return (
        (
            (from_requests.SSLError, from_urllib3.SSLError),
            EndpointRefused,
            "the server's certificate was not accepted; where a company's own authority signs, "
            "name its file in REQUESTS_CA_BUNDLE",
        ),
        ((from_requests.ConnectTimeout,), EndpointUnavailable, "no connection in time"),
        (
            (from_requests.Timeout, from_urllib3.TimeoutError),
            EndpointTimeout,
            "connected, but no answer before the deadline",
        ),
        (
            (
                from_requests.InvalidHeader,
                from_requests.InvalidURL,
                from_requests.InvalidProxyURL,
            ),
            ConfigurationError,
            "the request cannot be sent",
        ),
        (
            (from_requests.RequestException, from_urllib3.HTTPError, OSError),
            EndpointUnavailable,
            "no connection, or it broke",
        ),
    )


def _root_cause(error: BaseException) -> str:
    for _ in range(8):
        inner = getattr(error, "reason", None) or next(iter(error.args), None)
        if not isinstance(inner, BaseException):
            break
        error = inner
    return f"{type(error).__name__}: {error}"[:300]
