"""Makes deployments and endpoints: each appears complete or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hybridmodel.deploy.azure import documents, write_hybrid
from hybridmodel.deploy.azure.online import endpoint
from hybridmodel.deploy.azure.records import ENDPOINT_FILE
from hybridmodel.deploy.azure.triton import deployment_of
from hybridmodel.deploy.azure.writing import write_yaml
from hybridmodel.deploy.exporting import Exported, export
from hybridmodel.deploy.mlflow_target import records, settings
from hybridmodel.deploy.mlflow_target.failures import existing
from hybridmodel.deploy.mlflow_target.places import ENDPOINT, Place, Target, endpoint_folder
from hybridmodel.deploy.mlflow_target.records import Deployed, Shared
from hybridmodel.deploy.mlflow_target.swapping import put
from hybridmodel.deploy.placing import staged
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.flavor import read_model
from hybridmodel.local.onnx_file import is_onnx_file

FLAVORS = ("hybrid_onnx", "onnx")
_ABOUT = "Written by `mlflow deployments`; `hybridmodel check` finds mistakes in changed files."


def make_endpoint(target: Target, name: str, config: Mapping[str, Any]) -> Shared:
    """Make an endpoint without deployments."""
    folder = endpoint_folder(target, name)
    check_free(folder)
    made = Shared(name=name, config=dict(config))
    base = target.local()
    with staged(base) as stage:
        _write_endpoint(stage / name, made)
        put(stage, base, [Path(name)])
    return made


def make_deployment(
    place: Place, model_uri: str, config: dict[str, Any], *, replaces: bool = False
) -> Deployed:
    """Make a deployment, or replace one; in its endpoint, or by itself."""
    settings.check_group(config)
    if place.endpoint is None:
        settings.check_alone(config)
    with staged(place.base) as stage:
        made = _build(place, stage, model_uri, config)
        if not replaces:
            # Once more: others may have made it in the meantime.
            check_free(place.folder, place.document)
        put(stage, place.base, [Path(path.name) for path in sorted(stage.iterdir())])
    return made


def make_both(target: Target, place: Place, model_uri: str, config: dict[str, Any]) -> Deployed:
    """Make an endpoint and its first deployment at once."""
    settings.check_group(config)
    own = {key: config.pop(key) for key in settings.OF_ENDPOINT if key in config}
    base = target.local()
    with staged(base) as stage:
        inner = stage / place.base.name
        _write_endpoint(inner, Shared(name=place.base.name, config=own))
        made = _build(replace(place, base=inner), inner, model_uri, config)
        put(stage, base, [Path(inner.name)])
    return made


def check_free(*paths: Path | None) -> None:
    """Raise unless nothing is in the way of a new deployment or endpoint."""
    for path in paths:
        if path is not None and os.path.lexists(path):
            raise existing(f"{path} exists already; delete it, or choose another name")


def _write_endpoint(folder: Path, record: Shared) -> None:
    described = endpoint(settings.wanted(record.name, record.config))
    folder.mkdir()
    write_yaml(folder / ENDPOINT_FILE, documents.endpoint(described), _ABOUT)
    records.write(folder / ENDPOINT, record)


def _build(place: Place, stage: Path, model_uri: str, config: dict[str, Any]) -> Deployed:
    """Write the files of a deployment into an empty folder, or beside its new endpoint."""
    inner = replace(place, base=stage)
    hybrid = next((key for key in settings.HYBRID if key in config), None)
    features = None
    if hybrid is not None:
        _write_hybrid(inner, hybrid, model_uri, config)
    else:
        features, exported = _export(model_uri, inner.folder, config)
        settings.write_service(exported, config)
        _write_document(place, inner, exported, config)
    made = Deployed(
        name=place.name,
        model_uri=records.kept_uri(model_uri),
        flavor="onnx" if is_onnx_file(model_uri) else "hybrid_onnx",
        config=config,
        feature_names=features,
        files=records.files_in(inner.folder),
    )
    records.write(inner.record, made)
    return made


def _write_hybrid(inner: Place, kind: str, model_uri: str, config: Mapping[str, Any]) -> None:
    if inner.endpoint is not None:
        raise ConfigurationError(
            f"{kind} makes an endpoint of its own with its deployments, so it is not created in one"
        )
    made = settings.wanted(config[kind], config)
    scripted, name = kind == "azure_script", config.get("model_name")
    write_hybrid(model_uri, inner.folder, made, scripted=scripted, model_name=name)


def _write_document(
    place: Place, inner: Place, exported: Exported, config: Mapping[str, Any]
) -> None:
    """Describe a deployment of an endpoint for Azure, in the file beside its folder."""
    if place.endpoint is None or inner.document is None:
        return
    shared = records.read(place.base / ENDPOINT, Shared)
    made = settings.wanted(shared.name, {**config, **shared.config})
    described = deployment_of(place.name, exported, inner.base, None, made)
    write_yaml(inner.document, documents.deployment(described, endpoint(made)), _ABOUT)


def _export(
    model_uri: str, folder: Path, config: Mapping[str, Any]
) -> tuple[list[str] | None, Exported]:
    """Export a model; return the names of its features as well, which the export does not keep."""
    options = settings.export_options(config)
    if is_onnx_file(model_uri):
        return None, export(model_uri, folder, **options)
    with read_model(model_uri, look_only=True) as model:
        return model.feature_names, export(model, folder, **options)
