"""Rules for the model of a deployment: is it there, and is it what its type says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from hybridmodel.checks import printable
from hybridmodel.deploy.checking.documents import Document
from hybridmodel.deploy.checking.files import folders_in, is_version
from hybridmodel.deploy.checking.findings import Finding
from hybridmodel.deploy.checking.yaml_tree import Node
from hybridmodel.serving.model_config import CONFIG_FILE


def check(deployment: Document) -> Iterator[Finding]:
    """Yield what is wrong with the model and the code that a deployment names."""
    yield from _check_model(deployment)
    yield from _check_code(deployment)


def _check_code(deployment: Document) -> Iterator[Finding]:
    root = deployment.root
    folder = root.text("code_configuration", "code")
    script = root.text("code_configuration", "scoring_script")
    wanted = [
        (("code_configuration", "code"), folder),
        (("environment", "conda_file"), root.text("environment", "conda_file")),
    ]
    if folder and script and _is_there(deployment, folder):
        wanted.append((("code_configuration", "scoring_script"), f"{folder}/{script}"))
    for path, named in wanted:
        node = root.get(*path)
        if named and node is not None and not _is_there(deployment, named):
            yield deployment.place.found(
                "code-path",
                node.line,
                f"{'.'.join(path)}: {printable(named, 120)!r} is not there, seen from "
                f"{deployment.place.file}",
                "write the path from this file's folder; a scoring script's is from the code's",
            )


def _check_model(deployment: Document) -> Iterator[Finding]:
    root = deployment.root
    model = root.get("model")
    if model is None or model.value is None:
        if not {"environment", "component", "job_definition"} & set(root.members):
            yield deployment.place.found(
                "no-model",
                (model or root).line,
                "the deployment has no model, and no environment that could hold one",
                "write model: with path: and type:, or the name of a registered one",
            )
        return
    named, folder = model.get("path"), local_path(deployment)
    if named is not None and folder is not None:
        yield from _check_path(deployment, named, folder)


def _check_path(deployment: Document, named: Node, folder: Path) -> Iterator[Finding]:
    place = deployment.place
    if not _is_there(deployment, named.value):
        yield place.found(
            "model-path",
            named.line,
            f"model.path {printable(named.value, 120)!r} is not there, seen from {place.file}",
            "write the path from this file's folder to the model",
        )
    elif deployment.is_triton:
        yield from _check_repository(deployment, named, folder)
    elif deployment.is_mlflow and not (folder / "MLmodel").is_file():
        yield place.found(
            "mlflow-model",
            named.line,
            f"in {printable(named.value, 120)!r} is no MLmodel",
            "write the path of the folder that mlflow saved the model into",
        )


def local_path(deployment: Document) -> Path | None:
    """Return where the model of a deployment is on this machine; None if Azure has it."""
    named = deployment.root.text("model", "path")
    return deployment.path.parent / named if named and _is_local(named) else None


def _is_local(named: str) -> bool:
    """Tell whether a text is the name of something on this machine; YAML can hold what is none."""
    try:
        is_name = b"\0" not in os.fsencode(named)
    except UnicodeEncodeError:
        is_name = False
    return is_name and not named.startswith("azureml:") and "://" not in named


def _is_there(deployment: Document, named: str) -> bool:
    """Tell whether a path of a deployment is there; what Azure has is."""
    if not _is_local(named):
        return True
    try:
        return os.path.lexists(deployment.path.parent / named)
    except OSError:  # The name is too long.
        return False


def _check_repository(deployment: Document, named: Node, folder: Path) -> Iterator[Finding]:
    if any(map(_is_model, folders_in(folder))):
        return
    shown = printable(named.value, 120)
    write = "write the path of the folder above <model>/<version>/model.onnx"
    if not folder.is_dir():
        what = "a Triton model's path is a folder, and this is a file"
    elif _is_model(folder) or is_version(folder.name):
        above = shown.rstrip("/").rpartition("/")[0] or "."
        above = above if _is_model(folder) else above.rpartition("/")[0] or "."
        what = f"{shown!r} is a model itself, not the folder with the models that Triton wants"
        write = f"write path: {above}"
    else:
        what = f"in {shown!r} is no <model>/<version>/ with a version such as 1"
    yield deployment.place.found("repository-level", named.line, what, write)


def _is_model(path: Path) -> bool:
    if (path / CONFIG_FILE).is_file():
        return True
    return any(is_version(inner.name) for inner in folders_in(path))
