"""What tests of trust share: saved models as another process finds them, and what they send."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from hybridmodel import (
    AuthenticationFailed,
    ConfigurationError,
    EndpointRefused,
    HybridOnnxModel,
    save_model,
)
from hybridmodel.remote.endpoint import FIELDS
from hybridmodel.remote.http.connection import HttpRequest
from hybridmodel.remote.http.transport import PooledTransport
from hybridmodel.remote.trust import origin
from tests.support import models

X = np.ones((2, 4), np.float32)
HOST = "digits.westeurope.inference.ml.azure.com"
EVIL = "evil.example"
KEY = "canary-8d1f0a77c3"
HOST_KEY = "HYBRIDMODEL_KEY_digits_westeurope_inference_ml_azure_com"

STORED: Mapping[str, Any] = {
    "uri": f"https://{HOST}",
    "model_name": "digits",
    "auth_key_env": "DIGITS_API_KEY",
    "binary": True,
    "max_attempts": 1,
}


class Wire:
    """Stands for the network: notes what would be sent, and refuses it, or each key in turn."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str | None]] = []
        self.unauthorized = False
        self.between: Any = None

    @property
    def keys(self) -> list[str | None]:
        """The keys that were sent."""
        return [key for _, key in self.sent]

    def send(self, request: HttpRequest) -> Any:
        """Note a request; stands for `PooledTransport.send`."""
        authorization = request.headers.get("Authorization")
        key = None if authorization is None else authorization.removeprefix("Bearer ")
        self.sent.append((request.url, key))
        if self.between is not None:
            self.between()
        if self.unauthorized:
            error = AuthenticationFailed("answered 401")
            error.status = 401
            raise error
        raise EndpointRefused("answered 400")


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    """Put `Wire` in the network's place."""
    wire = Wire()
    monkeypatch.setattr(PooledTransport, "send", lambda _, request: wire.send(request))
    return wire


@contextmanager
def nothing_paired() -> Iterator[None]:
    """Forget what the program has paired, as another process would not know it."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(origin, "_paired", set())
        patched.setattr(origin, "_trusted", set())
        yield


@pytest.fixture
def another_process() -> Iterator[None]:
    """Forget what the program has paired until the end of the test."""
    with nothing_paired():
        yield


def stored(folder: Path, endpoint: Mapping[str, Any] | None = None, **changes: Any) -> Path:
    """Save a model, and write into its ``hybrid.json`` whatever somebody likes."""
    save_model(HybridOnnxModel(models.linear()), folder / "model", signature="params")
    path = folder / "model" / "data" / "hybrid_onnx" / "hybrid.json"
    found = json.loads(path.read_text())
    found["endpoint"] = {**STORED, **(endpoint or {})}
    if "use_azure" in changes or "routing" in changes:
        found.update(use_azure=None, routing=None)
    path.write_text(json.dumps({**found, **changes}))
    configured = {name: found["endpoint"][name] for name in FIELDS if name in found["endpoint"]}
    return tampered(folder / "model", **configured)


def tampered(folder: Path, **config: Any) -> Path:
    """Write into the ``model_config`` that MLflow merges into what a loader gets."""
    path = folder / "MLmodel"
    found = yaml.safe_load(path.read_text())
    found["flavors"]["python_function"]["config"].update(config)
    path.write_text(yaml.safe_dump(found))
    return folder


def ask(model: Any, **call: Any) -> None:
    """Ask the endpoint, which never answers well; raises only what keeps it from being asked."""
    with suppress(EndpointRefused, AuthenticationFailed):
        model.predict(X, **(call or {"use_azure": True}))


def line_of(error: pytest.ExceptionInfo[ConfigurationError]) -> str:
    """Return the line that an error tells to paste."""
    text = str(error.value)
    start = text.index("export HYBRIDMODEL_ALLOW=")
    return text[start : text.index('"', text.index('"', start) + 1) + 1]
