"""``hybridmodel serve``: the local model behind an endpoint on this machine, for demos."""

from __future__ import annotations

import json
import math
import os
import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from hybridmodel.cli import options
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.tensors import WILDCARD, TensorSpec

if TYPE_CHECKING:
    from hybridmodel.model import HybridOnnxModel
    from hybridmodel.remote.endpoint import TritonEndpoint

_MAX_SHOWN = 64


@click.command()
@options.model_uri
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="Port to listen on; 0 takes a free one.",
)
@click.option(
    "--name", help="Name to serve the model under; default is the model_name of its endpoint."
)
@click.option(
    "--auth-key-env",
    metavar="VAR",
    help="Name of the environment variable with the key that requests must carry; default is no "
    "key.",
)
@options.model_config
def serve(
    model_uri: str,
    host: str,
    port: int,
    name: str | None,
    auth_key_env: str | None,
    config: dict[str, Any],
) -> None:
    """Serve the local ONNX file of a model as an endpoint, until Ctrl-C or SIGTERM.

    For demos and tests: no encryption, no batching, and one process for everything.

    Exit status: 0 ended by Ctrl-C or SIGTERM, 2 error.
    """
    from hybridmodel.serving import serve as start

    key = None if auth_key_env is None else _key(auth_key_env)
    with options.open_model(model_uri, config) as model, _ended_by_signals():
        name, version = _name_of(model, name)
        with start({name: {version: model}}, host, port, key) as server:
            endpoint = server.endpoint(name, model_version=version, auth_key_env=auth_key_env)
            click.echo("\n".join(_greeting(model_uri, model, endpoint)))
            server.wait()


def _key(name: str) -> str:
    key = os.environ.get(name)
    if not key:
        raise ConfigurationError(
            f"--auth-key-env names an environment variable, and {_shown(name)} is not set"
        )
    return key


def _shown(name: str) -> str:
    # Somebody may have given the key itself.
    return name if name.isidentifier() and len(name) <= 32 else "the one given"


def _name_of(model: HybridOnnxModel, name: str | None) -> tuple[str, str]:
    known = model.endpoint
    version = known.model_version if known is not None else None
    return name or (known.model_name if known is not None else "model"), version or "1"


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, and let both count as a good end."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        with suppress(KeyboardInterrupt):
            yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _greeting(model_uri: str, model: HybridOnnxModel, endpoint: TritonEndpoint) -> Iterator[str]:
    settings = {
        "uri": endpoint.uri,
        "model_name": endpoint.model_name,
        "model_version": endpoint.model_version,
        "auth_key_env": endpoint.auth_key_env or "",
    }
    words = [f"--model-config {shlex.quote(f'{key}={value}')}" for key, value in settings.items()]
    yield f"serving {endpoint.model_url} for demos; Ctrl-C ends it"
    yield f"  {_curl(model, endpoint)}"
    yield f"  hybridmodel ping {shlex.quote(model_uri)} {' '.join(words)}"


def _curl(model: HybridOnnxModel, endpoint: TritonEndpoint) -> str:
    name = endpoint.auth_key_env
    head = "curl -s" if name is None else f'curl -s -H "Authorization: Bearer ${name}"'
    if any(_size(spec) > _MAX_SHOWN or spec.datatype == "FP16" for spec in model.inputs):
        return f"{head} {endpoint.model_url}"
    body = json.dumps({"inputs": [_example(spec) for spec in model.inputs]})
    return f"{head} {endpoint.model_url}/infer -d {shlex.quote(body)}"


def _example(spec: TensorSpec) -> dict[str, Any]:
    value: Any = {"BYTES": "text", "BOOL": False}.get(spec.datatype, 0)
    return {
        "name": spec.name,
        "datatype": spec.datatype,
        "shape": _shape(spec),
        "data": [value] * _size(spec),
    }


def _shape(spec: TensorSpec) -> list[int]:
    return [1 if size == WILDCARD else size for size in spec.shape]


def _size(spec: TensorSpec) -> int:
    return math.prod(_shape(spec))
