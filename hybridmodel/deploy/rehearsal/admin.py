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
``POST /token``                                                           as Azure's management
``POST /keys``                                                            the same, for keys
``GET /identity``         (with ``X-IDENTITY-HEADER`` instead)            as a managed identity
========================  ==============================================  =======================

A change that Azure would refuse gets 400 with ``{"error": ...}``, and changes nothing. The module
needs starlette.
"""

from __future__ import annotations

import asyncio
import hmac
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

from hybridmodel.checks import shown
from hybridmodel.deploy.rehearsal.keys import RESOURCE, Keys
from hybridmodel.deploy.rehearsal.live_endpoint import LiveEndpoint
from hybridmodel.exceptions import ConfigurationError

_MOST_BYTES = 1 << 16
_GRACE_S = 1
_IDENTITY = "x-identity-header"

Handler = Callable[[Request], Any]


class Admin:
    """Answers requests for the controls; `token` and `identity` are its two secrets."""

    def __init__(self, endpoint: LiveEndpoint, keys: Keys) -> None:
        self._endpoint, self._keys = endpoint, keys
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
        }
        self.routes = [
            Route("/snapshot", self._guarded(self._snapshot)),
            Route("/token", self._guarded(self._token), methods=["POST"]),
            Route("/keys", self._guarded(self._both_keys), methods=["POST"]),
            Route("/identity", self._as_identity),
            *(
                Route(f"/{name}", self._guarded(self._changing(change)), methods=["POST"])
                for name, change in changes.items()
            ),
        ]

    def server(self) -> uvicorn.Server:
        """Make what serves the controls on a socket."""
        config = uvicorn.Config(
            Starlette(routes=self.routes),
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=_GRACE_S,
        )
        return uvicorn.Server(config)

    def permits(self, request: Request) -> bool:
        """Tell whether a request carries the token."""
        return _is(request.headers.get("authorization", ""), f"Bearer {self.token}")

    def _guarded(self, handler: Handler) -> Handler:
        async def guarded(request: Request) -> Response:
            if not self.permits(request):
                return JSONResponse({"error": "the token of the controls is missing"}, 401)
            try:
                response: Response = await handler(request)
            except ConfigurationError as refused:
                response = JSONResponse({"error": str(refused)}, 400)
            return response

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
        if not _is(request.headers.get(_IDENTITY, ""), self.identity):
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


def _is(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())


async def stop(server: uvicorn.Server, serving: asyncio.Task[Any]) -> None:
    """End what `Admin.server` made."""
    server.should_exit = True
    await asyncio.wait((serving,), timeout=2 * _GRACE_S + 1)
