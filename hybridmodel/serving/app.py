"""The Open Inference Protocol v2 as an ASGI application: routes, checks and status codes.

Everything that a client can see follows Triton, except that

- what is wrong with a request is 400 throughout, also where Triton answers 500 because it could
  not parse a value;
- compressed requests are refused (501), and responses are never compressed;
- of Triton's extensions there are ``binary_tensor_data`` and ``model_configuration`` only.

Inference and the opening of models run in worker threads, so that health stays answerable. The
module needs starlette and is imported by `hybridmodel.serving.embedded` only.
"""

from __future__ import annotations

import asyncio
import hmac
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hybridmodel.exceptions import ConfigurationError, ProtocolError
from hybridmodel.remote.protocol import (
    BINARY_EXTENSION,
    HEADER_LENGTH,
    InferRequest,
    Message,
    decode_request,
    encode_metadata,
    encode_response,
    split_body,
)
from hybridmodel.serving.repository import model_config
from hybridmodel.tensors import BY_DTYPE, ModelSpec, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Executor

    from starlette.types import ASGIApp, Receive, Scope, Send

    from hybridmodel.serving.catalogue import Catalogue, ServedModel

Array = np.ndarray[Any, Any]

EXTENSIONS = (BINARY_EXTENSION, "model_configuration")


def make_app(models: Catalogue, executor: Executor, auth_key: str | None = None) -> ASGIApp:
    """Make the application.

    Parameters
    ----------
    models : Catalogue
        What to serve.
    executor : concurrent.futures.Executor
        Where models are opened and run.
    auth_key : str, optional
        The bearer key that every request must carry.
    """
    handlers = _Handlers(models, executor)
    routes = [
        Route("/v2", handlers.server),
        Route("/v2/health/live", handlers.health),
        Route("/v2/health/ready", handlers.health),
    ]
    for path in ("/v2/models/{name}", "/v2/models/{name}/versions/{version:int}"):
        routes += [
            Route(path, handlers.metadata),
            Route(f"{path}/ready", handlers.ready),
            Route(f"{path}/config", handlers.config),
            Route(f"{path}/infer", handlers.infer, methods=["POST"]),
        ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _refuse})
    app.router.redirect_slashes = False
    return _Gate(app, auth_key)


class _Gate:
    """Lets requests with the right key through, and leaves their paths undecoded, as Triton."""

    def __init__(self, app: ASGIApp, auth_key: str | None) -> None:
        self._app = app
        self._expected = None if auth_key is None else f"Bearer {auth_key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = dict(scope["headers"]).get(b"authorization", b"")
        if self._expected is not None and not hmac.compare_digest(given, self._expected):
            refusal = _error(401, "a valid key is missing", {"WWW-Authenticate": "Bearer"})
            await refusal(scope, receive, send)
            return
        await self._app({**scope, "path": scope["raw_path"].decode("latin-1")}, receive, send)


class _Handlers:
    """One method for each kind of request."""

    def __init__(self, models: Catalogue, executor: Executor) -> None:
        self._models = models
        self._executor = executor

    async def health(self, _: Request) -> Response:
        return Response(media_type="text/plain")

    async def server(self, _: Request) -> Response:
        return JSONResponse({"name": "hybridmodel", "version": "2", "extensions": EXTENSIONS})

    async def ready(self, request: Request) -> Response:
        try:
            self._find(request)
        except HTTPException:
            return _error(400, "Model version not ready")
        return Response(media_type="text/plain")

    async def metadata(self, request: Request) -> Response:
        name, version, model = self._find(request)
        spec = await self._in_thread(_spec, model)
        versions = [version] if "version" in request.path_params else list(self._models[name])
        return JSONResponse(encode_metadata(name, versions, spec))

    async def config(self, request: Request) -> Response:
        name, _, model = self._find(request)
        return JSONResponse(model_config(name, await self._in_thread(_spec, model)))

    async def infer(self, request: Request) -> Response:
        name, version, model = self._find(request)
        encoding = request.headers.get("content-encoding", "identity")
        if encoding != "identity":
            raise HTTPException(501, f"Content-Encoding {encoding!r} is not supported")
        body = bytearray()
        try:
            async for chunk in request.stream():
                body += chunk
        except ClientDisconnect:
            return Response()
        length = request.headers.get(HEADER_LENGTH)
        message: Message = await self._in_thread(_infer, name, version, model, body, length)
        return Response(await self._in_thread(message.body), headers=message.headers)

    async def _in_thread(self, function: Any, *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._executor, function, *args)

    def _find(self, request: Request) -> tuple[str, str, ServedModel]:
        name = request.path_params["name"]
        versions: Mapping[str, ServedModel] = self._models.get(name, {})
        if not versions:
            raise HTTPException(404, f"Request for unknown model: {name!r} is not found")
        version = str(request.path_params.get("version", list(versions)[-1]))
        if version not in versions:
            message = f"Request for unknown model: {name!r} version {version} is not found"
            raise HTTPException(404, message)
        return name, version, versions[version]


