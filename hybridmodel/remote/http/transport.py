"""One HTTP exchange: bytes out, bytes in, before a deadline; failures become our errors.

Anything with the same `send` and `close` can stand in for `PooledTransport`.
"""

from __future__ import annotations

import time
import weakref
from dataclasses import replace
from functools import cache
from typing import Protocol

from hybridmodel.exceptions import EndpointError, HybridModelError
from hybridmodel.remote import faults
from hybridmodel.remote.address import UNIX
from hybridmodel.remote.endpoint_base import Endpoint
from hybridmodel.remote.http.connect import connect_to_socket, connect_within
from hybridmodel.remote.http.connection import Connection, HttpRequest, Reply, StaleConnection
from hybridmodel.remote.resilience import Clock, Deadline

MAX_IDLE_S = 60.0
"""Age at which an unused connection is closed: gateways drop idle ones silently."""


_NO_SOCKET = "does the server run, and listen there; may this user open the socket?"


class Transport(Protocol):
    """What the client needs of HTTP."""

    def send(self, request: HttpRequest, /) -> Reply:
        """Exchange one request for one reply, of whatever status, or raise an `EndpointError`."""

    def close(self) -> None:
        """Give the connections back."""


class PooledTransport:
    """HTTP/1.1 over connections that are kept for the next call. Safe to share between threads."""

    def __init__(self, endpoint: Endpoint, clock: Clock = time.monotonic) -> None:
        self._endpoint = endpoint
        self._clock = clock
        self._idle: list[tuple[float, Connection]] = []
        weakref.finalize(self, _close_all, self._idle)

    def send(self, request: HttpRequest, /) -> Reply:
        """Exchange one request for one reply; it, or the error, tells how often it was sent.

        Raises an `EndpointError` for whatever goes wrong on the network.
        """
        attempts, broke = 1, faults.BROKE
        try:
            # A server may have read what it creates something from before it closes a connection.
            connection = None if request.creates else self._idle_connection()
            if connection is not None:
                try:
                    return self._exchange(connection, request)
                except StaleConnection:
                    # The server was closing it at this moment; nobody has read the request.
                    attempts = 2
            broke = faults.NO_CONNECTION
            connection = self._connected(request)
            broke = faults.BROKE
            reply = self._exchange(connection, request)
        except Exception as error:
            raised = _translated(error, request.deadline, broke)
            if isinstance(raised, EndpointError):
                raised.attempts = attempts
                if broke == faults.NO_CONNECTION and self._endpoint.place.scheme == UNIX:
                    raised.hint = _NO_SOCKET
            if raised is error:
                raise
            raise raised from error
        return reply if attempts == 1 else replace(reply, attempts=attempts)

    def _exchange(self, connection: Connection, request: HttpRequest) -> Reply:
        try:
            reply = connection.exchange(request)
        except BaseException:
            # Also when the user interrupts: what is still under way would answer the next call.
            connection.close()
            raise
        if connection.reusable and len(self._idle) < self._endpoint.max_in_flight:
            self._idle.append((self._clock(), connection))
        else:
            connection.close()
        return reply

    def close(self) -> None:
        """Close the idle connections."""
        _close_all(self._idle)

    def _idle_connection(self) -> Connection | None:
        while self._idle:
            try:
                since, connection = self._idle.pop()
            except IndexError:  # Another thread took it.
                return None
            if self._clock() - since < MAX_IDLE_S and not connection.has_ended():
                return connection
            connection.close()
        return None

    def _connected(self, request: HttpRequest) -> Connection:
        deadline = request.deadline
        timeout_s = min(self._endpoint.connect_timeout_s, deadline.check("waiting to connect"))
        opened = self._opened(request.url, deadline, timeout_s)
        if not deadline.remaining_s() and len(self._idle) < self._endpoint.max_in_flight:
            # It took longer than this call could wait; the next one need not wait again.
            self._idle.append((self._clock(), opened))
            deadline.check("connecting")
        return opened

    def _opened(self, url: str, deadline: Deadline, timeout_s: float) -> Connection:
        endpoint = self._endpoint
        place = endpoint.place
        if place.scheme == UNIX:
            # What the protocol appends to the socket's path belongs to the request.
            base = endpoint.uri.removesuffix(endpoint.api_path)
            return connect_to_socket(base, place.host, deadline, timeout_s)
        return connect_within(url, deadline, timeout_s, endpoint.ca_bundle)


def _close_all(idle: list[tuple[float, Connection]]) -> None:
    while idle:
        idle.pop()[1].close()


def _translated(error: Exception, deadline: Deadline, broke: str) -> Exception:
    """Return what a failure of the network means; any other error stays itself."""
    if isinstance(error, HybridModelError):
        return error
    for kinds, fault, meaning in _translations():
        if isinstance(error, kinds):
            cause = _root_cause(error)
            if fault in (faults.LATE, faults.BROKE) and deadline.remaining_s() == 0:
                text = f"no answer within the deadline of {deadline.timeout_s:g} s"
                return faults.new_error(faults.LATE, f"{text}: {cause}")
            name = fault if meaning or fault != faults.BROKE else broke
            return faults.new_error(name, f"{meaning or name}: {cause}")
    return error


@cache
def _translations() -> tuple[tuple[tuple[type[Exception], ...], str, str], ...]:
    """List the errors of the libraries, most specific first, with their fault and its meaning."""
    import ssl
    from http.client import HTTPException

    import urllib3.exceptions as from_urllib3

    broken_tls = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
    refused = (ssl.SSLCertVerificationError,)
    return (
        ((TimeoutError,), faults.LATE, "connected, but no answer in time"),
        (broken_tls, faults.BROKE, "the secure connection broke"),
        (refused, faults.CERTIFICATE, "the certificate was not accepted"),
        ((ssl.SSLError, from_urllib3.SSLError), faults.NOT_SECURE, ""),
        ((from_urllib3.HTTPError, HTTPException, OSError), faults.BROKE, ""),
    )


def _root_cause(error: BaseException) -> str:
    for _ in range(8):
        inner = getattr(error, "reason", None) or error.__cause__
        if not isinstance(inner, BaseException):
            break
        error = inner
    return f"{type(error).__name__}: {error}"[:300]
