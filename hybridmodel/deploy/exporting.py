"""Writes the Triton repository of a model."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hybridmodel.data.tensors import TensorSpec
from hybridmodel.deploy.naming import checked_model_name, checked_version
from hybridmodel.local.onnx_file import is_onnx_file
from hybridmodel.serving.model_config import Running, model_config, to_text

if TYPE_CHECKING:
    from hybridmodel.model import HybridOnnxModel

REPOSITORY = "models"
"""The folder of the repository in an export, by the name that Azure's documents use."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What `export` wrote.

    Attributes
    ----------
    folder : Path
        The folder given.
    repository : Path
        The folder that Triton serves, and that Azure's ``model.path`` names: ``models`` in it.
    model_name, model_version : str
        As the repository and the URL have them.
    inputs, outputs : tuple of TensorSpec
        The tensors that the endpoint will have.
    max_batch_size : int
        Most rows of a request; 0 where Triton does not count rows.
    queue_size : int
        Requests that may wait at an instance.
    notes : tuple of str
        What the user should know: what was changed or left out, and why.
    """

    folder: Path
    repository: Path
    model_name: str
    model_version: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    max_batch_size: int
    queue_size: int
    notes: tuple[str, ...] = ()


def export(
    model: HybridOnnxModel | str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    model_name: str | None = None,
    model_version: int | str | None = None,
) -> Exported:
    """Write the Triton repository of a model into a folder."""
    if isinstance(model, (str, os.PathLike)):
        with _opened(model) as opened:
            return export(opened, folder, model_name=model_name, model_version=model_version)
    name = checked_model_name(model_name or _known_name(model))
    version = checked_version(model_version or _known_version(model))
    root = Path(folder)
    running = Running()
    target = root / REPOSITORY / name
    model.onnx.copy_to(target / version)
    config = model_config(name, model.spec, running=running)
    (target / "config.pbtxt").write_text(to_text(config), encoding="utf-8")
    return Exported(
        folder=root,
        repository=root / REPOSITORY,
        model_name=name,
        model_version=version,
        inputs=model.inputs,
        outputs=model.outputs,
        max_batch_size=0,
        queue_size=running.queue_size,
    )


def _opened(uri: str | os.PathLike[str]) -> HybridOnnxModel:
    from hybridmodel.flavor import read_model
    from hybridmodel.model import HybridOnnxModel

    if is_onnx_file(uri):
        return HybridOnnxModel(uri)
    return read_model(uri, look_only=True)


def _known_name(model: HybridOnnxModel) -> Any:
    if model.endpoint is not None:
        return model.endpoint.model_name
    return model.onnx.path.stem if model.onnx.path else "model"


def _known_version(model: HybridOnnxModel) -> Any:
    return (model.endpoint and model.endpoint.model_version) or "1"
