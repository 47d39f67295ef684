"""``hybridmodel inspect``: what a saved model takes and gives, and where it would ask."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from hybridmodel.cli import options

if TYPE_CHECKING:
    from hybridmodel.model import HybridOnnxModel
    from hybridmodel.remote.endpoint import TritonEndpoint
    from hybridmodel.tensors import TensorSpec


@click.command()
@options.model_uris
@options.model_config
@options.as_json
def inspect(model_uris: tuple[str, ...], config: dict[str, Any], as_json: bool) -> None:
    """Show inputs, outputs, endpoint, sha256 and defaults of models.

    Calls no endpoint and reads no key; of the key's variable it tells the name, and whether it is
    set. Makes sure that the ONNX file is the one that was saved.

    Exit status: 0 shown, 2 error.
    """
    named = [options.named_model(text) for text in model_uris]
    described = [_shown(name, uri, config, as_json) for name, uri in named]
    if as_json:
        options.echo_json(described[0] if len(described) == 1 else described)
        return
    for position, pairs in enumerate(described):
        if position:
            click.echo()
        options.echo_pairs(pairs)


def _shown(name: str | None, uri: str, config: dict[str, Any], as_json: bool) -> Any:
    with options.open_model(uri, config) as model:
        model.onnx.verify()
        called = {} if name is None else {"name": name}
        if as_json:
            return {**called, "model_uri": uri, **describe(model)}
        return [*called.items(), ("model", uri), *_pairs(model)]


def describe(model: HybridOnnxModel) -> dict[str, Any]:
    """Describe a model in JSON's types, without any secret.

    Parameters
    ----------
    model : HybridOnnxModel
        Not run.

    Raises
    ------
    ConfigurationError
        If the environment variable that chooses the route cannot be understood.
    """
    return {
        "sha256": model.onnx.sha256,
        **model.spec.to_dict(),
        "feature_names": model.feature_names,
        "endpoint": None if model.endpoint is None else _endpoint(model.endpoint),
        "defaults": {
            "route": _route(model),
            "use_azure": model.use_azure,
            "output": model.output,
            "providers": [p if isinstance(p, str) else p[0] for p in model.local.providers],
        },
    }


def _endpoint(endpoint: TritonEndpoint) -> dict[str, Any]:
    return {
        **endpoint.to_dict(),
        "model_url": endpoint.model_url,
        "auth_key_is_set": _is_set(endpoint.auth_key_env),
    }


def _is_set(name: str | None) -> bool | None:
    return None if name is None else bool(os.environ.get(name))


def _route(model: HybridOnnxModel) -> str:
    mode: str = model.choice.of().mode
    return mode


def _pairs(model: HybridOnnxModel) -> list[tuple[str, str]]:
    described = describe(model)
    defaults = described["defaults"]
    return [
        ("sha256", described["sha256"]),
        ("inputs", "\n".join(map(str, model.inputs))),
        ("outputs", "\n".join(map(_output, model.outputs))),
        ("features", ", ".join(model.feature_names or ["not known"])),
        *_endpoint_pairs(model.endpoint),
        ("route", f"{defaults['route']}, unless a call says otherwise"),
        ("output", defaults["output"] or "all, unless a call says otherwise"),
        ("providers", ", ".join(defaults["providers"])),
    ]


def _output(spec: TensorSpec) -> str:
    labels = ", ".join(map(str, spec.labels))
    return f"{spec} (classes {labels})" if labels else str(spec)


def _endpoint_pairs(endpoint: TritonEndpoint | None) -> list[tuple[str, str]]:
    if endpoint is None:
        return [("endpoint", "none")]
    name = endpoint.auth_key_env
    key = f"in {name}, which is {'set' if _is_set(name) else 'not set'}" if name else "none"
    return [
        ("endpoint", endpoint.model_url),
        ("key", key),
        ("timeout", f"{endpoint.timeout_s:g} s, {endpoint.connect_timeout_s:g} s to connect"),
    ]
