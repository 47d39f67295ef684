"""Who may do more with a Triton server than send requests to its models.

Anyone who reaches Triton's port could otherwise load models with code of their own, register the
shared memory of its python processes, and write files through its trace and log settings: any
program on this machine, and any page in a browser on it. So these parts of its API require a key.
"""

from __future__ import annotations

import http.client
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path

import urllib3

from hybridmodel.exceptions import ConfigurationError
from hybridmodel.remote.address import UNIX, read_address
from hybridmodel.serving.supervisor import PLACEHOLDER

HEADER = "hybridmodel-control-key"
"""The HTTP header; gRPC's ends with it."""

_RULE = f"model-repository,shared-memory,trace,logging:{HEADER}={PLACEHOLDER}"
RESTRICTIONS = (f"--http-restricted-api={_RULE}", f"--grpc-restricted-protocol={_RULE}")
"""Arguments for the server. What stays open (health, metadata, inference, ...) changes nothing."""


class ControlKey:
    """A key that only one server and its owner know, and that is never shown."""

    __slots__ = ("_value",)

    def __init__(self) -> None:
        self._value = secrets.token_urlsafe(32)

    def headers(self) -> dict[str, str]:
        """Return the headers for a restricted request."""
        return {HEADER: self._value}

    def line(self) -> bytes:
        """Return the first line of the supervisor's input."""
        return f"{self._value}\n".encode()

    def __repr__(self) -> str:
        return "ControlKey()"


def socket_in(folder: Path) -> str:
    """Return the path of a server's Unix socket in its folder, if endpoints take such a path."""
    path = str(folder / "http")
    try:
        read_address(f"{UNIX}://{path}")
    except ConfigurationError as error:
        raise ConfigurationError(
            f"the folder for temporary files, {folder.parent}, has no name for Unix sockets; set "
            f"TMPDIR to another: {error}"
        ) from None
    return path


def ask_socket(
    path: str,
    method: str,
    target: str,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = 5.0,
) -> tuple[int, str]:
    """Do what `ask` does, by a Unix socket."""
    connection = http.client.HTTPConnection("localhost", timeout=timeout_s)
    try:
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(timeout_s)
        connection.sock.connect(path)
        connection.request(method, target, headers=dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return 0, str(error)
    finally:
        connection.close()


def ask(
    method: str, url: str, headers: Mapping[str, str] | None = None, timeout_s: float = 5.0
) -> tuple[int, str]:
    """Send a request without a body; return the status and the answer, or 0 and the error."""
    try:
        with urllib3.PoolManager(retries=False) as pool:
            answer = pool.request(method, url, headers=headers, timeout=timeout_s)
            return answer.status, answer.data.decode(errors="replace")
    except urllib3.exceptions.HTTPError as error:
        return 0, str(error)
