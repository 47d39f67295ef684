"""A connection to a host, or a Unix socket, in a bounded time: the first address that answers.

Only the system can look up a name, and nobody can interrupt it; so that is done in a thread, and
callers that ask for the same meanwhile wait for the same thread.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from functools import partial
from typing import Any, Generic, TypeVar

from hybridmodel.exceptions import ConfigurationError
from hybridmodel.process.loops import wait_for
from hybridmodel.process.per_process import reset_in_child
from hybridmodel.remote.address import loopback_addresses
from hybridmodel.remote.http.bounded_socket import BoundedSocket
from hybridmodel.remote.resilience import Deadline

T = TypeVar("T")

Address = tuple[int, int, int, Any]
"""Family, kind and protocol of a socket, and where it connects to."""

_UNIX = getattr(socket, "AF_UNIX", -1)


class Connecting(Deadline):
    """The part of a call's time after which there is no connection, but perhaps another attempt."""

    def __init__(self, call: Deadline, timeout_s: float) -> None:
        super().__init__(timeout_s, call.clock)
        self._call: Deadline = call._call if isinstance(call, Connecting) else call

    def remaining_s(self) -> float:
        """Return the seconds left, 0.0 once it has passed or the call was given up.

        A call whose time has run out does not end it: the connection serves the next call.
        """
        return 0.0 if self._call.given_up else super().remaining_s()

    def check(self, doing: str) -> float:  # noqa: ARG002 - it is always the connecting
        """Return the seconds left, or raise ConnectionError."""
        left_s = self.remaining_s()
        if left_s <= 0:
            raise ConnectionError(f"no connection within {self.timeout_s:g} s")
        return left_s


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
        """Return what `function` returns, or what it returned to an earlier caller for this key."""
        with self._lock:
            future = self._running.get(key)
            if future is None:
                future = self._running[key] = Future()
                args = (key, future, function)
                threading.Thread(target=self._run, name=self._name, args=args, daemon=True).start()
        while not future.done():
            wait_for(future, deadline.check("looking up the host"))
        return future.result()

    def _run(self, key: object, future: Future[T], function: Callable[[], T]) -> None:
        try:
            end = partial(future.set_result, function())
        except BaseException as error:  # noqa: BLE001 - raised by the threads that wait
            end = partial(future.set_exception, error)
        with self._lock:
            self._running.pop(key, None)
        end()


def addresses_of(host: str, port: int) -> tuple[Address, ...]:
    """Look up a name; takes as long as the system likes, and raises OSError for an unknown one."""
    found: list[Address] = []
    for name in loopback_addresses(host) or (host,):
        try:
            infos = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
        except UnicodeError:
            raise OSError(f"{host[:80]!r} is not a name that can be looked up") from None
        found += ((family, kind, proto, address) for family, kind, proto, _, address in infos)
    return tuple(found)


def unix_address(path: str) -> Address:
    """Return the address of a Unix socket; raises `ConfigurationError` where there are none."""
    if _UNIX < 0:
        raise ConfigurationError("this system, or its Python, has no Unix sockets; use https://")
    return (_UNIX, socket.SOCK_STREAM, 0, path)


def dial(addresses: tuple[Address, ...], deadline: Deadline) -> BoundedSocket:
    """Connect to the first address that accepts; each gets its share of the time."""
    failure: OSError = OSError("the host has no address")
    for number, (family, kind, proto, address) in enumerate(addresses):
        share_s = deadline.check("connecting") / (len(addresses) - number)
        try:
            with ExitStack() as begun:
                # Raises for a family that this machine does not know.
                sock = begun.enter_context(socket.socket(family, kind, proto))
                if family != _UNIX:
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                opened = BoundedSocket(sock)
                opened.connect(address, Connecting(deadline, share_s))
                begun.pop_all()
                return opened
        except OSError as error:
            failure = error
    deadline.check("connecting")  # If it has passed, that is the reason.
    raise failure
