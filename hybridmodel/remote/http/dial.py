"""A TCP connection to a host, in a bounded time: its addresses, and the first that answers.

Only the system can look up a name, and nobody can interrupt it; so that is done in a thread, and
callers that ask for the same meanwhile wait for the same thread.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any, Generic, TypeVar

from hybridmodel.process.per_process import reset_in_child
from hybridmodel.remote.host import loopback_addresses
from hybridmodel.remote.http.bounded_socket import BoundedSocket
from hybridmodel.remote.resilience import Deadline

T = TypeVar("T")

Address = tuple[int, int, int, Any]
"""Family, kind and protocol of a socket, and where it connects to."""

_LONGEST_S = 0.25
"""Of one wait: how long it takes until a call that was given up is noticed to be."""


class Connecting(Deadline):
    """A part of the time of a call, after which there is no connection, but perhaps another try.

    Parameters
    ----------
    call : Deadline
        Of the whole call.
    timeout_s : float
        For the part, in seconds.
    """

    def __init__(self, call: Deadline, timeout_s: float) -> None:
        super().__init__(timeout_s, call._clock)
        self._call = call

    def remaining_s(self) -> float:
        """Return the seconds left, 0.0 once it has passed or the call was given up.

        A call whose time has run out does not end it: the connection serves the next call.
        """
        return 0.0 if self._is_given_up() else super().remaining_s()

    def check(self, doing: str) -> float:  # noqa: ARG002 - it is always the connecting
        """Return the seconds left.

        Raises
        ------
        ConnectionError
            If none are.
        """
        left_s = self.remaining_s()
        if left_s <= 0:
            raise ConnectionError(f"no connection within {self.timeout_s:g} s")
        return left_s

    def _is_given_up(self) -> bool:
        call = self._call
        return call._is_given_up() if isinstance(call, Connecting) else call.given_up


class Shared(Generic[T]):
    """Calls of a function that cannot be interrupted, one at a time for each key."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.reset()
        reset_in_child(self)

    def reset(self) -> None:
        """Start anew: the threads of the parent do not exist in a child."""
        self._lock = threading.Lock()
        self._running: dict[object, Future[T]] = {}

    def get(self, key: object, function: Callable[[], T], deadline: Deadline) -> T:
        """Return what `function` gives, or what it gives who asked for the same before.

        Raises
        ------
        Exception
            What the function raises, or the deadline.
        """
        with self._lock:
            future = self._running.get(key)
            if future is None:
                future = self._running[key] = Future()
                args = (key, future, function)
                threading.Thread(target=self._run, name=self._name, args=args, daemon=True).start()
        while not future.done():
            wait((future,), min(deadline.check("looking up the host"), _LONGEST_S))
        return future.result()

    def _run(self, key: object, future: Future[T], function: Callable[[], T]) -> None:
        try:
            result = function()
        except BaseException as error:  # noqa: BLE001 - raised by the threads that wait
            self._forget(key)
            future.set_exception(error)
        else:
            self._forget(key)
            future.set_result(result)

    def _forget(self, key: object) -> None:
        with self._lock:
            self._running.pop(key, None)


def addresses_of(host: str, port: int) -> tuple[Address, ...]:
    """Look up a name; takes as long as the system likes.

    Raises
    ------
    OSError
        If there is no such name.
    """
    if names := loopback_addresses(host):
        return tuple(found for name in names for found in _looked_up(name, port))
    return _looked_up(host, port)


def _looked_up(host: str, port: int) -> tuple[Address, ...]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise OSError(f"{host[:80]!r} is no name that can be looked up") from None
    return tuple((family, kind, proto, address) for family, kind, proto, _, address in found)


def dial(addresses: tuple[Address, ...], deadline: Deadline) -> BoundedSocket:
    """Connect to the first address that lets us.

    Raises
    ------
    EndpointTimeout, OSError
        If none does in time; each gets its share of the time.
    """
    failure: OSError = OSError("the host has no address")
    for number, (family, kind, proto, address) in enumerate(addresses):
        share_s = deadline.check("connecting") / (len(addresses) - number)
        try:
            sock = socket.socket(family, kind, proto)
        except OSError as error:  # Of a family that this machine does not know.
            failure = error
            continue
        try:
            return _connected(sock, address, Connecting(deadline, share_s))
        except BaseException as error:
            sock.close()
            if not isinstance(error, OSError):
                raise
            failure = error
    deadline.check("connecting")  # If it has passed, that is the reason.
    raise failure


def _connected(sock: socket.socket, address: Any, deadline: Deadline) -> BoundedSocket:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    opened = BoundedSocket(sock)
    opened.connect(address, deadline)
    return opened
