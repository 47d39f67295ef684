"""Several endpoints: in a world whose time passes as told, and on sockets that can be killed."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from hybridmodel import TritonEndpoint
from hybridmodel.remote.attempts import EndpointState, RetryPolicy
from hybridmodel.remote.client import EndpointClient
from hybridmodel.remote.faults import LATE, NO_CONNECTION, new_error
from hybridmodel.remote.http.connection import HttpRequest, Reply
from hybridmodel.remote.regions import RegionsClient
from tests.support.faulty import ANSWER, SPEC

TOOK_S = 0.01
"""How long an endpoint takes in `World`, whatever it answers."""

UP, DOWN, HANGS = "up", "down", "hangs"


def place(host: str, **options: Any) -> TritonEndpoint:
    """Describe the endpoint of a host, without a key unless said otherwise."""
    given = {"model_name": "m", "auth_key_env": None, "binary": True, "timeout_s": 8.0, **options}
    return TritonEndpoint(uri=f"https://{host}.example", **given)


class World:
    """Endpoints that do as `doing` says by host, `UP`, `DOWN`, `HANGS` or a reply; and its time.

    A list in `doing` is for one request after the other.

    Attributes
    ----------
    asked : list of str
        The hosts that got requests, in order.
    keys : dict of str to list
        The keys that came there.
    pauses_s : list of float
        How long clients paused.
    """

    def __init__(self, **doing: Any) -> None:
        self.doing = doing
        self.now_s = 1000.0
        self.asked: list[str] = []
        self.keys: dict[str, list[str | None]] = {}
        self.pauses_s: list[float] = []

    def clock(self) -> float:
        """Tell the time."""
        return self.now_s

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.pauses_s.append(seconds)
        self.now_s += seconds

    def client(self, *endpoints: TritonEndpoint, credentials: Sequence[Any] = ()) -> RegionsClient:
        """Make a client that asks these endpoints of the world in turn."""
        each = credentials or (None,) * len(endpoints)
        clients = [
            EndpointClient(
                endpoint,
                SPEC,
                credential,
                make_transport=lambda _: self,
                policy=RetryPolicy(endpoint.max_attempts, random=lambda: 1.0),
                sleep=self.sleep,
                clock=self.clock,
                state=EndpointState(endpoint, self.clock),
            )
            for endpoint, credential in zip(endpoints, each, strict=True)
        ]
        return RegionsClient(clients)

    def send(self, request: HttpRequest) -> Reply:
        """Do what the host of a request does; stands for a transport."""
        host = (urlsplit(request.url).hostname or "").partition(".")[0]
        self.asked.append(host)
        self.keys.setdefault(host, []).append(request.headers.get("Authorization"))
        does = self.doing[host]
        does = does.pop(0) if isinstance(does, list) else does
        if does == HANGS:
            self.now_s += request.deadline.remaining_s()
            raise new_error(LATE, "no answer in time")
        self.now_s += TOOK_S
        if does == DOWN:
            raise new_error(NO_CONNECTION, "connection refused")
        return reply(200, ANSWER) if does == UP else does

    def close(self) -> None:
        """Do nothing: there are no connections."""


def reply(status: int, body: bytes = b"", **headers: str) -> Reply:
    """Return a reply of JSON; `_` in the name of a header stands for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, {"content-type": "application/json", **named}, body, b"")


def described(output: str) -> bytes:
    """Return what a server says of a model like that of `FEEDS`, with an output of this name."""
    one = {"datatype": "FP32", "shape": [-1]}
    inputs, outputs = [{"name": "x", **one}], [{"name": output, **one}]
    return json.dumps({"name": "m", "inputs": inputs, "outputs": outputs}).encode()


class Killable:
    """Answers `FEEDS` on a port of this machine, and can be killed and revived there at any time.

    A kill resets all connections, also in the middle of a request. With `thawed`, requests are read
    and left unanswered until it is set.
    """

    def __init__(self, thawed: threading.Event | None = None) -> None:
        self.thawed = thawed
        self.answered = 0
        self._open: set[socket.socket] = set()
        self._server: socketserver.ThreadingTCPServer | None = None
        self._port = 0
        self.revive()

    def endpoint(self, **options: Any) -> TritonEndpoint:
        """Describe it."""
        given = {"model_name": "m", "auth_key_env": None, "binary": True, **options}
        return TritonEndpoint(uri=f"http://127.0.0.1:{self._port}", **given)

    def revive(self) -> None:
        """Listen on the port, unless it is alive."""
        if self._server is None:
            self._server = _Server(("127.0.0.1", self._port), _Handler)
            self._server.killable = self  # type: ignore[attr-defined]
            self._port = self._server.server_address[1]
            poll_s = 0.01
            threading.Thread(target=self._server.serve_forever, args=(poll_s,), daemon=True).start()

    def kill(self) -> None:
        """Close the port and every connection."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        for connection in tuple(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Killable:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64


class _Handler(socketserver.StreamRequestHandler):
    """Reads requests and answers each of them, until its connection is closed."""

    disable_nagle_algorithm = True

    def handle(self) -> None:
        killable: Killable = self.server.killable  # type: ignore[attr-defined]
        killable._open.add(self.connection)
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(ANSWER)}\r\n\r\n".encode()
        try:
            while (length := self._body_length()) is not None:
                self.rfile.read(length)
                if killable.thawed is not None:
                    killable.thawed.wait()
                self.wfile.write(head + ANSWER)
                killable.answered += 1
        except OSError:
            return
        finally:
            killable._open.discard(self.connection)

    def _body_length(self) -> int | None:
        """Read a head, and return how long the body is; None where the connection has ended."""
        length = None
        while (line := self.rfile.readline()) not in (b"", b"\r\n"):
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        return length
