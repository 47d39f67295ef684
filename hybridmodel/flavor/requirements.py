"""What an environment needs to load and run a saved model, each with its version."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_PACKAGE = __name__.partition(".")[0]
_NEEDED = ("mlflow", "onnxruntime", "numpy", "pandas", "requests", "urllib3")

_logger = logging.getLogger("hybridmodel.flavor")


def package_version(package: str = _PACKAGE, unknown: str = "0+unknown") -> str:
    """Return the installed version of a package, hybridmodel by default."""
    # Imported where it is used, because it takes 35 ms, and loading a model needs none of it.
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return unknown


def is_release() -> bool:
    """Return whether pip finds the installed hybridmodel by its version."""
    from importlib import metadata

    try:
        installed = metadata.distribution(_PACKAGE)
    except metadata.PackageNotFoundError:
        return False
    from_elsewhere = installed.read_text("direct_url.json") is not None
    return not from_elsewhere and not any(mark in installed.version for mark in ("+", ".dev"))


def get_default_pip_requirements() -> list[str]:
    """Return what an environment needs to load and run a saved model, each with its version.

    A hybridmodel that was installed from a folder or a repository is left out, with a warning: pip
    cannot find it by its version, and anyone who registered that name and version in an index could
    run code in each environment made from the model. Pass ``code_paths``, or ``pip_requirements``
    that say where to get it.
    """
    if is_release():
        return [f"{_PACKAGE}=={package_version()}", *map(pinned, _NEEDED)]
    _logger.warning(
        "hybridmodel %s is not a released version, so the model's requirements leave it out, "
        "and an environment made from them cannot load the model: save with code_paths=[folder of "
        "the package], or with extra_pip_requirements=[where pip gets it]",
        package_version(),
    )
    return list(map(pinned, _NEEDED))


def requirements_with(code_paths: Sequence[str] | None, extra: Any) -> list[str]:
    """Return the default requirements and the extra ones; bundled code is left out."""
    bundled = any(Path(path).name == _PACKAGE for path in code_paths or ())
    needed = list(map(pinned, _NEEDED)) if bundled else get_default_pip_requirements()
    if isinstance(extra, str):  # The path of a file, as everywhere in MLflow.
        extra = Path(extra).read_text(encoding="utf-8").splitlines()
    return [*needed, *(extra or ())]


def pinned(module: str) -> str:
    """Return the distribution of a module, with its version."""
    from importlib import metadata

    try:
        return f"{module}=={metadata.version(module)}"
    except metadata.PackageNotFoundError:
        # For example onnxruntime, which onnxruntime-gpu also provides.
        name = metadata.packages_distributions()[module][0]
        return f"{name}=={metadata.version(name)}"
