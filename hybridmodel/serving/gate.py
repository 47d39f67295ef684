"""Who may speak to the embedded server at all.

With a key, whoever has it. Without one the server listens to this machine only, and what is left
are the pages in a browser on it: one that sends requests from its own address (``Origin``), and
one that makes its own name point to this machine (``Host``; DNS rebinding).
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from starlette.types import ASGIApp, Receive, Scope, Send

_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^\s:@/\[\]]+))(?::[0-9]{0,5})?")


def error(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return a refusal in the form of the protocol."""
    return JSONResponse({"error": message}, status, headers)


class Gate:
    """Lets the right requests through, and leaves their paths undecoded, as Triton.

    Parameters
    ----------
    app : ASGIApp
        What is behind it.
    auth_key : str or None
        The bearer key that every request must carry.
    host : str
        The name that the server was told to listen to.
    """

    def __init__(self, app: ASGIApp, auth_key: str | None, host: str) -> None:
        self._app = app
        self._expected = None if auth_key is None else f"Bearer {auth_key}".encode()
        self._host = host.lower()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a refusal, or pass the request on."""
        refusal = self._refusal(scope["headers"])
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        await self._app({**scope, "path": scope["raw_path"].decode("latin-1")}, receive, send)

    def _refusal(self, headers: Iterable[tuple[bytes, bytes]]) -> Response | None:
        if self._expected is not None:
            given = dict(headers).get(b"authorization", b"")
            if hmac.compare_digest(given, self._expected):
                return None
            return error(401, "a valid key is missing", {"WWW-Authenticate": "Bearer"})
        hosts = [value.decode("latin-1").lower() for name, value in headers if name == b"host"]
        if not all(map(self._is_ours, hosts)):
            return error(
                421,
                "without a key this server answers to its address and to localhost only, not to "
                "the name in the Host header; start it with a key to ask it by other names",
            )
        origins = [value.decode("latin-1").lower() for name, value in headers if name == b"origin"]
        if any(origin.partition("://")[2] not in hosts for origin in origins):
            return error(403, "without a key this server answers no pages of other origins")
        return None

    def _is_ours(self, host: str) -> bool:
        """Tell whether a Host header names no name that somebody else could let point here."""
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        name = found[1] or found[2]
        return (
            name in ("localhost", self._host)
            or name.endswith(".localhost")
            or _is_address(name, version=6 if found[1] else 4)
        )


def _is_address(text: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(text).version == version
    except ValueError:
        return False
