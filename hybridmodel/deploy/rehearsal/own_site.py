"""Keeps other web sites out of a server on 127.0.0.1, which a browser of this machine reaches.

A foreign page can send requests here, and with a name of its own that leads to 127.0.0.1 (DNS
rebinding) even read the answers. A browser says in the headers for which host a request is meant
and which site it comes from; a request that is not from here, for here, is refused before anything
looks at it. Programs that are no browsers say no site.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
"""Nothing from elsewhere, nothing written into the page, and no text ever becomes markup."""

_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_OWN = ("same-origin", "none")


class OwnSite:
    """An ASGI application that refuses what comes from another site, and adds headers."""

    def __init__(self, application: ASGIApp) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        reason = refusal(scope)
        answer = self._application if reason is None else PlainTextResponse(reason, 403)
        await answer(scope, receive, _with_headers(send))


def refusal(scope: Mapping[str, Any]) -> str | None:
    """Say why a request is refused; None where it is not."""
    headers = Headers(scope=dict(scope))
    here = f"127.0.0.1:{scope['server'][1]}"
    if headers.getlist("host") != [here]:
        return f"this is reached as http://{here} only"
    if any(origin != f"http://{here}" for origin in headers.getlist("origin")):
        return "another site may not ask here"
    sites = headers.getlist("sec-fetch-site")
    if any(site not in _OWN for site in sites) and not _is_a_visit(scope, headers):
        return "another site may not ask here"
    return None


def _is_a_visit(scope: Mapping[str, Any], headers: Headers) -> bool:
    """Tell whether somebody follows a link to the page, which says nothing by itself."""
    is_page = (scope["method"], scope["path"]) == ("GET", "/")
    found = headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")
    return is_page and found == ("navigate", "document")


def _with_headers(send: Send) -> Callable[[Message], Any]:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(_HEADERS)
        await send(message)

    return sending
