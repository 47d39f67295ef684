"""An endpoint that misbehaves on purpose: what a real server cannot be made to do.

A `FaultyEndpoint` listens on a real socket, reads each request to its end and then does what its
script says with the connection. `http` writes a well-formed response around any body.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from hybridmodel import TritonEndpoint

Script = Callable[[socket.socket], None]


def http(status: int, body: bytes = b"", **headers: str) -> Script:
    """Return a script that answers with a status, a body and headers (`_` stands for `-`)."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    named.setdefault("Content-Length", str(len(body)))
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in named.items())]
    return raw("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


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
            "auth_key_env": None,
            "binary": True,
            "timeout_s": 20.0,
            "max_attempts": 1,
            **options,
        }
        return TritonEndpoint(uri=self.uri, model_name="m", **given)

    def wait(self, seconds: float) -> None:
        """Wait until the endpoint is closed, at most so long: for scripts that go silent."""
        self._closing.wait(seconds)

    def __enter__(self) -> FaultyEndpoint:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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
                    self._next()(connection)
            except OSError:
                return

    def _next(self) -> Script:
        return self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]


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
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body
