"""One MLflow model that answers from a local ONNX file or from a Triton endpoint."""

from __future__ import annotations

from typing import Any

from hybridmodel.exceptions import (
    AuthenticationFailed,
    CircuitOpen,
    ConfigurationError,
    EndpointError,
    EndpointRefused,
    EndpointTimeout,
    EndpointUnavailable,
    HybridModelError,
    InputMismatch,
    MissingDependency,
    ProtocolError,
    RateLimited,
    SpecMismatch,
)
from hybridmodel.flavor import load_model, log_model, save_model
from hybridmodel.model import Answer, HybridOnnxModel
from hybridmodel.remote.endpoint import TritonEndpoint
from hybridmodel.tensors import ModelSpec, TensorSpec

__all__ = [
    "Answer",
    "AuthenticationFailed",
    "CircuitOpen",
    "ConfigurationError",
    "EndpointError",
    "EndpointRefused",
    "EndpointTimeout",
    "EndpointUnavailable",
    "HybridModelError",
    "HybridOnnxModel",
    "InputMismatch",
    "MissingDependency",
    "ModelSpec",
    "ProtocolError",
    "RateLimited",
    "SpecMismatch",
    "TensorSpec",
    "TritonEndpoint",
    "load_model",
    "log_model",
    "save_model",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("hybridmodel")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
