"""A server on a socket, with or without TLS, that does with it what a test says."""

from __future__ import annotations

import select
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hybridmodel import (
    ModelSpec,
    TensorSpec,
    TritonEndpoint,
)
from hybridmodel.remote.client import EndpointClient
from tests.support.connecting import Authority

SPEC = ModelSpec((TensorSpec("x", "FP32", (-1,)),), (TensorSpec("y", "FP32", (-1,)),))


LARGE = np.arange(20_000_000, dtype=np.float32)


Serve = Callable[[socket.socket], None]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Make an authority that no system trusts."""
    return Authority(tmp_path_factory.mktemp("authority"), "127.0.0.1")


@pytest.fixture(params=["plain", "TLS"])
def tls(
    request: pytest.FixtureRequest, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> ssl.SSLContext | None:
    """Do it over a plain connection and over TLS, whose authority is trusted."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.bundle))
    return authority.server if request.param == "TLS" else None


class Server:
    """Accepts connections, and does with each what it was told, before anything is read."""

    def __init__(self, serve: Serve, tls: ssl.SSLContext | None = None) -> None:
        self._serve = serve
        self._tls = tls
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.uri = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.accepted = 0
        self.over = threading.Event()
        self._serving: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def ask(self, data: Any = LARGE, timeout_s: float = 30.0) -> float:
        """Send a request and return the number that comes back."""
        endpoint = TritonEndpoint(
            uri=self.uri, model_name="m", auth_key_env=None, binary=True, max_attempts=1
        )
        client = EndpointClient(endpoint, SPEC)
        try:
            return float(client.infer({"x": data}, ("y",), timeout_s=timeout_s).outputs["y"][0])
        finally:
            client.close()

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(20)
        self._socket.close()

    def _accept(self) -> None:
        while not self.over.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                break
            self.accepted += 1
            one = threading.Thread(target=self._run, args=(connection,), daemon=True)
            one.start()
            self._serving.append(one)
        for one in self._serving:
            one.join(10)

    def _run(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(30)
            try:
                if self._tls is not None:
                    connection = self._tls.wrap_socket(connection, server_side=True)
                with connection:
                    self._serve(connection)
            except OSError:
                return


def carry(near: socket.socket, far: socket.socket) -> None:
    """Take bytes both ways until one side ends; in one thread, as TLS wants it."""
    while True:
        ready = select.select([near, far], [], [], 30)[0]
        for source, sink in ((near, far), (far, near)):
            if source in ready:
                data = source.recv(65536)
                if not data:
                    return
                sink.sendall(data)
