"""The files of endpoints that run the hybrid model itself, online or over files.

Azure's own program for MLflow models needs no script, but answers every error with 500; with the
script errors keep their status, and callers may pass params.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hybridmodel.deploy.azure import batch, bundle, online
from hybridmodel.deploy.azure.fitting import fitted
from hybridmodel.deploy.azure.limits import PENDING_PER_RUNNING
from hybridmodel.deploy.azure.records import (
    BLUE,
    COMMANDS_FILE,
    ENDPOINT_FILE,
    GREEN,
    Asset,
    BatchEndpoint,
    Endpoint,
    Program,
    deployment_file,
)
from hybridmodel.deploy.azure.wanted import Wanted
from hybridmodel.deploy.azure.wanted_batch import WantedBatch
from hybridmodel.deploy.azure.writing import (
    appearing,
    bytes_of,
    check_free,
    content_version,
    write_new,
)
from hybridmodel.deploy.layout import checked_model_name
from hybridmodel.remote.trust.permission import host_key_names
from hybridmodel.remote.trust.variables import MAX_TIMEOUT_ENV

if TYPE_CHECKING:
    from hybridmodel.remote.endpoint_base import Endpoint as Asked

MODEL, CODE, CONDA, REQUEST_FILE = "model", "code", "conda.yaml", "request.json"

_ONLINE = (
    ENDPOINT_FILE,
    deployment_file(BLUE),
    deployment_file(GREEN),
    COMMANDS_FILE,
    REQUEST_FILE,
    MODEL,
)
_SCRIPT = "score.py"
_IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:latest"
_FOR_SCRIPT = ("azureml-inference-server-http",)
_WORKERS = 4
_SHARE_OF_TIME = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Hybrid:
    """What was written; `notes` is what the user should know."""

    endpoint: Endpoint
    batch: BatchEndpoint | None
    notes: tuple[str, ...] = ()


def write(
    model_uri: str,
    folder: Path,
    wanted: Wanted,
    *,
    scripted: bool,
    model_name: str | None = None,
    wanted_batch: WantedBatch | None = None,
) -> Hybrid:
    """Write a saved model with an online endpoint, and a batch endpoint or a scoring script.

    Parameters
    ----------
    model_uri : str
        What `hybridmodel.load_model` takes, or an ONNX file, which is saved as a model.
    folder : Path
        Where to write; it may exist.
    wanted : Wanted
        The endpoint; the batch endpoint has the same name with ``-batch`` behind it.
    scripted : bool
        Whether a script of ours answers requests; otherwise Azure's own program for MLflow models
        does, and there is a batch endpoint as well.
    model_name : str, optional
        How Azure registers the model; default is the name of the endpoint.
    wanted_batch : WantedBatch, optional
        The machines of the batch endpoint.

    Raises
    ------
    ConfigurationError
        If Azure refuses a name, there is no hybrid model, it has links, or files are in the way.
    """
    asset_name = checked_model_name(model_name or wanted.endpoint)
    batch_name = None if scripted else batch.batch_name(wanted.endpoint)
    check_free(folder, (*_ONLINE, CONDA, *((CODE,) if scripted else batch.FILES)))
    with appearing(folder) as stage:
        facts = bundle.place_model(model_uri, stage / MODEL)
        asked = facts.asked
        bundle.complete(stage / MODEL)
        asset = Asset(
            name=asset_name,
            version=content_version(stage / MODEL),
            path=f"./{MODEL}",
            kind="mlflow_model",
        )
        program = _program(stage, CODE, _SCRIPT, _FOR_SCRIPT) if scripted else None
        endpoint = _endpoint(wanted, asset, program, _variables(asked, wanted), stage)
        online.write(
            stage,
            endpoint,
            "hybrid_commands.md",
            asked=asked,
            key=_key_name(asked),
            request_file=REQUEST_FILE,
        )
        write_new(stage / REQUEST_FILE, json.dumps(facts.request, ensure_ascii=False) + "\n")
        made = None
        if batch_name is not None:
            driver = _program(stage, batch.CODE, batch.DRIVER, batch.NEEDED)
            machines = wanted_batch or WantedBatch()
            made = batch.write(stage, batch_name, asset, driver, machines, wanted.instance_type)
    return Hybrid(endpoint=endpoint, batch=made, notes=_notes(asked, wanted))


def _endpoint(
    wanted: Wanted, asset: Asset, program: Program | None, variables: Mapping[str, str], stage: Path
) -> Endpoint:
    fit = fitted(
        concurrency=wanted.concurrency,
        queue_size=PENDING_PER_RUNNING * _WORKERS,
        request_timeout_s=wanted.request_timeout_s,
        model_bytes=bytes_of(stage / MODEL),
    )
    # Azure's inference server runs as many requests at a time as it has processes.
    variables = {"WORKER_COUNT": str(fit.concurrency), **variables}
    made = (
        online.deployment(name, asset, wanted, fit, program=program, variables=variables)
        for name in (BLUE, GREEN)
    )
    return online.endpoint(wanted, *made)


def _program(stage: Path, folder: str, script: str, needed: Iterable[str]) -> Program:
    """Write a script of this package, and the environment that it runs in."""
    (stage / folder).mkdir()
    shutil.copyfile(Path(__file__).with_name(script), stage / folder / script)
    bundle.carry_package(stage / folder)
    bundle.write_conda(stage / MODEL, stage / CONDA, needed)
    return Program(folder=f"./{folder}", script=script, image=_IMAGE, conda_file=f"./{CONDA}")


def _variables(asked: Asked | None, wanted: Wanted) -> Mapping[str, str]:
    """Return what the program's process needs to ask the model's endpoint in time."""
    if asked is None:
        return {}
    made = {MAX_TIMEOUT_ENV: f"{_SHARE_OF_TIME * wanted.request_timeout_s:g}"}
    name = _key_name(asked)
    if wanted.key_secret is not None and name is not None:
        made[name] = wanted.key_secret
    return made


def _key_name(asked: Asked | None) -> str | None:
    """Return the variable for the key of an endpoint."""
    if asked is None:
        return None
    return next(iter(host_key_names(asked.place)), None)


def _notes(asked: Asked | None, wanted: Wanted) -> tuple[str, ...]:
    if asked is None or wanted.key_secret is not None:
        return ()
    name = _key_name(asked) or "its variable"
    said = f"the model may ask {asked.uri}; its key, {name}, is in no file"
    return (f"{said}: COMMANDS.md says how the deployment gets it",)
