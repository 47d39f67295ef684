"""Who may do more with a Triton server than ask its models.

Triton lets everyone who reaches its port load models with code of their own, register the shared
memory of its python processes, and write files by way of its traces and logs: any program on this
machine, and any page in a browser on it. These groups of its interface want a key.
"""

from __future__ import annotations

import http.client
import secrets
from typing import TYPE_CHECKING

from hybridmodel.serving.supervisor import PLACEHOLDER

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

RESTRICTED = ("model-repository", "shared-memory", "trace", "logging")
"""The rest (health, metadata, inference, model-config, statistics) changes nothing."""

HEADER = "hybridmodel-control-key"
"""Header of HTTP, and the end of the one of gRPC."""


class ControlKey:
    """A key that one server and its owner know, and that nothing shows."""

    __slots__ = ("_value",)

    def __init__(self) -> None:
        self._value = secrets.token_urlsafe(32)

    def headers(self) -> dict[str, str]:
        """Return what a request to a restricted group carries."""
        return {HEADER: self._value}

    def line(self) -> bytes:
        """Return what the supervisor reads first."""
        return f"{self._value}\n".encode()

    def __repr__(self) -> str:
        return "ControlKey()"


def arguments() -> Iterable[str]:
    """Return the arguments of the command line that close the groups, over HTTP and gRPC."""
    rule = f"{','.join(RESTRICTED)}:{HEADER}={PLACEHOLDER}"
    return f"--http-restricted-api={rule}", f"--grpc-restricted-protocol={rule}"


def ask(
    host: str,
    port: int,
    method: str,
    path: str,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = 5.0,
) -> tuple[int, str]:
    """Send a request without a body; return the status, 0 where there is none, and what was said.

    Parameters
    ----------
    host, port : str, int
        Of the server.
    method, path : str
        What to ask.
    headers : mapping of str to str, optional
        Beside those that HTTP wants.
    timeout_s : float, default=5.0
        For each step of the exchange.
    """
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.request(method, path, headers=dict(headers or {}))
        response = connection.getresponse()
        return response.status, response.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return 0, str(error)
    finally:
        connection.close()
