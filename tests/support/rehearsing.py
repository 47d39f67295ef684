"""Small exported folders, and requests to their rehearsal."""

from __future__ import annotations

import http.client
import json
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hybridmodel.data.tensors import ModelSpec
from hybridmodel.deploy.rehearsal.running import Rehearsal
from hybridmodel.local.onnx_file import OnnxFile
from hybridmodel.local.session import LocalSession
from hybridmodel.serving.model_config import model_config, to_text
from tests.support import models

HOST = "digits.westeurope.inference.ml.azure.com"
ROW = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 1, 1, 1]}]}
INFER = "/v2/models/digits/infer"
NAMES = ("blue", "green")


def write_repository(folder: Path, model: bytes | None = None, name: str = "digits") -> Path:
    """Write a Triton repository with one model, as an export has it; return it."""
    onnx = OnnxFile.read(models.linear() if model is None else model)
    spec: ModelSpec = LocalSession(onnx).spec
    target = folder / "models" / name
    onnx.copy_to(target / "1")
    (target / "config.pbtxt").write_text(to_text(model_config(name, spec)))
    return folder / "models"


def write_export(
    folder: Path,
    *,
    names: tuple[str, ...] = NAMES,
    auth_mode: str = "key",
    timeout_ms: int = 5000,
    concurrency: int = 4,
    instances: int = 1,
) -> Path:
    """Write an endpoint with deployments of one repository, each of a file; return the folder."""
    write_repository(folder)
    (folder / "endpoint.yml").write_text(f"name: digits-ep\nauth_mode: {auth_mode}\n")
    for name in names:
        (folder / f"{name}-deployment.yml").write_text(
            f"name: {name}\nendpoint_name: digits-ep\n"
            "model: {name: digits, version: 1, path: ./models, type: triton_model}\n"
            f"instance_type: Standard_DS3_v2\ninstance_count: {instances}\n"
            f"request_settings: {{request_timeout_ms: {timeout_ms}, "
            f"max_concurrent_requests_per_instance: {concurrency}}}\n"
        )
    return folder


@dataclass(frozen=True)
class Said:
    """What the gateway answered; names of headers in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def by(self) -> str | None:
        """The deployment that answered."""
        return self.headers.get("azureml-model-deployment")


def connect(rehearsal: Rehearsal) -> http.client.HTTPSConnection:
    """Connect, and trust the rehearsal's authority and no other."""
    context = ssl.create_default_context(cafile=str(rehearsal.authority))
    port = int(rehearsal.uri.rpartition(":")[2])
    return http.client.HTTPSConnection("localhost", port, timeout=20, context=context)


def ask(
    rehearsal: Rehearsal,
    path: str = INFER,
    body: Any = ROW,
    *,
    method: str | None = None,
    key: str | None = "",
    on: http.client.HTTPSConnection | None = None,
    **headers: str,
) -> Said:
    """Send one request; the right key goes with it unless another, or None, is given."""
    given = rehearsal.credential() if key == "" else key
    if given is not None:
        headers["Authorization"] = f"Bearer {given if isinstance(given, str) else given.token}"
    data = json.dumps(body) if isinstance(body, dict) else body
    connection = on or connect(rehearsal)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method or ("GET" if data is None else "POST"), path, data, named)
        answer = connection.getresponse()
        read = answer.read()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Said(answer.status, found, read)
    finally:
        if on is None:
            connection.close()


def expected() -> Any:
    """Return what the model makes of `ROW`."""
    session = LocalSession(models.linear())
    return session.run({"x": np.ones((1, 4), np.float32)}, ("y",))["y"]