async def _refuse(_: Request, error: Exception) -> Response:
    refusal = cast("HTTPException", error)
    return _error(refusal.status_code, refusal.detail, refusal.headers)


def _error(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"error": message}, status, headers)


def _spec(model: ServedModel) -> ModelSpec:
    try:
        return model.spec
    except ConfigurationError as error:
        raise HTTPException(500, str(error)) from error


def _infer(
    name: str, version: str, model: ServedModel, body: bytearray, header_length: str | None
) -> Message:
    try:
        request = decode_request(*split_body(body, header_length))
    except ProtocolError as error:
        raise HTTPException(400, str(error)) from error
    spec = _spec(model)
    _check_inputs(name, spec, request.inputs)
    binary = _wanted(name, spec, request)
    try:
        outputs = model.session.run(request.inputs, list(binary))
    except Exception as error:
        # The request fits the model's declaration, so that what failed is the model.
        raise HTTPException(500, f"model {name!r} failed: {error}") from error
    return encode_response(
        outputs, binary, model_name=name, model_version=version, request_id=request.request_id
    )


def _check_inputs(name: str, spec: ModelSpec, inputs: Mapping[str, Array]) -> None:
    for unknown in inputs.keys() - set(spec.input_names):
        raise HTTPException(400, f"unexpected inference input {unknown!r} for model {name!r}")
    for item in spec.inputs:
        if item.name not in inputs:
            raise HTTPException(
                400,
                f"expected {len(spec.inputs)} inputs but got {len(inputs)} inputs for model "
                f"{name!r}: {item.name!r} is missing",
            )
        _check_input(name, item, inputs[item.name])


def _check_input(name: str, spec: TensorSpec, array: Array) -> None:
    if array.dtype != spec.dtype:
        raise HTTPException(
            400,
            f"inference input {spec.name!r} data-type is {BY_DTYPE[array.dtype].datatype!r}, but "
            f"model {name!r} expects {spec.datatype!r}",
        )
    if not spec.fits(array.shape):
        raise HTTPException(
            400,
            f"unexpected shape for input {spec.name!r} for model {name!r}. Expected "
            f"{list(spec.shape)}, got {list(array.shape)}",
        )


def _wanted(name: str, spec: ModelSpec, request: InferRequest) -> dict[str, bool]:
    """Return the outputs to compute in the model's order, and whether each goes out binary."""
    for asked in request.outputs:
        if asked not in spec.output_names:
            raise HTTPException(400, f"unexpected inference output {asked!r} for model {name!r}")
    wanted = request.outputs or dict.fromkeys(spec.output_names, request.binary)
    for output, binary in wanted.items():
        if not binary and spec.output(output).dtype == np.float16:
            raise HTTPException(
                400,
                f"output {output!r} is FP16, which JSON cannot carry; ask for it as binary_data",
            )
    return {output: wanted[output] for output in spec.output_names if output in wanted}
