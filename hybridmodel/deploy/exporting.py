"""Writes the Triton repository of a model.

::

    DIR/
      models/                     the repository, by the name that Azure's documents use
        digits/
          config.pbtxt
          labels.txt              the classes of an output, where they are known
          1/
            model.onnx            a folder of this name, where tensors are in other files
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hybridmodel.data.tensors import TensorSpec
from hybridmodel.deploy.layout import (
    REPOSITORY,
    checked_model_name,
    checked_version,
)
from hybridmodel.deploy.model_files import served, write_labels, write_model
from hybridmodel.deploy.placing import staged
from hybridmodel.deploy.planning import Plan, Wishes, check_servable, planned
from hybridmodel.deploy.skeleton import described
from hybridmodel.deploy.versions import check_place, settle
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.local.onnx_file import is_onnx_file
from hybridmodel.serving.model_config import CONFIG_FILE, model_config, to_text

if TYPE_CHECKING:
    from hybridmodel.model import HybridOnnxModel


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
        The tensors that the endpoint will have, in shapes with rows.
    max_batch_size : int
        Most rows of a request; 0 where Triton does not count rows.
    queue_size : int
        Requests that may wait; Triton refuses the next one at once, with status 503. 0 is no bound.
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


Beside = Callable[[Exported], None]
"""Writes more files into ``Exported.folder``, which is still at another place."""


def export(
    model: HybridOnnxModel | str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    model_name: str | None = None,
    model_version: int | str | None = None,
    max_batch_size: int | None = None,
    cores: int | None = None,
    instances: int | None = None,
    queue_size: int | None = None,
    queue_delay_us: int = 0,
    warm_up: bool | None = None,
    linked: bool = True,
    verify: bool = False,
    overwrite: bool = False,
    beside: Beside | None = None,
) -> Exported:
    """Write the Triton repository of a model into a folder, which appears complete or not at all.

    A folder with another version of the same model gets this one beside it, if its tensors are the
    same.

    Parameters
    ----------
    model : HybridOnnxModel, str or path
        A model, an ONNX file, or what ``load_model`` takes; its local ONNX model is exported.
    folder : path
        It must not exist, be empty, or have another version of this model.
    model_name : str, optional
        Default is the name at the model's endpoint, else that of the ONNX file, else ``model``.
    model_version : int or str, optional
        Default is the version at the model's endpoint, else 1.
    max_batch_size : int, optional
        Most rows of a request, and of several that are answered together; 0 lets a request have any
        number, and answers each alone. By default rows are joined where they were seen not to
        depend on each other, and no tensor would change its shape by it.
    cores : int, optional
        Processor cores of the server's machine, which instances and their threads then share;
        without it, one instance takes what the server gives.
    instances : int, optional
        Copies of the model; default is one for each core, or one for a model over 64 MiB.
    queue_size : int, optional
        Requests that may wait; the next one is refused at once, with status 503. Default is 64, and
        no bound for a single instance, which Triton would hold up by it.
    queue_delay_us : int, default=0
        Microseconds that a request waits for others to share a batch with it.
    warm_up : bool, optional
        Whether each instance answers zeros before the model is ready; default is unless the model
        fails on them.
    linked : bool, default=True
        Whether a file of a saved model may appear as a reflink or hard link instead of a copy.
    verify : bool, default=False
        Whether the hash of a model over 256 MiB is compared with the saved one, too.
    overwrite : bool, default=False
        Whether files of the same names are replaced; others stay.
    beside : callable, optional
        Writes more files: called with an `Exported` whose `folder` is where all is built, before
        it appears as `folder`.

    Returns
    -------
    Exported
        What was written, and notes for the user.

    Raises
    ------
    ConfigurationError
        If Triton cannot serve the model, a name or number cannot be used, the folder has other
        files, or it cannot be written. No part of the export is then left.
    """
    wishes = Wishes(
        max_batch_size=max_batch_size,
        cores=cores,
        instances=instances,
        queue_size=queue_size,
        queue_delay_us=queue_delay_us,
        warm_up=warm_up,
    )
    with ExitStack() as stack:
        if isinstance(model, (str, os.PathLike)):
            model = stack.enter_context(_opened(model))
        name = checked_model_name(_known_name(model) if model_name is None else model_name)
        version = checked_version(_known_version(model) if model_version is None else model_version)
        _check_servable(model)
        root, whole = Path(os.path.realpath(folder)), Path(REPOSITORY, name, version)
        check_place(root, whole, overwrite)
        stage = stack.enter_context(staged(root))
        plan = _write(model, stage / whole, wishes, linked=linked, verify=verify)
        exported = _exported(plan, stage, name, version)
        if beside is not None:
            beside(exported)
        notes = settle(stage, root, whole, overwrite)
    return replace(
        exported,
        folder=Path(folder),
        repository=Path(folder, REPOSITORY),
        notes=(*exported.notes, *notes),
    )


def _opened(uri: str | os.PathLike[str]) -> HybridOnnxModel:
    from hybridmodel.flavor import read_model
    from hybridmodel.model import HybridOnnxModel

    if is_onnx_file(uri):
        return HybridOnnxModel(described(Path(uri)) or uri)
    return read_model(uri, look_only=True)


def _known_name(model: HybridOnnxModel) -> Any:
    if model.endpoint is not None:
        return model.endpoint.served_name
    return model.onnx.path.stem if model.onnx.path else "model"


def _known_version(model: HybridOnnxModel) -> Any:
    return (model.endpoint and model.endpoint.served_version) or "1"


def _check_servable(model: HybridOnnxModel) -> None:
    check_servable(model.spec)
    options = model.local.session_options
    if isinstance(options, Mapping) and options.get("custom_op_libraries"):
        raise ConfigurationError(
            "the model needs custom operators (custom_op_libraries), which Triton's onnxruntime "
            "backend has only in an image of your own, as model_operations.op_library_filename; "
            "export a model of standard operators"
        )


def _write(model: HybridOnnxModel, folder: Path, wishes: Wishes, **how: bool) -> Plan:
    """Write one version, and what all versions share into the folder above."""
    labels, notes = write_labels(model.spec, folder.parent)
    plan = planned(model.local, wishes, labels)
    notes += write_model(model.local, folder, **how)
    spec = served(model.spec)
    name = folder.parent.name
    config = model_config(name, spec, max_batch_size=plan.max_batch_size, running=plan.running)
    (folder.parent / CONFIG_FILE).write_text(to_text(config), encoding="utf-8")
    notes += [*plan.notes, *_local_only(model)]
    return replace(plan, spec=spec, notes=notes)


def _local_only(model: HybridOnnxModel) -> list[str]:
    options = model.local.session_options
    if not options:
        return []
    named = sorted(options) if isinstance(options, Mapping) else ["session_options"]
    return [f"the server gets none of the local session's settings: {', '.join(named)}"]


def _exported(plan: Plan, stage: Path, name: str, version: str) -> Exported:
    return Exported(
        folder=stage,
        repository=stage / REPOSITORY,
        model_name=name,
        model_version=version,
        inputs=plan.spec.inputs,
        outputs=plan.spec.outputs,
        max_batch_size=plan.max_batch_size,
        queue_size=plan.running.queue_size,
        notes=tuple(plan.notes),
    )
