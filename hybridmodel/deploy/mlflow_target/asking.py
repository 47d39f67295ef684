"""Asks the model of a deployment: in the rehearsal of its folder, or at a real endpoint."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
from mlflow.deployments import PredictionsResponse

from hybridmodel.data.binding import Binding
from hybridmodel.data.tensors import WILDCARD, ModelSpec, TensorSpec
from hybridmodel.deploy.mlflow_target import records
from hybridmodel.deploy.mlflow_target.failures import in_the_way, missing
from hybridmodel.deploy.mlflow_target.finding import deployed, deployments, shared
from hybridmodel.deploy.mlflow_target.places import SCHEME, Place, Target
from hybridmodel.deploy.mlflow_target.records import Deployed
from hybridmodel.deploy.rehearsal.control import Control, is_rehearsed
from hybridmodel.exceptions import ConfigurationError, InputMismatch
from hybridmodel.remote.client import EndpointClient
from hybridmodel.remote.endpoint import TritonEndpoint

_MODEL = re.compile(r"(?P<uri>.*)/v2/models/(?P<name>[^/]+)(?:/versions/(?P<version>[^/]+))?/?")
_UNKNOWN = ModelSpec((), ())


def ask(
    target: Target, deployment: str | None, endpoint: str | None, inputs: Any
) -> PredictionsResponse:
    """Return predictions; of an endpoint, those of the deployment that its traffic chooses."""
    if deployment is None and endpoint is None:
        raise ConfigurationError("name a deployment or an endpoint")
    if inputs is None:
        raise InputMismatch("there are no inputs; pass a DataFrame, an array or a dict of arrays")
    if target.url is not None:
        return _asked(_real(target.url, deployment, endpoint), None, inputs)
    if deployment is None:
        assert endpoint is not None  # noqa: S101 - looked at above
        shared(target, endpoint)
        places = deployments(target, endpoint)
        if not places:
            raise in_the_way(f"{target.folder}/{endpoint} has no deployment that could be asked")
        return _rehearsed(places, None, inputs)
    place, _ = deployed(target, deployment, endpoint)
    return _rehearsed([place], None if place.endpoint is None else place.name, inputs)


def _rehearsed(places: Sequence[Place], pin: str | None, inputs: Any) -> PredictionsResponse:
    folder = places[0].rehearsed
    if not is_rehearsed(folder):
        raise in_the_way(
            f"{folder} is not rehearsed at the moment; start: hybridmodel rehearse {folder}, or "
            "mlflow deployments run-local"
        )
    control = Control(folder)
    seen = control.snapshot()
    running = {one["name"]: one["models"] for one in seen["deployments"]}
    if pin is not None and pin not in running:
        raise in_the_way(
            f"the rehearsal of {folder} began before {pin} was there; end it and start it again"
        )
    models = {name for one, names in running.items() if pin in (None, one) for name in names}
    asked = TritonEndpoint(
        uri=seen["uri"],
        model_name=_only(models, folder),
        model_version=None,
        deployment=pin,
        auth_key_env=None,
        ca_bundle=str(control.authority),
    )
    features = [records.read(place.record, Deployed).feature_names for place in places]
    same = features[0] if all(one == features[0] for one in features) else None
    return _asked(asked, control.credential, inputs, same)


def _only(models: Collection[str], where: Any) -> str:
    if len(models) != 1:
        raise ConfigurationError(
            f"{where} serves the models {', '.join(sorted(models))}; ask one deployment by its name"
        )
    return next(iter(models))


def _real(url: str, deployment: str | None, endpoint: str | None) -> TritonEndpoint:
    """Describe the endpoint of a target's URL, whose key the environment has."""
    parts = urlsplit(url)
    found = _MODEL.fullmatch(url.partition("?")[0])
    if found is None:
        raise ConfigurationError(
            f"the target's URL names no model; write {SCHEME}:https://HOST/v2/models/NAME, with "
            "/versions/N for one of its versions"
        )
    host = parts.hostname or ""
    if endpoint is not None and endpoint not in (host, host.partition(".")[0]):
        raise missing(f"the target is the endpoint {host.partition('.')[0]}, at {host}")
    return TritonEndpoint(
        uri=found["uri"],
        model_name=unquote(found["name"]),
        model_version=found["version"],
        deployment=deployment,
    )


def _asked(
    endpoint: TritonEndpoint, credential: Any, inputs: Any, features: list[str] | None = None
) -> PredictionsResponse:
    """Ask an endpoint that describes its model itself."""
    spec = _spec_of(endpoint, credential)
    binding = Binding(spec, features)
    bound = binding.bind(inputs)
    if bound.rows == 0:
        empty = binding.restore(binding.empty(spec.output_names), bound)
        return PredictionsResponse(predictions=plain(empty))
    client = EndpointClient(endpoint, spec, credential)
    try:
        answer = client.infer(bound.feeds, spec.output_names, rows=bound.rows)
    finally:
        client.close()
    return PredictionsResponse(
        predictions=plain(binding.restore(answer.outputs, bound)),
        model_version=answer.model_version,
        request_id=answer.request_id,
    )


def _spec_of(endpoint: TritonEndpoint, credential: Any) -> ModelSpec:
    client = EndpointClient(endpoint, _UNKNOWN, credential)
    try:
        return _with_rows(client.metadata())
    finally:
        client.close()


def _with_rows(spec: ModelSpec) -> ModelSpec:
    """Take an open first dimension for that of the rows, where all inputs have one.

    The protocol does not say which dimension counts rows.
    """
    if not all(map(_is_open, spec.inputs)):
        return spec
    inputs, outputs = (
        tuple(replace(item, batched=_is_open(item)) for item in tensors)
        for tensors in (spec.inputs, spec.outputs)
    )
    return ModelSpec(inputs, outputs)


def _is_open(spec: TensorSpec) -> bool:
    return spec.shape[:1] == (WILDCARD,)


def plain(answer: Any) -> Any:
    """Return an answer in JSON's types: a frame as records, an array as lists."""
    import pandas as pd

    if isinstance(answer, pd.DataFrame):
        named = {str(name): plain(answer[name].to_numpy()) for name in answer}
        return [dict(zip(named, row, strict=True)) for row in zip(*named.values(), strict=True)]
    if isinstance(answer, pd.Series):
        return plain(answer.to_numpy())
    if isinstance(answer, dict):
        return {name: plain(array) for name, array in answer.items()}
    if isinstance(answer, np.ndarray) and answer.dtype == object:
        return [plain(cell) for cell in answer]
    return answer.tolist() if isinstance(answer, (np.ndarray, np.generic)) else answer
