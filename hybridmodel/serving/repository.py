"""Writes a model repository, the folder that Triton serves.

::

    repository/
      digits/
        config.pbtxt      names, types and shapes of inputs and outputs
        1/
          model.onnx      the model, byte for byte
          model.py        for the python backend only: runs model.onnx with onnxruntime

Source: Triton's docs/user_guide/model_repository.md.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from hybridmodel.data.tensors import ModelSpec
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.local.onnx_file import OnnxFile
from hybridmodel.serving.model_config import CONFIG_FILE, MODEL_FILE, model_config, to_text

_PYTHON_MODEL = Path(__file__).with_name("triton_model.py")
_RUNS_MODEL = "model.py"
_RUNNER = re.compile(r"^(backend|platform|default_model_filename)\s*:.*\n?", re.MULTILINE)


def write_model(
    repository: Path,
    name: str,
    versions: Mapping[str, OnnxFile],
    spec: ModelSpec,
    *,
    backend: str = "onnxruntime",
    max_batch_size: int = 0,
) -> Path:
    """Write the folder of a model whose versions all have the tensors of `spec`; return it."""
    config = model_config(name, spec, backend=backend, max_batch_size=max_batch_size)
    _check_servable(name, spec, backend)
    folder = repository / name
    for version, onnx in versions.items():
        onnx.copy_to(folder / version)
        if backend == "python":
            shutil.copyfile(_PYTHON_MODEL, folder / version / _RUNS_MODEL)
    (folder / CONFIG_FILE).write_text(to_text(config), encoding="utf-8")
    return folder


def through_python(model: Path, repository: Path) -> Path:
    """Write a model of an exported repository again, for a Triton that has no onnxruntime backend.

    The python backend then runs the same ONNX files, to which the new folder has links, under the
    same configuration. Nothing else comes along, but labels: Triton and Python would load libraries
    and modules from there. Return the new folder, which has the model's name.
    """
    folder = repository / model.name
    folder.mkdir(parents=True)
    for path in model.iterdir():
        if path.name == CONFIG_FILE or (path.suffix == ".txt" and path.is_file()):
            shutil.copyfile(path, folder / path.name)
        elif path.name.isdecimal():
            _link_version(path, folder / path.name)
    config = folder / CONFIG_FILE
    kept = _RUNNER.sub("", config.read_text(encoding="utf-8"))
    # Triton refuses a field that is given twice, so none of these can be given otherwise.
    ours = f'backend: "python"\ndefault_model_filename: "{_RUNS_MODEL}"\n'
    config.write_text(ours + kept, encoding="utf-8")
    return folder


def _link_version(version: Path, folder: Path) -> None:
    folder.mkdir()
    part = version / MODEL_FILE
    (folder / part.name).symlink_to(part.absolute())
    shutil.copyfile(_PYTHON_MODEL, folder / _RUNS_MODEL)


def _check_servable(name: str, spec: ModelSpec, backend: str) -> None:
    for item in (*spec.inputs, *spec.outputs):
        where = f"model {name!r}: {item.name!r}"
        if not item.shape:
            raise ConfigurationError(f"{where} has no dimension; Triton requires at least one")
        if item.labels and backend == "onnxruntime":
            raise ConfigurationError(
                f"{where} is a list of maps (ZipMap), which Triton's onnxruntime backend cannot "
                "serve; convert the model with zipmap=False"
            )
