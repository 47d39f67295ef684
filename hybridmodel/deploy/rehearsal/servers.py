"""What runs the models of a deployment: a real Triton on a Unix socket, or the embedded server."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from hybridmodel.deploy.checking.config_parser import parse
from hybridmodel.deploy.checking.files import Unreadable, is_version, read_text
from hybridmodel.deploy.checking.findings import Place
from hybridmodel.deploy.rehearsal.live import Server
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.serving.embedded import EmbeddedServer
from hybridmodel.serving.model_config import CONFIG_FILE, MODEL_FILE
from hybridmodel.serving.repository import through_python
from hybridmodel.serving.triton_access import ask_socket, socket_in
from hybridmodel.serving.triton_files import TRITON_VERSION, unsupported
from hybridmodel.serving.triton_process import TritonProcess

SERVERS = ("auto", "triton", "embedded")

_START_S = 120.0
_ASK_S = 5.0
_ENVIRONMENT = "EXECUTION_ENV_PATH"

Versions = Mapping[str, Mapping[str, Path]]
"""Model names, each with versions, each with its ONNX file."""


def make_server(models: Path, kind: str = "auto") -> Server:
    """Make the server of a repository; it is not started.

    Parameters
    ----------
    models : Path
        A Triton repository of ONNX models.
    kind : str
        One of `SERVERS`; ``auto`` takes Triton where it runs.

    Raises
    ------
    ConfigurationError
        If there is no such kind, or the folder is no such repository.
    """
    if kind not in SERVERS:
        raise ConfigurationError(f"server is one of {', '.join(SERVERS)}, not {kind[:40]!r}")
    found = read_repository(models)
    if kind == "embedded" or (kind == "auto" and unsupported() is not None):
        return Embedded(found)
    return TritonOnSocket(models, found)


def read_repository(models: Path) -> Versions:
    """Return the models of a repository; raises `ConfigurationError` if it is not ONNX models'."""
    folders = [path for path in _sorted(models) if (path / CONFIG_FILE).is_file()]
    if not folders:
        raise ConfigurationError(
            f"{models}: is no Triton repository, which has NAME/{CONFIG_FILE}; "
            "`hybridmodel export` writes one"
        )
    for folder in folders:
        _check_config(folder)
    return {folder.name: _versions(folder) for folder in folders}


def _check_config(folder: Path) -> None:
    """Refuse a configuration that cannot be read whole, or has Triton's python backend run more."""
    file = folder / CONFIG_FILE
    try:
        config, findings = parse(read_text(file, folder), Place(CONFIG_FILE))
    except Unreadable as error:
        raise ConfigurationError(f"{file}: {error}") from None
    if findings:
        raise ConfigurationError(
            f"{file}, line {findings[0].line}: {findings[0].what}; `hybridmodel check` says more"
        )
    if any(entry.get("key") == _ENVIRONMENT for entry in config.messages("parameters")):
        raise ConfigurationError(
            f"{file}: names a Python of its own ({_ENVIRONMENT}), and a rehearsal runs none that "
            "it finds; it rehearses ONNX models"
        )


def _sorted(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _versions(folder: Path) -> Mapping[str, Path]:
    found = {}
    for version in filter(lambda path: path.is_dir() and is_version(path.name), _sorted(folder)):
        if (version / "model.py").exists():
            raise ConfigurationError(
                f"{version / 'model.py'}: is a program, and a rehearsal runs none that it finds; "
                "it rehearses ONNX models"
            )
        file = version / MODEL_FILE
        if file.is_dir():  # A model with external data.
            file /= MODEL_FILE
        if file.is_file():
            found[version.name] = file
    if not found:
        raise ConfigurationError(
            f"{folder}: has no version with an ONNX model, such as {folder.name}/1/{MODEL_FILE}"
        )
    return found


class TritonOnSocket(TritonProcess):
    """A real Triton that listens on a Unix socket, which only this user reaches."""

    kind = f"Triton {TRITON_VERSION}, whose python backend runs the exported graphs by onnxruntime"

    def __init__(self, repository: Path, models: Versions) -> None:
        super().__init__(_START_S)
        self._repository = repository
        self.models = tuple(models)
        self.key: str | None = None
        self._last = ""

    @property
    def address(self) -> str:
        """The path of the socket; of the last one while it is not running."""
        if self._folder is not None:
            self._last = socket_in(self._folder)
        return self._last

    def _write_models(self, repository: Path) -> None:
        for name in self.models:
            through_python(self._repository / name, repository)

    @contextmanager
    def _listening(self, folder: Path) -> Iterator[list[str]]:
        path = socket_in(folder)
        yield [f"--http-address=unix:{path}", "--allow-grpc=false", "--model-control-mode=none"]

    def answers(self) -> bool:
        """Ask it whether its models are ready."""
        return self.is_running and self._is_ready()

    def _is_ready(self) -> bool:
        return ask_socket(self.address, "GET", "/v2/health/ready", timeout_s=_ASK_S)[0] == 200


class Embedded:
    """The server that runs in this process, anywhere; without batching and queue.

    Whoever is on this machine reaches its port, so it has a key.
    """

    kind = "the embedded server, which has neither batching nor a queue"

    def __init__(self, models: Versions) -> None:
        self.models = tuple(models)
        self.key: str | None = secrets.token_urlsafe(32)
        self._given = {name: dict(versions) for name, versions in models.items()}
        self._server: EmbeddedServer | None = None
        self._address = ("127.0.0.1", 0)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port; the last ones while it is not running."""
        return self._address

    @property
    def is_running(self) -> bool:
        """Whether it accepts requests."""
        return self._server is not None

    def answers(self) -> bool:
        """Tell the same, as it cannot crash alone."""
        return self.is_running

    def start(self) -> None:
        """Start it."""
        server = EmbeddedServer(self._given, auth_key=self.key).start()
        self._address = ("127.0.0.1", server.port)
        self._server = server

    def stop(self) -> None:
        """End it."""
        server, self._server = self._server, None
        if server is not None:
            server.stop()

    kill = stop


def start_all(servers: tuple[Server, ...]) -> None:
    """Start servers at the same time; after an error or an interrupt none runs."""
    if not servers:
        return
    with ThreadPoolExecutor(len(servers), "hybridmodel-rehearsal-start") as pool:
        begun = [pool.submit(server.start) for server in servers]
        try:
            for one in begun:
                one.result()
        except BaseException:
            # Those that are starting end by this; what begins after it is ended by the caller.
            for server in servers:
                server.stop()
            raise


def stop_all(servers: tuple[Server, ...]) -> None:
    """Stop servers at the same time; one by one where the interpreter ends, and pools with it."""
    if not servers:
        return
    with ThreadPoolExecutor(len(servers), "hybridmodel-rehearsal-stop") as pool:
        try:
            ending = [pool.submit(server.stop) for server in servers]
        except RuntimeError:
            ending = []
    for one in ending:
        one.result()
    for server in servers:
        server.stop()
