"""MLflow for the tests: real tracking servers, real scoring servers, fresh interpreters.

Servers run in process groups of their own, and what they say is shown when they do not start.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import numpy as np
import pandas as pd
import pytest

from hybridmodel.serving import EmbeddedServer, serve
from hybridmodel.serving.environments import environment
from tests.support import models
from tests.support.paths import ROOT

REPOSITORY = ROOT
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true"}
OLD_MLFLOW = ("mlflow==2.22.5", "sqlalchemy<2.1", "setuptools<81")

COLUMNS = ["a", "b", "c", "d"]
KEY = "canary-4f1d0c9e7b2a"  # In no other file, so that it can be searched for.

os.environ.update(QUIET)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns of itself when it is imported.
    import mlflow.onnx
    import mlflow.pyfunc

_START_TIMEOUT_S = 120
_READY = ("Uvicorn running on", "Listening at")


@dataclass
class Process:
    """A running server and what it has said so far."""

    url: str
    popen: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    @property
    def log(self) -> str:
        """All that the server has said."""
        return "".join(self.lines)

    def post(self, body: Any, content_type: str = "application/json") -> tuple[int, str]:
        """Send one request to ``/invocations``; return the status and the body."""
        data = body if isinstance(body, str) else json.dumps(body)
        return self.send("invocations", data.encode(), content_type)

    def send(self, path: str, data: bytes, content_type: str) -> tuple[int, str]:
        """Send bytes to a path; return the status and the body."""
        request = urllib.request.Request(f"{self.url}/{path}", data, {"Content-Type": content_type})
        return fetch(request)


def fetch(request: Any) -> tuple[int, str]:
    """Return status and body, whatever the status."""
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, reply.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def free_port() -> int:
    """Return a port that nobody listens to now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def environ(**changes: str) -> dict[str, str]:
    """Return this process' environment for a child, which finds the package by its path."""
    # MLflow looks for uvicorn on the path, also when this Python's environment is not activated.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, **QUIET, "PATH": path, "PYTHONPATH": str(REPOSITORY), **changes}


@contextmanager
def running(
    command: Sequence[str], port: int, folder: Path, env: Mapping[str, str]
) -> Iterator[Process]:
    """Run a server until the end of the block; it says by one of `_READY` that it listens."""
    popen = subprocess.Popen(
        command,
        cwd=folder,
        env=dict(env),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    process = Process(f"http://127.0.0.1:{port}", popen)
    started = threading.Event()

    def listen() -> None:
        assert popen.stdout is not None
        with popen.stdout:
            for line in popen.stdout:
                process.lines.append(line)
                if any(mark in line for mark in _READY):
                    started.set()
        started.set()

    reader = threading.Thread(target=listen, daemon=True)
    reader.start()
    try:
        assert started.wait(_START_TIMEOUT_S), f"no start in time:\n{process.log}"
        assert any(mark in process.log for mark in _READY), f"no start:\n{process.log}"
        assert fetch(f"{process.url}/health")[0] == 200, process.log
        yield process
    finally:
        end_group(popen)
        reader.join(timeout=30)


def end_group(popen: subprocess.Popen[str]) -> None:
    """End a process and all that it has started."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(popen.pid, sign)
        except ProcessLookupError:
            break
        try:
            popen.wait(timeout=5)
        except subprocess.TimeoutExpired:
            continue
    popen.wait(timeout=15)


@contextmanager
def tracking_server(folder: Path, python: str = sys.executable) -> Iterator[Process]:
    """Run ``mlflow server`` with a database and artifacts in `folder`."""
    port = free_port()
    command = [python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--workers", "1"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    # Another Python must not find this one's packages.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with running(command, port, folder, env) as process:
        yield process


@contextmanager
def scoring_server(model: Path | str, folder: Path, **env: str) -> Iterator[Process]:
    """Run ``mlflow models serve`` in this Python's own environment."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", str(model)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--env-manager", "local"]
    with running(command, port, folder, environ(**env)) as process:
        yield process


def python(code: str, folder: Path, *args: str, executable: str = "", **env: str) -> str:
    """Run code in a fresh interpreter and return what it prints; errors fail the test."""
    done = subprocess.run(
        [executable or sys.executable, "-c", code, *args],
        cwd=folder,
        env=environ(**env),
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


TRACKING_VARIABLES = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")


@contextmanager
def tracked_at(server: Process) -> Iterator[Process]:
    """Track and register at a server until the end of the block."""
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    variables = {name: os.environ.get(name) for name in TRACKING_VARIABLES}
    mlflow.set_tracking_uri(server.url)
    mlflow.set_registry_uri(server.url)
    try:
        yield server
    finally:
        while mlflow.active_run():
            mlflow.end_run()
        mlflow.set_tracking_uri(before[0])
        mlflow.set_registry_uri(before[1])
        # MLflow writes what is set into the environment, where child processes would find it.
        for name, value in variables.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@pytest.fixture(scope="session")
def new_tracking_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """Run the installed MLflow's tracking server and registry."""
    with tracking_server(tmp_path_factory.mktemp("mlflow")) as server:
        yield server


@pytest.fixture(scope="session")
def old_tracking_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """Run a server of MLflow 2, which knows no logged models, as Azure Machine Learning."""
    made = environment("mlflow-2.22", OLD_MLFLOW)
    with tracking_server(tmp_path_factory.mktemp("mlflow2"), str(made / "bin" / "python")) as old:
        yield old


@pytest.fixture
def tracking(
    new_tracking_server: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Process]:
    """Track at the real server, and stand in an empty folder."""
    monkeypatch.chdir(tmp_path)
    with tracked_at(new_tracking_server) as server:
        yield server


@pytest.fixture
def old_tracking(
    old_tracking_server: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Process]:
    """Track at the server of MLflow 2, and stand in an empty folder."""
    monkeypatch.chdir(tmp_path)
    with tracked_at(old_tracking_server) as server:
        yield server


@pytest.fixture(scope="session")
def endpoint_server() -> Iterator[EmbeddedServer]:
    """Serve `tests.support.models.served`; ``linear`` differs there from the local one."""
    with serve({**models.served(), "linear": models.linear(seed=7)}) as server:
        yield server


@pytest.fixture
def frame() -> pd.DataFrame:
    """Give three rows for `tests.support.models.linear`, with an index of their own."""
    values = np.arange(12, dtype=float).reshape(3, 4) / 8
    return pd.DataFrame(values, columns=COLUMNS, index=[10, 20, 30])
