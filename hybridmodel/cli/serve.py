"""``hybridmodel serve``: the local model behind an endpoint on this machine, for demos."""

from __future__ import annotations

import json
import math
import os
import shlex
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hybridmodel.cli import options
from hybridmodel.cli.endings import Terminated, ended_by_signals
from hybridmodel.data.tensors import BY_DATATYPE, WILDCARD, TensorSpec
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.local.onnx_file import is_onnx_file

if TYPE_CHECKING:
    from hybridmodel.model import HybridOnnxModel
    from hybridmodel.remote.endpoint import TritonEndpoint

_MAX_SHOWN = 64


@click.command()
@options.model_uris
@click.option("--host", default="127.0.0.1", help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    help="Port to listen on; 0 takes a free one.",
)
@click.option(
    "--name",
    help="Name to serve a single model under; default is the model_name of its endpoint, or the "
    "name of the ONNX file.",
)
@click.option(
    "--auth-key-env",
    metavar="VAR",
    help="Name of the environment variable with the key that requests must carry; default is no "
    "key.",
)
@options.model_config
def serve(
    model_uris: tuple[str, ...],
    host: str,
    port: int,
    name: str | None,
    auth_key_env: str | None,
    config: dict[str, Any],
) -> None:
    """Serve the local ONNX files of models as endpoints, until Ctrl-C or SIGTERM.

    For demos and tests: no encryption, no batching, and one process for everything. Each model is
    an ONNX file or what the other commands take, with a name of its own as in small=small.onnx.

    Exit status: 0 ended by Ctrl-C or SIGTERM, 2 error.
    """
    from hybridmodel.serving import serve as start

    key = None if auth_key_env is None else _key(auth_key_env)
    with ExitStack() as stack, ended_well_by_signals():
        offered = _offered(stack, model_uris, name, config)
        models = {item.name: {item.version: item.model} for item in offered}
        with start(models, host, port, key) as server:
            for item in offered:
                endpoint = server.endpoint(
                    item.name, model_version=item.version, auth_key_env=auth_key_env
                )
                click.echo(_greeting(item, endpoint))
            server.wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Offered:
    """A model, its address, and its name and version at the endpoint."""

    uri: str
    name: str
    version: str
    model: HybridOnnxModel


def _offered(
    stack: ExitStack, given: tuple[str, ...], name: str | None, config: dict[str, Any]
) -> list[_Offered]:
    if name is not None and len(given) > 1:
        raise ConfigurationError("--name names a single model; write NAME=MODEL_URI for several")
    offered: list[_Offered] = []
    for text in given:
        own, uri = options.named_model(text)
        model = stack.enter_context(options.open_model(uri, config))
        plain, version = _known_name(model, uri)
        called = name or own or plain
        taken = next((item.uri for item in offered if item.name == called), None)
        if taken is not None:
            raise ConfigurationError(
                f"{uri}: the name {called!r} is taken by {taken}; choose another with NAME={uri}"
            )
        offered.append(_Offered(uri=uri, name=called, version=version, model=model))
    return offered


def _known_name(model: HybridOnnxModel, uri: str) -> tuple[str, str]:
    """Return the name and version at the model's own endpoint; without one, of the file."""
    if model.endpoint is None:
        return Path(uri).stem if is_onnx_file(uri) else "model", "1"
    return model.endpoint.served_name, model.endpoint.served_version or "1"


def _key(name: str) -> str:
    key = os.environ.get(name)
    if not key:
        # The user may have passed the key itself.
        shown = name if name.isidentifier() and len(name) <= 32 else "the one given"
        raise ConfigurationError(f"--auth-key-env: the environment variable {shown} is not set")
    return key


@contextmanager
def ended_well_by_signals() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM count as a good end."""
    try:
        with suppress(KeyboardInterrupt), ended_by_signals():
            yield
    except Terminated as ending:
        if ending.number != signal.SIGTERM:
            raise


def _greeting(item: _Offered, endpoint: TritonEndpoint) -> str:
    names = ("uri", "model_name", "model_version", "auth_key_env")
    settings = [f"{name}={getattr(endpoint, name) or ''}" for name in names]
    words = [f"--model-config {shlex.quote(setting)}" for setting in settings]
    return (
        f"serving {endpoint.model_url} for demos; Ctrl-C ends it\n"
        f"  {_curl(item.model, endpoint)}\n"
        f"  hybridmodel ping {shlex.quote(item.uri)} {' '.join(words)}"
    )


def _curl(model: HybridOnnxModel, endpoint: TritonEndpoint) -> str:
    name = endpoint.auth_key_env
    head = "curl -s" if name is None else f'curl -s -H "Authorization: Bearer ${name}"'
    examples = [_example(spec) for spec in model.inputs]
    if None in examples:
        return f"{head} {endpoint.model_url}"
    body = json.dumps({"inputs": examples})
    return f"{head} {endpoint.model_url}/infer -d {shlex.quote(body)}"


def _example(spec: TensorSpec) -> dict[str, Any] | None:
    """Return one row of an input; None where that is too long to show or has no form in JSON."""
    shape = [1 if size == WILDCARD else size for size in spec.shape]
    if math.prod(shape) > _MAX_SHOWN or not BY_DATATYPE[spec.datatype].in_json:
        return None
    value: Any = {"BYTES": "text", "BOOL": False}.get(spec.datatype, 0)
    data = [value] * math.prod(shape)
    return {"name": spec.name, "datatype": spec.datatype, "shape": shape, "data": data}
