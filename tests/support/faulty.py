"""An endpoint that misbehaves on purpose: what a real server cannot be made to do.

A `FaultyEndpoint` listens on a real socket, reads each request to its end and then does what its
script says with the connection. `http` writes a well-formed response around any body. A `Gateway`
is one that stands before a real server, and passes on what it does not spoil.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from hybridmodel import ModelSpec, TensorSpec, TritonEndpoint
from hybridmodel.remote.http.connection import HttpRequest
from hybridmodel.remote.resilience import Deadline

Script = Callable[[socket.socket], None]
Rule = Callable[[bytes], Script | None]


SPEC = ModelSpec((TensorSpec("x", "FP32", (-1,), True),), (TensorSpec("y", "FP32", (-1,), True),))
FEEDS = {"x": np.ones(1, np.float32)}
"""One row for a model that makes a number of a number, for tests of what is around it."""

ANSWER = b'{"outputs":[{"name":"y","datatype":"FP32","shape":[1],"data":[5.0]}]}'
"""What it answers."""


def get(uri: str, deadline: Deadline) -> HttpRequest:
    """Make the request for what a server says of itself."""
    return HttpRequest(method="GET", url=f"{uri}/v2", deadline=deadline)


def http(status: int, body: bytes = b"", **headers: str) -> Script:
    """Return a script that answers with a status, a body and headers (`_` stands for `-`)."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    named.setdefault("Content-Length", str(len(body)))
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in named.items())]
    return raw("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def good() -> Script:
    """Return a script that answers `FEEDS` rightly."""
    return http(200, ANSWER)


def raw(data: bytes) -> Script:
    """Return a script that writes exactly these bytes."""
    return lambda connection: connection.sendall(data)


def error(status: int, message: str, **headers: str) -> Script:
    """Return a script that answers as Triton does when it refuses."""
    return http(status, json.dumps({"error": message}).encode(), **headers)


class FaultyEndpoint:
    """Serves scripts in turn, the last one for ever; records the requests it read."""

    def __init__(self, *scripts: Script, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.requests: list[bytes] = []
        self._scripts = list(scripts)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.uri = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._open: list[socket.socket] = []
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def endpoint(self, **options: Any) -> TritonEndpoint:
        """Describe this endpoint: no key, binary and one attempt, unless said otherwise."""
        given = {
            "uri": self.uri,
            "model_name": "m",
            "auth_key_env": None,
            "binary": True,
            "timeout_s": 20.0,
            "max_attempts": 1,
            **options,
        }
        return TritonEndpoint(**given)

    def wait(self, seconds: float) -> None:
        """Wait until the endpoint is closed, at most so long: for scripts that go silent."""
        self._closing.wait(seconds)

    def __enter__(self) -> FaultyEndpoint:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for connection in self._open:
            connection.close()
        self._thread.join(5)

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                if self._tls is not None:
                    connection = self._tls.wrap_socket(connection, server_side=True)
                    self._open.append(connection)
                while (request := read_request(connection)) is not None:
                    self.requests.append(request)
                    self._answer(connection, request)
            except OSError:
                return

    def _answer(self, connection: socket.socket, request: bytes) -> None:
        self._next()(connection)

    def _next(self) -> Script:
        return self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]


class Gateway(FaultyEndpoint):
    """Stands before a real server, as Azure's does; what its rule leaves alone is passed on."""

    def __init__(self, upstream: int, rule: Rule, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(tls=tls)
        self._upstream = upstream
        self._rule = rule

    def endpoint(self, **options: Any) -> TritonEndpoint:
        """Describe a model behind it; without a key and binary, unless said otherwise."""
        return TritonEndpoint(**{"uri": self.uri, "auth_key_env": None, "binary": True, **options})

    def __enter__(self) -> Gateway:
        super().__enter__()
        return self

    def _answer(self, connection: socket.socket, request: bytes) -> None:
        (self._rule(request) or forward(self._upstream, request))(connection)


def first(*scripts: Script) -> Rule:
    """Return a rule: these scripts for the first requests, the real server for all others."""
    left = list(reversed(scripts))
    return lambda _: left.pop() if left else None


def forward(port: int, request: bytes, pieces: int = 1, pause_s: float = 0.0) -> Script:
    """Return a script that has a server on this machine answer the request.

    With several `pieces`, the answer comes with a pause before each.
    """

    def script(connection: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", port)) as upstream:
            upstream.sendall(request)
            # A response is framed as a request is.
            response = read_request(upstream) or b""
        size = -(-len(response) // pieces)
        for start in range(0, len(response), size or 1):
            time.sleep(pause_s)
            connection.sendall(response[start : start + size])

    return script


def read_request(connection: socket.socket) -> bytes | None:
    """Read one request to its end; None when the client has gone."""
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(65536)
        if not chunk:
            return None
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    while len(body) < length:
        chunk = connection.recv(65536)
        if not chunk:
            return None
        body += chunk
    return head + b"\r\n\r\n" + body
