"""The Open Inference Protocol v2 as an ASGI application: routes, handlers and status codes.

Everything that a client can see follows Triton, except that

- what is wrong with a request is 400 throughout, also where Triton answers 500 because it could
  not parse a value, and a version that no number can hold is 404;
- health and readiness answer with the objects of the protocol, where Triton says nothing;
- parameters that are not understood are refused, where Triton ignores some;
- compressed requests are refused (501), and responses are never compressed;
- of Triton's extensions there are those that `EXTENSIONS` names, and the index of
  ``model_repository``; the others say so (501).

Inference and the opening of models run in worker threads, so that health stays answerable. The
module needs starlette and is imported by `hybridmodel.serving.embedded` only.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hybridmodel.exceptions import ProtocolError
from hybridmodel.remote.wire.json_text import decode_object
from hybridmodel.remote.wire.protocol import (
    BINARY_EXTENSION,
    HEADER_LENGTH,
    Message,
    encode_metadata,
)
from hybridmodel.serving.bodies import Bodies
from hybridmodel.serving.gate import Gate, error
from hybridmodel.serving.inference import Asked, infer, spec_of
from hybridmodel.serving.repository import model_config

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from starlette.types import ASGIApp

    from hybridmodel.serving.catalogue import Catalogue
    from hybridmodel.serving.limits import Limits

EXTENSIONS = (BINARY_EXTENSION, "model_configuration", "statistics")

_VERSION = re.compile("[0-9]{1,18}")
_ABSENT = {
    "keeps no traces": (
        "trace/setting",
        "models/{name}/trace/setting",
        "models/{name}/versions/{version}/trace/setting",
    ),
    "has no settings of its log": ("logging",),
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
"""Paths of Triton's extensions that are not there, by what the server says of them."""


def make_app(
    models: Catalogue, executor: Executor, auth_key: str | None, host: str, limits: Limits
) -> ASGIApp:
    """Make the application.

    Parameters
    ----------
    models : Catalogue
        What to serve.
    executor : concurrent.futures.Executor
        Where models are opened and run.
    auth_key : str or None
        The bearer key that every request must carry.
    host : str
        The name that the server was told to listen to.
    limits : Limits
        How much it takes.
    """
    handlers = _Handlers(models, executor, limits)
    app = Starlette(
        routes=[*_general_routes(handlers), *_model_routes(handlers), *_absent_routes()],
        exception_handlers={HTTPException: _refuse, Exception: _fail},
    )
    app.router.redirect_slashes = False
    return Gate(app, auth_key, host)


def _route(path: str, handler: Callable[..., Any], *methods: str) -> Route:
    route = Route(path, handler)
    # Starlette adds HEAD to GET; Triton answers 405.
    route.methods = set(methods or ("GET",))
    return route


def _general_routes(handlers: _Handlers) -> list[Route]:
    return [
        _route("/v2", handlers.server),
        _route("/v2/health/live", handlers.live),
        _route("/v2/health/ready", handlers.server_ready),
        _route("/v2/models/stats", handlers.all_statistics),
        _route("/v2/repository/index", handlers.index, "POST"),
        _route("/v2/repository/models/{name}/load", handlers.control, "POST"),
        _route("/v2/repository/models/{name}/unload", handlers.control, "POST"),
    ]


def _model_routes(handlers: _Handlers) -> list[Route]:
    return [
        route
        for path in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}")
        for route in (
            _route(path, handlers.metadata),
            _route(f"{path}/ready", handlers.ready),
            _route(f"{path}/config", handlers.config),
            _route(f"{path}/stats", handlers.statistics),
            _route(f"{path}/infer", handlers.infer, "POST"),
        )
    ]


def _absent_routes() -> list[Route]:
    return [
        _route(
            f"/v2/{path}", _absent(what), *(("POST",) if "generate" in path else ("GET", "POST"))
        )
        for what, paths in _ABSENT.items()
        for path in paths
    ]


def _absent(what: str) -> Callable[..., Any]:
    async def refuse(_: Request) -> Response:
        return error(501, f"this server {what}")

    return refuse


