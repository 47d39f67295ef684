"""Who may send requests to the embedded server.

With a key: whoever has it. Without one the server listens to this machine only, and what remains
to be refused are pages in a browser on it: those that send requests from their own address
(``Origin``), and those that make their own name point to this machine (``Host``; DNS rebinding).
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^\s:@/\[\]]+))(?::[0-9]{0,5})?")


def error(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return an error in the protocol's form."""
    return JSONResponse({"error": message}, status, headers)


class Gate:
    """Passes permitted requests on to `app`, with undecoded paths, as Triton reads them."""

    def __init__(self, app: ASGIApp, auth_key: str | None, host: str) -> None:
        self._app = app
        self._expected = None if auth_key is None else f"Bearer {auth_key}".encode()
        self._host = host.lower()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        refusal = self._refusal(Headers(scope=scope))
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        await self._app({**scope, "path": scope["raw_path"].decode("latin-1")}, receive, send)

    def _refusal(self, headers: Headers) -> Response | None:
        if self._expected is not None:
            given = headers.get("authorization", "").encode("latin-1")
            if hmac.compare_digest(given, self._expected):
                return None
            return error(401, "a valid key is missing", {"WWW-Authenticate": "Bearer"})
        hosts = [host.lower() for host in headers.getlist("host")]
        if not all(map(self._is_ours, hosts)):
            return error(
                421,
                "without a key this server answers only to its address and to localhost, not to "
                "the name in the Host header; start it with a key to use other names",
            )
        origins = [origin.lower() for origin in headers.getlist("origin")]
        if any(origin.partition("://")[2] not in hosts for origin in origins):
            return error(403, "without a key this server answers no pages of other origins")
        return None

    def _is_ours(self, host: str) -> bool:
        """Tell whether a Host header is a name that nobody else can point to this machine."""
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        name = found[1] or found[2]
        if name in ("localhost", self._host) or name.endswith(".localhost"):
            return True
        try:
            return ipaddress.ip_address(name).version == (6 if found[1] else 4)
        except ValueError:
            return False
