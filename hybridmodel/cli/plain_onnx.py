"""Opens an ONNX file as a model, with settings from the command line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hybridmodel.exceptions import ConfigurationError
from hybridmodel.flavor.artifact import CONFIG_KEYS, ENDPOINT_DEFAULTS
from hybridmodel.local.session import LocalSession
from hybridmodel.model import HybridOnnxModel
from hybridmodel.remote.embeddings.endpoint import EmbeddingsEndpoint
from hybridmodel.remote.endpoint import TritonEndpoint
from hybridmodel.remote.endpoint_base import Endpoint


def open_onnx(
    path: Path, config: Mapping[str, Any], local: LocalSession | None = None
) -> HybridOnnxModel:
    """Open an ONNX file with the settings that a saved model would be loaded with.

    Without ``model_name``, the file's name without its ending is the model's name at the endpoint.
    `local` is what is known of the file, which is then not opened.
    """
    for key in config:
        if key not in CONFIG_KEYS:
            # The value is not shown: it may be a key.
            raise ConfigurationError(
                f"model_config has no key {key!r}; available: {', '.join(CONFIG_KEYS)}"
            )
    model = HybridOnnxModel(
        local or path,
        endpoint=_endpoint(path, config),
        output=config.get("output"),
        providers=config.get("providers"),
    )
    model.policies.configure(config.get("use_azure"), config.get("mode"))
    return model


def _endpoint(path: Path, config: Mapping[str, Any]) -> Endpoint | None:
    is_embeddings = config.get("model") is not None
    keys = EmbeddingsEndpoint.field_names() if is_embeddings else ENDPOINT_DEFAULTS
    settings = {key: config[key] for key in keys if key in config}
    if settings.get("uri") is settings.get("model_name") is None and not is_embeddings:
        return None
    if settings.get("uri") is None:
        raise ConfigurationError("an endpoint needs its address: --model-config uri=https://...")
    if is_embeddings:
        return EmbeddingsEndpoint(**settings)
    return TritonEndpoint(**{"model_name": path.stem, **settings})
