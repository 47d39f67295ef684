"""A hybrid model as files: the ONNX model byte for byte, and `hybrid.json` beside it.

``hybrid.json`` holds plain data and no secret, and loading runs no code from the folder. Its
``schema_version`` rises only when an older release could not read the file rightly; new optional
keys do not raise it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hybridmodel.exceptions import ConfigurationError
from hybridmodel.local import LocalSession
from hybridmodel.model import HybridOnnxModel
from hybridmodel.onnx_file import OnnxFile
from hybridmodel.remote.endpoint import TritonEndpoint
from hybridmodel.routing import parse_use_azure
from hybridmodel.tensors import ModelSpec

SCHEMA_VERSION = 1
METADATA_FILE = "hybrid.json"
MODEL_FILE = "model.onnx"

ENDPOINT_KEYS = tuple(item.name for item in fields(TritonEndpoint))
CONFIG_KEYS = ("use_azure", "output", "providers", *ENDPOINT_KEYS)
"""What ``model_config`` may change when a model is loaded."""


def package_version() -> str:
    """Return the installed version of hybridmodel."""
    try:
        return version("hybridmodel")
    except PackageNotFoundError:
        return "0+unknown"


def write(model: HybridOnnxModel, folder: Path, feature_names: list[str] | None = None) -> None:
    """Write a model into a folder.

    Parameters
    ----------
    model : HybridOnnxModel
        Its credential is not written.
    folder : Path
        Made when it is not there.
    feature_names : list of str, optional
        Stored where the model itself knows none.

    Raises
    ------
    ConfigurationError
        If its session options cannot be written down.
    """
    model.onnx.copy_to(folder, MODEL_FILE)
    stored = {
        "schema_version": SCHEMA_VERSION,
        "written_by": package_version(),
        "model": {
            "file": MODEL_FILE,
            "sha256": model.onnx.sha256,
            "external_files": model.onnx.external_sizes(),
            **model.spec.to_dict(),
        },
        "feature_names": model.feature_names or feature_names,
        "output": model.output,
        "use_azure": model.use_azure,
        "endpoint": None if model.endpoint is None else model.endpoint.to_dict(),
        "session": _session_settings(model.local),
    }
    (folder / METADATA_FILE).write_text(json.dumps(stored, indent=2) + "\n", encoding="utf-8")


def read(
    folder: Path, *, credential: Any = None, config: Mapping[str, Any] | None = None
) -> HybridOnnxModel:
    """Read a model that `write` wrote.

    Parameters
    ----------
    folder : Path
        Holds ``hybrid.json``.
    credential : object with ``get_token`` or callable, optional
        As `HybridOnnxModel` takes it.
    config : mapping, optional
        Values for some of `CONFIG_KEYS`, which count more than what is stored.

    Raises
    ------
    ConfigurationError
        If a file is missing, damaged or of a later major version, or `config` has an unknown key.
    """
    stored = _read_metadata(folder / METADATA_FILE)
    config = _checked_config(config)
    try:
        described, session = stored["model"], dict(stored["session"])
        onnx = _read_onnx(folder, described)
        spec = ModelSpec.from_dict(described)
        if config.get("providers") is not None:
            session.update(providers=config["providers"], provider_options=None)
        model = HybridOnnxModel(
            LocalSession(onnx, spec=spec, **session),
            endpoint=_endpoint(stored["endpoint"], config),
            credential=credential,
            feature_names=stored["feature_names"],
            output=config["output"] if config.get("output") else stored["output"],
            use_azure=stored["use_azure"],
        )
    except (KeyError, TypeError) as error:
        raise ConfigurationError(
            f"{folder / METADATA_FILE}: not as hybridmodel writes it: {error!r}"
        ) from error
    model.configured_use_azure = config.get("use_azure")
    return model


def config_of(model: HybridOnnxModel) -> dict[str, Any]:
    """Return every key that may be changed at load, with what the model holds for it.

    ``use_azure`` is None, "not said", so that the environment still counts.
    """
    endpoint = model.endpoint.to_dict() if model.endpoint else dict.fromkeys(ENDPOINT_KEYS)
    config = {"use_azure": None, "output": model.output, "providers": None}
    return config | endpoint


def _read_metadata(path: Path) -> dict[str, Any]:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"{path.parent}: holds no {METADATA_FILE}, so it is no hybrid model"
        ) from error
    except ValueError as error:
        raise ConfigurationError(f"{path}: is damaged: {error}") from error
    found = stored.get("schema_version") if isinstance(stored, dict) else None
    if not isinstance(found, int) or found < 1:
        raise ConfigurationError(f"{path}: is damaged: its schema_version is {found!r}")
    if found > SCHEMA_VERSION:
        raise ConfigurationError(
            f"{path}: has schema_version {found}, this hybridmodel {package_version()} reads up to "
            f"{SCHEMA_VERSION}; install hybridmodel>={stored.get('written_by', 'a later version')}"
        )
    return stored


def _read_onnx(folder: Path, described: Mapping[str, Any]) -> OnnxFile:
    path = folder / described["file"]
    onnx = OnnxFile.stored(path, tuple(described["external_files"]))
    if onnx.sha256 != described["sha256"]:
        raise ConfigurationError(
            f"{path}: is not the file that was saved: its sha256 is {onnx.sha256}, "
            f"{described['sha256']} was expected"
        )
    for name, size in onnx.external_sizes().items():
        if size != described["external_files"][name]:
            raise ConfigurationError(
                f"{folder / name}: has {size} bytes, {described['external_files'][name]} were saved"
            )
    return onnx


def _checked_config(config: Mapping[str, Any] | None) -> dict[str, Any]:
    checked = dict(config or {})
    for key in checked:
        if key not in CONFIG_KEYS:
            # The value is not shown: people put keys here.
            raise ConfigurationError(
                f"model_config has no key {key!r}; it has {', '.join(CONFIG_KEYS)}"
            )
    checked["use_azure"] = parse_use_azure(checked.get("use_azure"), "model_config['use_azure']")
    return checked


def _endpoint(
    stored: Mapping[str, Any] | None, config: Mapping[str, Any]
) -> TritonEndpoint | None:
    changes = {key: config[key] for key in ENDPOINT_KEYS if key in config}
    if stored is not None:
        return TritonEndpoint.from_dict(stored).with_overrides(**changes)
    if changes.get("uri") is None:
        return None
    given = {key: value for key, value in changes.items() if value is not None}
    return TritonEndpoint.from_dict(given)


def _session_settings(local: LocalSession) -> dict[str, Any]:
    settings = {
        "providers": [p if isinstance(p, str) else list(p) for p in local.providers],
        "provider_options": local.provider_options,
        "session_options": local.session_options,
    }
    try:
        settings = json.loads(json.dumps(settings, default=_by_name))
    except TypeError as error:
        raise ConfigurationError(f"the session options cannot be saved: {error}") from error
    return settings


def _by_name(value: Any) -> str:
    members = getattr(type(value), "__members__", None)
    if members is None:
        raise TypeError(f"give {type(value).__name__} as a dict of numbers and strings")
    return str(value.name)
