"""The Open Inference Protocol v2 as an ASGI application: routes, handlers and status codes.

Everything that a client can see follows Triton, except that

- an invalid request is always 400, also where Triton answers 500 because it could not parse a
  value, and a version that cannot be a number is 404;
- health and readiness answer with the protocol's objects, where Triton's body is empty;
- unknown parameters are refused, where Triton ignores some;
- compressed requests are refused (501), and responses are never compressed;
- of Triton's extensions the server has those in `EXTENSIONS`, and the index of
  ``model_repository``; the paths of the others answer 501.

Models are opened and run in worker threads, so health checks are answered at any time. The module
needs starlette; only `hybridmodel.serving.embedded` imports it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from typing import Any, cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from hybridmodel.exceptions import ProtocolError
from hybridmodel.remote.wire.json_text import decode_object
from hybridmodel.remote.wire.protocol import (
    BINARY_EXTENSION,
    HEADER_LENGTH,
    Message,
    encode_metadata,
)
from hybridmodel.serving.catalogue import Catalogue, ServedModel
from hybridmodel.serving.gate import Gate, error
from hybridmodel.serving.inference import infer, spec_of
from hybridmodel.serving.limits import Limits
from hybridmodel.serving.model_config import model_config

EXTENSIONS = (BINARY_EXTENSION, "model_configuration", "statistics")

_VERSION = re.compile("[0-9]{1,18}")
_ABSENT = {
    "records no traces": (
        "trace/setting",
        "models/{name}/trace/setting",
        "models/{name}/versions/{version}/trace/setting",
    ),
    "has no log settings": ("logging",),
    "shares no memory": tuple(
        f"{kind}sharedmemory/{path}"
        for kind in ("system", "cuda")
        for path in (
            *("status", "register", "unregister"),
            *(f"region/{{region}}/{verb}" for verb in ("status", "register", "unregister")),
        )
    ),
    "generates no text; ask for tensors with .../infer": tuple(
        f"models/{{name}}{version}/{verb}"
        for version in ("", "/versions/{version}")
        for verb in ("generate", "generate_stream")
    ),
}
"""Paths of Triton's other extensions, by what the server answers there."""


def make_app(
    models: Catalogue, executor: Executor, auth_key: str | None, host: str, limits: Limits
) -> ASGIApp:
    """Make the application for a server that listens on `host`."""
    handlers = _Handlers(models, executor, limits)
    on_error = {HTTPException: _refuse, Exception: _fail}
    app = Starlette(routes=list(_routes(handlers)), exception_handlers=on_error)
    app.router.redirect_slashes = False
    return Gate(app, auth_key, host)


def _route(path: str, handler: Any, *methods: str) -> Route:
    """Route a path to a function, or to a response that is always the same."""
    route = Route(path, handler)
    # Starlette adds HEAD to GET; Triton answers 405.
    route.methods = set(methods or ("GET",))
    return route


def _routes(handlers: _Handlers) -> Iterator[Route]:
    about = {"name": "hybridmodel", "version": "2", "extensions": EXTENSIONS}
    fixed = error(503, "this server has the models that it was started with; none is loaded")
    yield _route("/v2", JSONResponse(about))
    yield _route("/v2/health/live", JSONResponse({"live": True}))
    yield _route("/v2/health/ready", JSONResponse({"ready": True}))
    yield _route("/v2/models/stats", handlers.all_statistics)
    yield _route("/v2/repository/index", handlers.index, "POST")
    yield _route("/v2/repository/models/{name}/load", fixed, "POST")
    yield _route("/v2/repository/models/{name}/unload", fixed, "POST")
    for path in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        yield _route(path, handlers.metadata)
        yield _route(f"{path}/ready", handlers.ready)
        yield _route(f"{path}/config", handlers.config)
        yield _route(f"{path}/stats", handlers.statistics)
        yield _route(f"{path}/infer", handlers.infer, "POST")
    for what, paths in _ABSENT.items():
        absent = error(501, f"this server {what}")
        for path in paths:
            methods = ("POST",) if "generate" in path else ("GET", "POST")
            yield _route(f"/v2/{path}", absent, *methods)


