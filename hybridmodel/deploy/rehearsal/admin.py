"""The controls of a rehearsal over HTTP, on a port of their own, for who has the token.

========================  ==============================================  =======================
request                   body                                            answer
========================  ==============================================  =======================
``GET /snapshot``                                                         ``Snapshot.as_json``
``POST /traffic``         ``{"blue": 90, "green": 10}``                   the snapshot after it
``POST /mirror``          ``{"green": 10}``, or ``{}``                    the snapshot after it
``POST /kill``            ``{"deployment": "green"}``                     the snapshot after it
``POST /hang``            ``{"deployment": "green"}``                     the snapshot after it
``POST /slow``            ``{"deployment": "green", "delay_s": 0.5}``     the snapshot after it
``POST /revive``          ``{"deployment": "green"}``                     the snapshot after it
``POST /scale``           ``{"deployment": "green", "instances": 2}``     the snapshot after it
``POST /default``         ``{"deployment": "green"}``                     the snapshot after it
``POST /evict``           ``{"job": "nightly"}``                          the snapshot after it
``POST /cancel``          ``{"job": "nightly"}``                          the snapshot after it
``POST /token``                                                           as Azure's management
``POST /keys``                                                            the same, for keys
``GET /identity``         (with ``X-IDENTITY-HEADER`` instead)            as a managed identity
``POST /page``                                                            a link to the page
``GET /events``                                                           see `events`
``POST /session``         ``{"link": ...}``, instead of the token         a session of the page
========================  ==============================================  =======================

The page may only listen to events, and kill, hang, slow and revive. A change that Azure would
refuse gets 400 with ``{"error": ...}``, and changes nothing. The module needs starlette.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import secrets
from collections.abc import Callable
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from hybridmodel.checks import shown
from hybridmodel.deploy.rehearsal.keys import RESOURCE, Keys
from hybridmodel.deploy.rehearsal.live_endpoint import LiveEndpoint
from hybridmodel.deploy.rehearsal.own_site import OwnSite
from hybridmodel.deploy.rehearsal.page import Page
from hybridmodel.deploy.rehearsal.passes import is_same
from hybridmodel.exceptions import ConfigurationError

_MOST_BYTES = 1 << 16
_GRACE_S = 1
_IDENTITY = "x-identity-header"
_BUTTONS = ("kill", "hang", "slow", "revive")

Handler = Callable[[Request], Any]


class Admin:
    """Answers requests for the controls; `token` and `identity` are its two secrets."""

    def __init__(self, endpoint: LiveEndpoint, keys: Keys) -> None:
        self._endpoint, self._keys, self.page = endpoint, keys, Page(endpoint)
        self.token, self.identity = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        live = endpoint
        changes: dict[str, Callable[[dict[str, Any]], Any]] = {
            "traffic": live.set_traffic,
            "mirror": live.set_mirror,
            "kill": lambda said: live.kill(said["deployment"]),
            "hang": lambda said: live.hang(said["deployment"]),
            "slow": lambda said: live.slow(said["deployment"], said["delay_s"]),
            "revive": lambda said: live.revive(said["deployment"]),
            "scale": lambda said: live.scale(said["deployment"], said["instances"]),
            "default": lambda said: live.batch_jobs().set_default(said["deployment"]),
            "evict": lambda said: live.batch_jobs().evict(said["job"]),
            "cancel": lambda said: live.batch_jobs().cancel(said["job"]),
        }
        self.routes = [
            Route("/snapshot", self._guarded(self._snapshot)),
            Route("/token", self._guarded(self._token), methods=["POST"]),
            Route("/keys", self._guarded(self._both_keys), methods=["POST"]),
            Route("/identity", self._as_identity),
            Route("/page", self._guarded(self._link), methods=["POST"]),
            Route("/session", self._session, methods=["POST"]),
            Route("/events", self._guarded(self._events, page=True)),
            *self.page.routes,
            *(
                Route(
                    f"/{name}",
                    self._guarded(self._changing(change), page=name in _BUTTONS),
                    methods=["POST"],
                )
                for name, change in changes.items()
            ),
        ]

    def server(self) -> uvicorn.Server:
        """Make what serves the controls on a socket."""
        config = uvicorn.Config(
            OwnSite(Starlette(routes=self.routes)),
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=_GRACE_S,
        )
        return uvicorn.Server(config)

    def permits(self, request: Request, page: bool = False) -> bool:
        """Tell whether a request carries the token, or, for the `page`, a session of it."""
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        permitted = is_same(given, self.token) or (page and self.page.passes.permit(given))
        return kind == "Bearer" and permitted

    def _guarded(self, handler: Handler, page: bool = False) -> Handler:
        async def guarded(request: Request) -> ASGIApp:
            if not self.permits(request, page):
                return JSONResponse({"error": "the token of the controls is missing"}, 401)
            try:
                answer: ASGIApp = await handler(request)
            except ConfigurationError as refused:
                answer = JSONResponse({"error": str(refused)}, 400)
            return answer

        return guarded

    async def _snapshot(self, _: Request) -> Response:
        return JSONResponse(self._endpoint.snapshot().as_json())

    def _changing(self, change: Callable[[dict[str, Any]], Any]) -> Handler:
        async def handler(request: Request) -> Response:
            try:
                result = change(await _read(request))
            except KeyError as missing:
                raise ConfigurationError(f"the request has no {missing}") from None
            if inspect.isawaitable(result):
                await result
            return await self._snapshot(request)

        return handler

    async def _link(self, _: Request) -> Response:
        return JSONResponse({"fragment": self.page.passes.link()})

    async def _session(self, request: Request) -> Response:
        try:
            session = self.page.passes.enter((await _read(request)).get("link"))
        except ConfigurationError as refused:
            return JSONResponse({"error": str(refused)}, 400)
        if session is None:
            return JSONResponse({"error": "the link has been used, or is of no rehearsal"}, 403)
        return JSONResponse({"session": session})

    async def _events(self, _: Request) -> ASGIApp:
        return self.page.events

    async def _token(self, _: Request) -> Response:
        token = self._keys.token()
        half = token.expires_on - self._keys.token_s / 2
        said = {
            "accessToken": token.token,
            "expiryTimeUtc": token.expires_on,
            "refreshAfterTimeUtc": int(half),
            "tokenType": "Bearer",
        }
        return JSONResponse(said)

    async def _both_keys(self, _: Request) -> Response:
        keys = self._keys
        return JSONResponse({"primaryKey": keys.primary, "secondaryKey": keys.secondary})

    async def _as_identity(self, request: Request) -> Response:
        """Answer as the managed identity of an App Service does, which azure-identity asks."""
        if not is_same(request.headers.get(_IDENTITY, ""), self.identity):
            return JSONResponse({"error": f"{_IDENTITY} is missing"}, 401)
        resource = request.query_params.get("resource", RESOURCE)
        token = self._keys.token(resource)
        said = {
            "access_token": token.token,
            "expires_on": str(token.expires_on),
            "resource": resource,
            "token_type": "Bearer",
        }
        return JSONResponse(said)


async def _read(request: Request) -> dict[str, Any]:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > _MOST_BYTES:
            raise ConfigurationError(f"the request has more than {_MOST_BYTES} bytes")
    try:
        said = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise ConfigurationError("the request is not JSON") from None
    if not isinstance(said, dict):
        raise ConfigurationError(f"the request is not a JSON object, but {shown(said)}")
    return said


async def stop(server: uvicorn.Server, serving: asyncio.Task[Any]) -> None:
    """End what `Admin.server` made."""
    server.should_exit = True
    await asyncio.wait((serving,), timeout=2 * _GRACE_S + 1)
