"""Puts a saved model into a folder so that an environment made from it can run it.

A hybridmodel that pip does not find by its version travels along as a folder, with what it needs.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hybridmodel
from hybridmodel.checks import needed_for
from hybridmodel.deploy.azure.example import request_for
from hybridmodel.deploy.azure.writing import write_yaml
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.flavor import read_model, save_model
from hybridmodel.flavor.loading import model_folder
from hybridmodel.flavor.requirements import is_release, package_version, requirements_with
from hybridmodel.local.onnx_file import is_onnx_file

if TYPE_CHECKING:
    from hybridmodel.remote.endpoint_base import Endpoint

PACKAGE = "hybridmodel"
CODE = "code"

_MOST_BYTES = 1 << 20
_ABOUT_CONDA = "Written by `hybridmodel export`: what the model needs, and what its program needs."


def place_model(uri: str, folder: Path) -> Facts:
    """Copy a saved model into a new folder, and look at it; an ONNX file is saved as a model.

    Raises `ConfigurationError` if it is no hybrid model, is damaged, or has links, whose targets
    would be sent to Azure with it.
    """
    if is_onnx_file(uri):
        from hybridmodel.model import HybridOnnxModel

        with HybridOnnxModel(uri) as model:
            # As if the package were bundled: whether it has to be, `complete` finds out.
            save_model(model, folder, pip_requirements=requirements_with([PACKAGE], None))
        return _facts(folder)
    if Path(uri).is_dir():
        _check_no_links(Path(uri))
        found = _facts(Path(uri))
        shutil.copytree(uri, folder, symlinks=True)
        return found
    fetched = folder.with_name(f"{folder.name}.fetched")
    fetched.mkdir()
    downloaded = model_folder(uri, str(fetched))
    _check_no_links(downloaded)
    downloaded.rename(folder)
    shutil.rmtree(fetched, ignore_errors=True)
    return _facts(folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a saved model says: the endpoint it may ask, and a request that it answers."""

    asked: Endpoint | None
    request: dict[str, Any]


def _facts(folder: Path) -> Facts:
    with read_model(folder, look_only=True) as model:
        if len(model.endpoints) > 1:
            raise ConfigurationError(
                f"the model asks {len(model.endpoints)} endpoints, and the files for Azure hold "
                "the key of one: load it with model_config={'uri': ...}, and save it with that one"
            )
        return Facts(asked=model.endpoint, request=request_for(model))


def carry_package(folder: Path) -> None:
    """Copy hybridmodel into a folder of programs, unless pip finds it."""
    if not is_release():
        source = Path(hybridmodel.__file__).parent
        ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
        shutil.copytree(source, folder / PACKAGE, ignore=ignored)


def complete(model: Path) -> None:
    """Let a saved model bring hybridmodel itself, where its requirements do not."""
    needed = _lines(model / "requirements.txt")
    if PACKAGE in map(distribution, needed) or (model / CODE / PACKAGE).is_dir():
        return
    carry_package(model / CODE)
    if not is_release():
        _name_code(model)
    _add(model, needed, _package_or_needs())


def write_conda(model: Path, path: Path, extra: Iterable[str]) -> None:
    """Write the environment of a saved model with more requirements; for a program beside it."""
    write_yaml(path, _with(_conda(model), [*_package_or_needs(), *extra]), _ABOUT_CONDA)


def needs_of_package() -> list[str]:
    """Return the requirements of hybridmodel itself, without those of its extras."""
    from importlib import metadata

    try:
        found = metadata.requires(PACKAGE) or []
    except metadata.PackageNotFoundError:
        return []
    return [line for line in found if "extra ==" not in line]


def _package_or_needs() -> list[str]:
    """Return what pip installs: hybridmodel, or what a copy of it needs."""
    return [f"{PACKAGE}=={package_version()}"] if is_release() else needs_of_package()


def _name_code(model: Path) -> None:
    """Say in MLmodel that a folder of code is put on the path before the model is loaded."""
    with needed_for("a deployment of the model itself"):
        from mlflow.models import Model

    file = model / "MLmodel"
    try:
        described = Model.load(str(model))
        described.flavors["python_function"]["code"] = CODE
    except Exception as error:
        raise ConfigurationError(
            f"{file}: does not describe a model that MLflow can serve ({type(error).__name__}); "
            "save the model again"
        ) from error
    described.save(str(file))


def _add(model: Path, needed: list[str], extra: list[str]) -> None:
    lines = _joined(needed, extra)
    (model / "requirements.txt").write_text("".join(f"{line}\n" for line in lines), "utf-8")
    if (model / "conda.yaml").is_file():
        conda = _with(_conda(model), extra)
        (model / "conda.yaml").unlink()
        write_yaml(model / "conda.yaml", conda, _ABOUT_CONDA)


def _conda(model: Path) -> dict[str, Any]:
    with needed_for("files for Azure"):
        import yaml

    path = model / "conda.yaml"
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ConfigurationError(
                f"{path}: has more than {_MOST_BYTES} bytes; save the model again"
            )
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, RecursionError, yaml.YAMLError) as error:
        raise ConfigurationError(
            f"{path}: cannot be read as YAML ({error}); save the model again"
        ) from error
    if not isinstance(found, dict) or not isinstance(found.get("dependencies"), list):
        raise ConfigurationError(
            f"{path}: expected an environment with a list of dependencies; save the model again"
        )
    if not all(isinstance(line, str) for line in _pip_of(found)):
        raise ConfigurationError(
            f"{path}: expected texts as requirements for pip; save the model again"
        )
    return found


def _pip_of(conda: dict[str, Any]) -> list[Any]:
    groups = [item for item in conda["dependencies"] if isinstance(item, dict)]
    return [line for group in groups for line in group.get("pip") or ()]


def _with(conda: dict[str, Any], extra: Iterable[str]) -> dict[str, Any]:
    """Return an environment with more requirements for pip."""
    others = [item for item in conda["dependencies"] if not isinstance(item, dict)]
    return {**conda, "dependencies": [*others, {"pip": _joined(_pip_of(conda), extra)}]}


def _joined(needed: list[str], extra: Iterable[str]) -> list[str]:
    """Return requirements, and those of others that are not among them under any version."""
    known = set(map(distribution, needed))
    return [*needed, *(line for line in extra if distribution(line) not in known)]


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        return []
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def distribution(requirement: str) -> str:
    """Return the distribution that a requirement names, in its normal form."""
    name = re.match(r"\s*([A-Za-z0-9._-]*)", requirement)
    return re.sub("[-_.]+", "-", name[1]).lower() if name else ""


def _check_no_links(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_symlink():
            raise ConfigurationError(
                f"{path}: is a link; what it leads to would be sent to Azure. Put the file there"
            )