class _Handlers:
    """One method for each kind of request."""

    def __init__(self, models: Catalogue, executor: Executor, limits: Limits) -> None:
        self._models = models
        self._executor = executor
        self._limits = limits
        self._bodies = _Bodies(limits)

    async def ready(self, request: Request) -> Response:
        model = self._find(request, HTTPException(400, "Model version not ready"))
        return JSONResponse({"name": model.name, "ready": True})

    async def metadata(self, request: Request) -> Response:
        model = self._find(request)
        spec = await self._in_thread(spec_of, model)
        versions = [one.version for one in self._asked(request, model)]
        return JSONResponse(encode_metadata(model.name, versions, spec))

    async def config(self, request: Request) -> Response:
        model = self._find(request)
        return JSONResponse(model_config(model.name, await self._in_thread(spec_of, model)))

    async def statistics(self, request: Request) -> Response:
        # Triton answers 404 only for the model itself.
        model = self._find(request, status=400)
        return _statistics(self._asked(request, model))

    async def all_statistics(self, _: Request) -> Response:
        return _statistics(self._all())

    async def index(self, request: Request) -> Response:
        async with self._bodies.read(request) as body:
            try:
                decode_object(body or b"{}")
            except ProtocolError as wrong:
                return error(400, str(wrong))
        said = [{"name": one.name, "version": one.version, "state": "READY"} for one in self._all()]
        return JSONResponse(said)

    async def infer(self, request: Request) -> Response:
        model = self._find(request)
        encoding = request.headers.get("content-encoding", "identity")
        if encoding != "identity":
            raise HTTPException(501, f"Content-Encoding {encoding[:40]!r} is not supported")
        length = request.headers.get(HEADER_LENGTH)
        try:
            async with self._bodies.read(request) as body:
                message: Message = await self._in_thread(infer, model, body, length, self._limits)
                return Response(await self._in_thread(message.body), headers=message.headers)
        except ClientDisconnect:
            return Response()

    async def _in_thread(self, function: Any, *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._executor, function, *args)

    def _all(self) -> list[ServedModel]:
        return [model for name in sorted(self._models) for model in self._models[name].values()]

    def _asked(self, request: Request, found: ServedModel) -> list[ServedModel]:
        """Return the version in the path, or else all versions."""
        named = "version" in request.path_params
        return [found] if named else list(self._models[found.name].values())

    def _find(
        self, request: Request, unknown: HTTPException | None = None, status: int = 404
    ) -> ServedModel:
        """Return the model in the path; its newest version if the path names none."""
        name, given = request.path_params["name"], request.path_params.get("version")
        if given is not None and not _VERSION.fullmatch(given):
            raise HTTPException(404, f"version {given[:40]!r} is not found")
        versions = self._models.get(name, {})
        version = max(versions, key=int, default="") if given is None else str(int(given))
        model = versions.get(version)
        if model is None:
            which = f"{name[:200]!r} version {version}" if versions else f"{name[:200]!r}"
            message = f"Request for unknown model: {which} is not found"
            raise unknown or HTTPException(status, message)
        return model


def _statistics(models: list[ServedModel]) -> Response:
    said = [
        {"name": model.name, "version": model.version, **model.statistics.as_json()}
        for model in models
    ]
    return JSONResponse({"model_stats": said})


class _Bodies:
    """Reads bodies, and counts the bytes of all that are in memory."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._max_bytes = min(limits.max_body_bytes, limits.max_held_bytes)
        self._held_bytes = 0  # Only the thread of the event loop uses it.

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytearray]:
        """Read a body, and count it until the block ends; 413 if it is too large, 503 for now."""
        self._check(int(request.headers.get("content-length", 0)))
        body = bytearray()
        try:
            async for chunk in request.stream():
                self._check(len(body) + len(chunk))
                body += chunk
                self._held_bytes += len(chunk)
                if self._held_bytes > self._limits.max_held_bytes:
                    message = f"the server has {self._limits.max_held_bytes} bytes of requests"
                    raise HTTPException(503, message, {"Retry-After": "1"})
            yield body
        finally:
            self._held_bytes -= len(body)

    def _check(self, size_bytes: int) -> None:
        if size_bytes > self._max_bytes:
            raise HTTPException(413, f"the request has more than {self._max_bytes} bytes")


async def _refuse(_: Request, refused: Exception) -> Response:
    refusal = cast("HTTPException", refused)
    return error(refusal.status_code, refusal.detail, refusal.headers)


async def _fail(_: Request, __: Exception) -> Response:
    return error(500, "the server failed; its log says why")