class _Handlers:
    """One method for each kind of request."""

    def __init__(self, models: Catalogue, executor: Executor, limits: Limits) -> None:
        self._models = models
        self._executor = executor
        self._limits = limits
        self._bodies = Bodies(limits)

    async def live(self, _: Request) -> Response:
        return JSONResponse({"live": True})

    async def server_ready(self, _: Request) -> Response:
        return JSONResponse({"ready": True})

    async def server(self, _: Request) -> Response:
        return JSONResponse({"name": "hybridmodel", "version": "2", "extensions": EXTENSIONS})

    async def ready(self, request: Request) -> Response:
        _version_of(request)
        try:
            asked = self._find(request)
        except HTTPException:
            return error(400, "Model version not ready")
        return JSONResponse({"name": asked.name, "ready": True})

    async def metadata(self, request: Request) -> Response:
        asked = self._find(request)
        spec = await self._in_thread(spec_of, asked)
        one = "version" in request.path_params
        versions = [asked.version] if one else list(self._models[asked.name])
        return JSONResponse(encode_metadata(asked.name, versions, spec))

    async def config(self, request: Request) -> Response:
        asked = self._find(request)
        return JSONResponse(model_config(asked.name, await self._in_thread(spec_of, asked)))

    async def statistics(self, request: Request) -> Response:
        _version_of(request)
        try:
            asked = self._find(request)
        except HTTPException as unknown:
            # As Triton, which has 404 only for the model itself.
            return error(400, unknown.detail)
        versions = [asked.version] if "version" in request.path_params else None
        return JSONResponse({"model_stats": self._statistics(asked.name, versions)})

    async def all_statistics(self, _: Request) -> Response:
        found = [one for name in sorted(self._models) for one in self._statistics(name)]
        return JSONResponse({"model_stats": found})

    async def index(self, request: Request) -> Response:
        async with self._bodies.read(request) as body:
            try:
                decode_object(body or b"{}")
            except ProtocolError as wrong:
                return error(400, str(wrong))
        return JSONResponse(
            [
                {"name": name, "version": version, "state": "READY"}
                for name in sorted(self._models)
                for version in self._models[name]
            ]
        )

    async def control(self, _: Request) -> Response:
        return error(503, "this server has the models that it was started with; none is loaded")

    async def infer(self, request: Request) -> Response:
        asked = self._find(request)
        encoding = request.headers.get("content-encoding", "identity")
        if encoding != "identity":
            raise HTTPException(501, f"Content-Encoding {encoding[:40]!r} is not supported")
        length = request.headers.get(HEADER_LENGTH)
        try:
            async with self._bodies.read(request) as body:
                message: Message = await self._in_thread(infer, asked, body, length, self._limits)
                return Response(await self._in_thread(message.body), headers=message.headers)
        except ClientDisconnect:
            return Response()

    async def _in_thread(self, function: Any, *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._executor, function, *args)

    def _statistics(self, name: str, versions: list[str] | None = None) -> list[dict[str, Any]]:
        models = self._models[name]
        return [models[version].statistics.as_json(name, version) for version in versions or models]

    def _find(self, request: Request) -> Asked:
        name, version = request.path_params["name"], _version_of(request)
        versions = self._models.get(name)
        if versions is None:
            raise HTTPException(404, f"Request for unknown model: {name[:200]!r} is not found")
        version = version or list(versions)[-1]
        if version not in versions:
            message = f"Request for unknown model: {name!r} version {version} is not found"
            raise HTTPException(404, message)
        return Asked(name, version, versions[version])


def _version_of(request: Request) -> str | None:
    """Return the version in a path, None where none is; 404 where it can be no version."""
    version = request.path_params.get("version")
    if version is None:
        return None
    if not _VERSION.fullmatch(version):
        raise HTTPException(404, f"version {version[:40]!r} is not found")
    return str(int(version))


async def _refuse(_: Request, refused: Exception) -> Response:
    refusal = cast("HTTPException", refused)
    return error(refusal.status_code, refusal.detail, refusal.headers)


async def _fail(_: Request, __: Exception) -> Response:
    return error(500, "the server failed; its log says why")
