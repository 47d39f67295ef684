"""A real Triton Inference Server as a child process, without Docker."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hybridmodel.exceptions import ConfigurationError
from hybridmodel.remote.address import Place, read_address
from hybridmodel.remote.endpoint import TritonEndpoint
from hybridmodel.remote.shared_memory.control import hand_over, take_back
from hybridmodel.serving.catalogue import Models, catalogue, endpoint_for
from hybridmodel.serving.repository import write_model
from hybridmodel.serving.triton_access import ask, ask_socket, socket_in
from hybridmodel.serving.triton_process import TritonProcess

HOST = "127.0.0.1"
_READY_S = 5.0


class TritonServer(TritonProcess):
    """A real Triton 2.51 that serves ONNX models on this machine (Linux x86-64).

    Its HTTP front end is NVIDIA's own, so what works here works at an endpoint. The models run with
    onnxruntime in Triton's python backend. The first start creates a virtual environment for it in
    the user's cache folder. The server ends with the ``with`` block, and in any case with this
    process, however that ends.

    Only this machine reaches it. Only its owner may load models, register shared memory or change
    its trace and log settings, and it gets none of this process' secrets. Other users of this
    machine can send requests to its models, unless it listens on a `unix_socket`. Endpoints in the
    process that started it hand it large tensors in shared memory (docs/one_host.md); the key for
    that is neither stored nor shown.

    Parameters
    ----------
    models : dict
        Names, each with a path, bytes, HybridOnnxModel, or a dict of versions to these.
    port : int, default=0
        Port on the loopback interface; 0 takes a free port.
    max_batch_size : int, default=0
        Limit for all models; with 0 a request may have any number of rows.
    explicit : bool, default=False
        Whether models are served only after `load`.
    grpc : bool, default=False
        Whether it also listens for gRPC, on a free port of the loopback interface.
    unix_socket : bool, default=False
        Whether it listens on a Unix socket, which only its owner reaches, instead of a port.
    start_timeout_s : float, default=120
        Seconds until all models must be ready.

    Raises
    ------
    ConfigurationError
        If a name, version or model cannot be served.

    Examples
    --------
    >>> with TritonServer({"digits": "digits.onnx"}) as server:  # doctest: +SKIP
    ...     model = HybridOnnxModel("digits_small.onnx", endpoint=server.endpoint("digits"))
    """

    def __init__(
        self,
        models: Models,
        *,
        port: int = 0,
        max_batch_size: int = 0,
        explicit: bool = False,
        grpc: bool = False,
        unix_socket: bool = False,
        start_timeout_s: float = 120.0,
    ) -> None:
        super().__init__(start_timeout_s)
        self._models = catalogue(models)
        self._port = port
        self._max_batch_size = max_batch_size
        self._explicit = explicit
        self._grpc = grpc
        self._grpc_port = 0
        self._unix_socket = unix_socket
        self._socket = ""
        self._place: Place | None = None

    @property
    def port(self) -> int:
        """Port of the HTTP front end; 0 for none, or before the first start."""
        return self._port

    @property
    def uri(self) -> str:
        """Base address of the server, for `TritonEndpoint`; that of a socket once it has started.

        Raises
        ------
        ConfigurationError
            If it is to listen on a Unix socket, and was not started yet.
        """
        if self._unix_socket:
            if not self._socket:
                raise ConfigurationError("the server has no socket before it was started")
            return f"unix://{self._socket}"
        return f"http://{HOST}:{self._port}"

    @property
    def grpc_address(self) -> str | None:
        """Host and port for a gRPC client; None before a start and without gRPC."""
        return f"{HOST}:{self._grpc_port}" if self._grpc and self._grpc_port else None

    def endpoint(self, name: str, **options: Any) -> TritonEndpoint:
        """Describe the endpoint of one model.

        Parameters
        ----------
        name : str
            Name of a served model.
        **options
            More arguments of `TritonEndpoint`.

        Raises
        ------
        ConfigurationError
            If there is no such model or option.
        """
        return endpoint_for(self.uri, name, self._models, {"auth_key_env": None, **options})

    def start(self) -> TritonServer:
        """Start the server, and return when all models are ready.

        Raises
        ------
        ConfigurationError
            If this machine cannot run it, or if it does not become ready; the message then holds
            the end of its log.
        """
        super().start()
        self._place = read_address(self.uri).place
        hand_over(self._place, self._key.headers())
        return self

    def stop(self) -> None:
        """End the server and remove its files; do nothing if it is not running."""
        if self._place is not None:
            take_back(self._place)
        super().stop()

    def load(self, name: str) -> None:
        """Load or reload a model; for servers with ``explicit=True``.

        Raises
        ------
        ConfigurationError
            If Triton refuses; the message holds its reason.
        """
        self._control(name, "load")

    def unload(self, name: str) -> None:
        """Unload a model; for servers with ``explicit=True``.

        Raises
        ------
        ConfigurationError
            If Triton refuses; the message holds its reason.
        """
        self._control(name, "unload")

    def __repr__(self) -> str:
        state = self.uri if self._supervisor else "not running"
        return f"TritonServer({list(self._models)}, {state})"

    def _write_models(self, repository: Path) -> None:
        repository.mkdir()
        for name, versions in self._models.items():
            files = {version: model.onnx for version, model in versions.items()}
            spec = versions[max(versions, key=int)].session.spec
            size = self._max_batch_size
            write_model(repository, name, files, spec, backend="python", max_batch_size=size)

    @contextmanager
    def _listening(self, folder: Path) -> Iterator[list[str]]:
        with _reserved(self._port) as http, _reserved(self._grpc_port) as grpc:
            self._grpc_port = grpc.getsockname()[1]
            if self._unix_socket:
                self._socket = socket_in(folder)
                address = [f"--http-address=unix:{self._socket}"]
            else:
                self._port = http.getsockname()[1]
                address = [f"--http-address={HOST}", f"--http-port={self._port}"]
            yield [
                f"--model-control-mode={'explicit' if self._explicit else 'none'}",
                *address,
                "--reuse-http-port=true",
                f"--allow-grpc={str(self._grpc).lower()}",
                f"--grpc-address={HOST}",
                f"--grpc-port={self._grpc_port}",
                "--reuse-grpc-port=true",
            ]

    def _is_ready(self) -> bool:
        return self._ask("GET", "/v2/health/ready", {}, _READY_S)[0] == 200

    def _ask(
        self, method: str, target: str, headers: Mapping[str, str], timeout_s: float
    ) -> tuple[int, str]:
        if self._unix_socket:
            return ask_socket(self._socket, method, target, headers, timeout_s)
        return ask(method, f"{self.uri}{target}", headers, timeout_s)

    def _control(self, name: str, action: str) -> None:
        target = f"/v2/repository/models/{name}/{action}"
        status, body = self._ask("POST", target, self._key.headers(), self._start_timeout_s)
        if status != 200:
            raise ConfigurationError(f"Triton did not {action} {name!r} ({status}): {body[:2000]}")


def _reserved(port: int) -> socket.socket:
    """Reserve a port until the server listens on it."""
    taken = socket.socket()
    try:
        # This fails if a server listens there, even one that would share its port.
        with socket.create_server((HOST, port)) as free:
            port = free.getsockname()[1]
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind((HOST, port))
    except (OSError, OverflowError) as error:
        taken.close()
        raise ConfigurationError(f"port {port} is not available: {error}") from error
    return taken
