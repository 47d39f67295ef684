"""``hybridmodel inspect``: shows inputs, outputs, endpoint and defaults of a saved model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from hybridmodel.cli import options
from hybridmodel.cli.sending import sent_to
from hybridmodel.routing import USE_AZURE_ENV

if TYPE_CHECKING:
    from hybridmodel.data.tensors import TensorSpec
    from hybridmodel.model import HybridOnnxModel
    from hybridmodel.remote.endpoint_base import Endpoint

_UNLESS = "unless a call says otherwise"


@click.command()
@options.model_uris
@options.model_config
@options.as_json
def inspect(model_uris: tuple[str, ...], config: dict[str, Any], as_json: bool) -> None:
    """Show inputs, outputs, endpoint, sha256 and defaults of models.

    Calls no endpoint and reads no key; of the key's variable it tells the name, whether it is set,
    and whether it would be sent. Makes sure that the ONNX file is the one that was saved.

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
    """Describe a model in JSON's types, without any secret and without running it."""
    is_refused = _is_refused(model)
    policy = model.policies.saved if is_refused else model.policies.for_call()
    return {
        "sha256": model.onnx.sha256,
        **model.spec.to_dict(),
        "feature_names": model.feature_names,
        "endpoint": _endpoints(model.endpoints),
        "calibration": _calibration(policy),
        "sends": [asdict(item) for endpoint in model.endpoints for item in sent_to(endpoint)],
        "defaults": {
            "route": policy.mode,
            "route_is_refused": is_refused,
            "use_azure": model.use_azure,
            "output": model.output,
            "providers": provider_names(model),
        },
    }


def _calibration(policy: Any) -> dict[str, Any] | None:
    """Return what a policy's calibration found and promised, without its curve."""
    found = getattr(policy, "calibration", None)
    if found is None:
        return None
    stored: dict[str, Any] = found.to_dict()
    del stored["curve"]
    return {**stored, "text": str(found)}


def provider_names(model: HybridOnnxModel) -> list[str]:
    """Return the names of ONNX Runtime's providers, without their options."""
    return [item if isinstance(item, str) else item[0] for item in model.local.providers]


def _endpoints(endpoints: Sequence[Endpoint]) -> Any:
    """Return one endpoint as an object, several as a list, and none as None."""
    listed = [_endpoint(endpoint) for endpoint in endpoints]
    return listed if len(listed) > 1 else next(iter(listed), None)


def _endpoint(endpoint: Endpoint) -> dict[str, Any]:
    name = endpoint.auth_key_env
    is_set = None if name is None else bool(os.environ.get(name))
    return {**endpoint.to_dict(), "model_url": endpoint.model_url, "auth_key_is_set": is_set}


def _is_refused(model: HybridOnnxModel) -> bool:
    """Tell whether a call without a route is refused because the stored route is not granted."""
    policies = model.policies
    said = policies.configured is not None or USE_AZURE_ENV in os.environ
    return policies.refused is not None and not said


def _pairs(model: HybridOnnxModel) -> list[tuple[str, str]]:
    described = describe(model)
    defaults = described["defaults"]
    return [
        ("sha256", described["sha256"]),
        ("inputs", "\n".join(map(str, model.inputs))),
        ("outputs", "\n".join(map(_output, model.outputs))),
        ("features", ", ".join(model.feature_names or ["not known"])),
        *_endpoint_pairs(model.endpoints),
        ("route", f"{defaults['route']}, {'refused, ' * defaults['route_is_refused']}{_UNLESS}"),
        *_promise_pairs(described["calibration"]),
        ("output", defaults["output"] or "all, unless a call says otherwise"),
        ("providers", ", ".join(defaults["providers"])),
    ]


def _promise_pairs(calibration: dict[str, Any] | None) -> list[tuple[str, str]]:
    if calibration is None:
        return []
    made = f"of {calibration['date'][:10]}, for {calibration['endpoint']}"
    return [("calibration", f"{made}\n{calibration['text']}")]


def _output(spec: TensorSpec) -> str:
    labels = ", ".join(map(str, spec.labels))
    return f"{spec} (classes {labels})" if labels else str(spec)


def _endpoint_pairs(endpoints: Sequence[Endpoint]) -> list[tuple[str, str]]:
    pairs = [pair for endpoint in endpoints for pair in _pairs_of(endpoint)]
    return pairs or [("endpoint", "none")]


def _pairs_of(endpoint: Endpoint) -> list[tuple[str, str]]:
    data, *secrets = sent_to(endpoint)
    return [
        ("endpoint", endpoint.model_url),
        ("data", str(data)),
        ("key", "\n".join(map(str, secrets)) or "none"),
        ("timeout", f"{endpoint.timeout_s:g} s, {endpoint.connect_timeout_s:g} s to connect"),
    ]
