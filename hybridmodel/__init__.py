"""One MLflow model that answers from a local ONNX file or from a Triton endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hybridmodel.answer import Answer
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
from hybridmodel.model import HybridOnnxModel
from hybridmodel.remote.endpoint import TritonEndpoint
from hybridmodel.tensors import ModelSpec, TensorSpec

if TYPE_CHECKING:
    from hybridmodel.flavor import load_model, log_model, save_model

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
    if name in ("load_model", "log_model", "save_model"):
        from hybridmodel import flavor

        return getattr(flavor, name)
    if name == "__version__":
        from importlib.metadata import version

        return version("hybridmodel")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
