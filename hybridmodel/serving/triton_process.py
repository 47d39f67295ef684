"""One Triton as a child process: its folder, its log and its end.

What it serves, and where it listens, is said by those who derive from `TritonProcess`.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import IO, TypeVar, cast

from hybridmodel.exceptions import ConfigurationError
from hybridmodel.serving.supervisor import GRACE_S
from hybridmodel.serving.triton_access import RESTRICTIONS, ControlKey
from hybridmodel.serving.triton_files import install

_SUPERVISOR = Path(__file__).with_name("supervisor.py")
_LOG_LINES = 30
_POLL_S = 0.05
# Less than the supervisor's grace period: Triton cleans up only if it can finish.
_EXIT_TIMEOUT_S = 2

Itself = TypeVar("Itself", bound="TritonProcess")


class TritonProcess(ABC):
    """A Triton that ends with its owner, however that ends; `start` returns when it is ready."""

    def __init__(self, start_timeout_s: float) -> None:
        self._start_timeout_s = start_timeout_s
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None
        self._pid: int | None = None
        self._log = ""
        self._key = ControlKey()

    @property
    def pid(self) -> int | None:
        """Process id of the server; None if it is not running."""
        return self._pid

    @property
    def log(self) -> str:
        """Everything that the server has logged, also after it has ended."""
        file = self._folder and self._folder / "server.log"
        if file and file.exists():
            self._log = file.read_text(errors="replace")
        return self._log

    @property
    def is_running(self) -> bool:
        """Whether its process lives."""
        return self._supervisor is not None and self._supervisor.poll() is None

    def start(self: Itself) -> Itself:
        """Start the server, and return when all models are ready.

        Raises
        ------
        ConfigurationError
            If this machine cannot run it, or if it does not become ready; the message then holds
            the end of its log.
        """
        if self._supervisor is not None:
            raise ConfigurationError(
                f"this {type(self).__name__} is already running; stop it first"
            )
        try:
            folder = self._folder = Path(tempfile.mkdtemp(prefix="hybridmodel-triton-"))
            command, variables = install(folder)
            self._write_models(folder / "models")
            with self._listening(folder) as address:
                arguments = self._arguments(folder)
                self._launch(folder, [*command, *arguments, *address], variables)
                self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the server and remove its files; do nothing if it is not running."""
        try:
            if self._supervisor is not None:
                _end(self._supervisor)
        finally:
            self._supervisor = self._pid = None
            self._log = self.log
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
            atexit.unregister(self.stop)

    def kill(self) -> None:
        """End the server at once, like a crash (SIGKILL)."""
        if self._pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
        self.stop()

    def __enter__(self: Itself) -> Itself:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @abstractmethod
    def _write_models(self, repository: Path) -> None:
        """Make the repository."""

    @abstractmethod
    def _listening(self, folder: Path) -> AbstractContextManager[list[str]]:
        """Reserve where to listen until the server does; return the arguments that say it."""

    @abstractmethod
    def _is_ready(self) -> bool:
        """Ask the server whether all models are ready."""

    def _arguments(self, folder: Path) -> list[str]:
        return [
            f"--model-repository={folder / 'models'}",
            "--allow-metrics=false",
            f"--backend-config=python,shm-region-prefix-name={folder.name}",
            f"--exit-timeout-secs={_EXIT_TIMEOUT_S}",
            *RESTRICTIONS,
        ]

    def _launch(self, folder: Path, command: list[str], variables: dict[str, str]) -> None:
        supervisor = [sys.executable, "-I", str(_SUPERVISOR), str(os.getpid()), str(folder)]
        atexit.register(self.stop)
        self._supervisor = subprocess.Popen(  # noqa: S603 - the command is ours
            [*supervisor, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=variables,
            start_new_session=True,
        )
        with suppress(BrokenPipeError):
            cast("IO[bytes]", self._supervisor.stdin).write(self._key.line())
        pid = cast("IO[bytes]", self._supervisor.stdout).readline()
        self._pid = int(pid) if pid else None

    def _wait_until_ready(self) -> None:
        until = time.monotonic() + self._start_timeout_s
        while not self._is_ready():
            if not self.is_running:
                raise ConfigurationError(f"Triton ended during its start; {self._last_lines()}")
            if time.monotonic() > until:
                raise ConfigurationError(
                    f"Triton was not ready after {self._start_timeout_s:g} s; {self._last_lines()}"
                )
            time.sleep(_POLL_S)

    def _last_lines(self) -> str:
        lines = [line for line in self.log.splitlines() if line[:1] not in ("", "+", "|")]
        return "\n".join(["the end of its log, without tables:", *lines[-_LOG_LINES:]])


def _end(supervisor: subprocess.Popen[bytes]) -> None:
    with supervisor:
        try:
            # Closing its input is not enough if a fork of this process holds the pipe open.
            supervisor.communicate(b"\n", timeout=GRACE_S + 3)
        except subprocess.TimeoutExpired:
            supervisor.kill()
