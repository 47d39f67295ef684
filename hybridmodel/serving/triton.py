"""A real Triton Inference Server as a child process, without Docker."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from hybridmodel.exceptions import ConfigurationError
from hybridmodel.serving.catalogue import Models, ServedModel, catalogue, endpoint_for
from hybridmodel.serving.repository import write_model
from hybridmodel.serving.supervisor import GRACE_S
from hybridmodel.serving.triton_access import ControlKey, arguments, ask
from hybridmodel.serving.triton_files import install

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from hybridmodel.remote.endpoint import TritonEndpoint

HOST = "127.0.0.1"

_SUPERVISOR = Path(__file__).with_name("supervisor.py")
_LOG_LINES = 30
_POLL_S = 0.05
# Less than the supervisor's grace: Triton tidies up after itself only when it may finish.
_EXIT_TIMEOUT_S = 2


class TritonServer:
    """A real Triton 2.51 that serves ONNX models on this machine (Linux x86-64).

    Its HTTP front end is NVIDIA's own, so that what works here works at an endpoint; the models
    run with onnxruntime in Triton's python backend. It lives in a virtual environment of its own,
    which the first start makes in the user's cache folder. It ends with the ``with`` block, or
    with this process in whatever way that ends.

    Only this machine reaches it, only its owner may load models, register shared memory or change
    its traces and logs, and it gets none of this process' secrets. Other users of this machine can
    ask its models, and read the memory that it shares with their processes.

    Parameters
    ----------
    models : dict
        Names, each with a path, bytes, HybridOnnxModel, or a dict of versions to these.
    port : int, default=0
        Where to listen on the loopback interface; 0 takes a free port.
    max_batch_size : int, default=0
        For all models; with 0 a request may have any number of rows.
    explicit : bool, default=False
        Whether models are served only after `load`.
    grpc : bool, default=False
        Whether it listens to gRPC as well, on a free port of the loopback interface.
    start_timeout_s : float, default=120
        How long it may take until all models are ready.

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
        start_timeout_s: float = 120.0,
    ) -> None:
        self._models = catalogue(models)
        self._port = port
        self._max_batch_size = max_batch_size
        self._explicit = explicit
        self._grpc = grpc
        self._grpc_port = 0
        self._start_timeout_s = start_timeout_s
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None
        self._pid: int | None = None
        self._log = ""
        self._key = ControlKey()

    @property
    def port(self) -> int:
        """Port of the HTTP front end; 0 before the first start, when none was chosen."""
        return self._port

    @property
    def uri(self) -> str:
        """Address of the server, as an endpoint takes it."""
        return f"http://{HOST}:{self._port}"

    @property
    def grpc_address(self) -> str | None:
        """Host and port as a client of gRPC takes them; None before a start, and without gRPC."""
        return f"{HOST}:{self._grpc_port}" if self._grpc_port else None

    @property
    def pid(self) -> int | None:
        """Process id of the server; None when it does not run."""
        return self._pid

    @property
    def log(self) -> str:
        """What the server has written so far, also after its end."""
        file = self._folder and self._folder / "server.log"
        if file and file.exists():
            self._log = file.read_text(errors="replace")
        return self._log

    def endpoint(self, name: str, **options: Any) -> TritonEndpoint:
        """Describe the endpoint of one model.

        Parameters
        ----------
        name : str
            One of the models.
        **options
            Further arguments of `TritonEndpoint`.

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
            If this machine cannot run it or it does not get ready; then with the end of its log.
        """
        if self._supervisor is not None:
            raise ConfigurationError("this TritonServer runs already")
        try:
            folder = self._folder = Path(tempfile.mkdtemp(prefix="hybridmodel-triton-"))
            command, variables = install(folder)
            self._write_models(folder / "models")
            with contextlib.ExitStack() as stack:
                self._port = stack.enter_context(_reserved(self._port)).getsockname()[1]
                if self._grpc:
                    taken = stack.enter_context(_reserved(self._grpc_port))
                    self._grpc_port = taken.getsockname()[1]
                self._launch(folder, [*command, *self._arguments(folder)], variables)
                self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the server and remove its files; does nothing when it does not run."""
        self._end(_dismiss)

    def kill(self) -> None:
        """End the server at once, as a crash would (SIGKILL)."""
        self._end(self._kill_server)

    def load(self, name: str) -> None:
        """Load or reload a model; for servers with ``explicit=True``.

        Raises
        ------
        ConfigurationError
            If Triton refuses; then with its reason.
        """
        self._control(name, "load")

    def unload(self, name: str) -> None:
        """Take a model off; for servers with ``explicit=True``.

        Raises
        ------
        ConfigurationError
            If Triton refuses; then with its reason.
        """
        self._control(name, "unload")

    def __enter__(self) -> TritonServer:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = self.uri if self._supervisor else "not running"
        return f"TritonServer({list(self._models)}, {state})"

    def _write_models(self, repository: Path) -> None:
        repository.mkdir()
        for name, versions in self._models.items():
            files = {version: model.onnx for version, model in versions.items()}
            newest: ServedModel = list(versions.values())[-1]
            write_model(
                repository,
                name,
                files,
                newest.spec,
                backend="python",
                max_batch_size=self._max_batch_size,
            )

    def _arguments(self, folder: Path) -> list[str]:
        return [
            f"--model-repository={folder / 'models'}",
            f"--model-control-mode={'explicit' if self._explicit else 'none'}",
            f"--http-address={HOST}",
            f"--http-port={self._port}",
            "--reuse-http-port=true",
            f"--allow-grpc={str(self._grpc).lower()}",
            f"--grpc-address={HOST}",
            f"--grpc-port={self._grpc_port}",
            "--reuse-grpc-port=true",
            "--allow-metrics=false",
            f"--backend-config=python,shm-region-prefix-name={folder.name}",
            f"--exit-timeout-secs={_EXIT_TIMEOUT_S}",
            *arguments(),
        ]

    def _launch(self, folder: Path, command: list[str], variables: dict[str, str]) -> None:
        supervisor = [sys.executable, "-I", str(_SUPERVISOR), str(os.getpid()), str(folder)]
        atexit.register(self.stop)
        self._supervisor = subprocess.Popen(  # noqa: S603 - the command is ours
            [*supervisor, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=variables,
            start_new_session=True,
        )
        _tell(self._supervisor, self._key.line())
        told = cast("IO[bytes]", self._supervisor.stdout).readline()
        self._pid = int(told) if told else None

    def _wait_until_ready(self) -> None:
        until = time.monotonic() + self._start_timeout_s
        while ask(HOST, self._port, "GET", "/v2/health/ready")[0] != 200:
            if self._supervisor is None or self._supervisor.poll() is not None:
                raise ConfigurationError(f"Triton ended while it started; {self._last_lines()}")
            if time.monotonic() > until:
                raise ConfigurationError(
                    f"Triton was not ready after {self._start_timeout_s:g} s; {self._last_lines()}"
                )
            time.sleep(_POLL_S)

    def _last_lines(self) -> str:
        lines = [line for line in self.log.splitlines() if line[:1] not in ("", "+", "|")]
        return "\n".join(["the end of its log, without tables:", *lines[-_LOG_LINES:]])

    def _kill_server(self, _: subprocess.Popen[bytes]) -> None:
        if self._pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)

    def _end(self, how: Callable[[subprocess.Popen[bytes]], None]) -> None:
        try:
            if self._supervisor is not None:
                how(self._supervisor)
                _wait(self._supervisor)
        finally:
            self._supervisor = self._pid = None
            self._log = self.log
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
            atexit.unregister(self.stop)

    def _control(self, name: str, action: str) -> None:
        path = f"/v2/repository/models/{name}/{action}"
        status, body = ask(
            HOST, self._port, "POST", path, self._key.headers(), timeout_s=self._start_timeout_s
        )
        if status != 200:
            raise ConfigurationError(f"Triton did not {action} {name!r} ({status}): {body[:2000]}")


def _reserved(port: int) -> socket.socket:
    """Take a port so that nobody else is given it until the server listens to it."""
    taken = socket.socket()
    try:
        # A server that shares its port does not share it with this one.
        with socket.create_server((HOST, port)) as free:
            port = free.getsockname()[1]
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind((HOST, port))
    except (OSError, OverflowError) as error:
        taken.close()
        raise ConfigurationError(f"port {port} cannot be had: {error}") from error
    return taken


def _tell(supervisor: subprocess.Popen[bytes], line: bytes) -> None:
    lifeline = cast("IO[bytes]", supervisor.stdin)
    with contextlib.suppress(BrokenPipeError):
        lifeline.write(line)
        lifeline.flush()


def _dismiss(supervisor: subprocess.Popen[bytes]) -> None:
    # Closing is not enough when a fork of this process holds the pipe open.
    _tell(supervisor, b"\n")
    with contextlib.suppress(BrokenPipeError):
        cast("IO[bytes]", supervisor.stdin).close()


def _wait(supervisor: subprocess.Popen[bytes]) -> None:
    with supervisor:
        try:
            supervisor.wait(timeout=GRACE_S + 3)
        except subprocess.TimeoutExpired:
            supervisor.kill()
