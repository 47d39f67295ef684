"""The files of a Triton server without Docker, and the environment that it needs.

The wheel ``nvidia-pytriton`` contains NVIDIA's ``tritonserver`` with its python backend. This
module provides the libraries, the interpreter and the folders that the server otherwise finds in
its container; every line of it is necessary.
"""

from __future__ import annotations

import os
import platform
import sys
import sysconfig
from pathlib import Path
from typing import cast

from hybridmodel.exceptions import ConfigurationError
from hybridmodel.serving.environments import environment

# With numpy 2 this python backend passes tensors with wrong strides, without an error.
REQUIREMENTS = ("nvidia-pytriton==0.7.0", "numpy<2", "onnxruntime")
TRITON_VERSION = "2.51.0"
KEPT_VARIABLES = ("LANG", "LC_ALL", "LC_CTYPE", "OMP_NUM_THREADS", "TMPDIR", "TZ")
"""The variables of the caller's environment that the server gets."""

_OLDEST_GLIBC = (2, 35)
_PYTHON = ".".join(map(str, sys.version_info[:2]))


def unsupported() -> str | None:
    """Return why Triton cannot run on this machine; None if it can."""
    problem = _platform_problem()
    if problem is None and _libpython() is None:
        problem = "this Python has none (it was built without --enable-shared)"
    return problem and (
        "TritonServer runs only on Linux x86-64 with glibc 2.35 or newer and a Python with a "
        f"shared library, and {problem}; hybridmodel.serving.serve() runs everywhere"
    )


def _platform_problem() -> str | None:
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return f"this is {platform.system()} {platform.machine()}"
    library, version = platform.libc_ver()
    if library != "glibc" or tuple(map(int, version.split(".")[:2])) < _OLDEST_GLIBC:
        return f"this system has {library or 'another C library'} {version}"
    return None


def install(folder: Path) -> tuple[list[str], dict[str, str]]:
    """Prepare `folder`; return the start of the command line and the server's whole environment."""
    problem = unsupported()
    if problem:
        raise ConfigurationError(problem)
    prefix = environment("triton", REQUIREMENTS)
    packages = prefix / "lib" / f"python{_PYTHON}" / "site-packages"
    triton = packages / "pytriton" / "tritonserver"
    _link_backend(triton, folder / "backends" / "python")
    command = [str(triton / "bin" / "tritonserver"), f"--backend-directory={folder}/backends"]
    return command, _variables(prefix, packages, folder / "lib")


def _link_backend(triton: Path, backend: Path) -> None:
    backend.mkdir(parents=True)
    stub = triton / "python_backend_stubs" / _PYTHON / "triton_python_backend_stub"
    if not stub.exists():
        offered = sorted(path.name for path in stub.parent.parent.glob("3.*"))
        raise ConfigurationError(
            f"Triton {TRITON_VERSION} has a python backend for Python {', '.join(offered)}, but "
            f"not for {_PYTHON}; hybridmodel.serving.serve() runs with any"
        )
    for file in (*(triton / "backends" / "python").glob("*triton_python*"), stub):
        (backend / file.name).symlink_to(file)


def _variables(prefix: Path, packages: Path, lib: Path) -> dict[str, str]:
    """Return the server's environment, which has none of the caller's secrets."""
    libpython = cast("Path", _libpython())
    # Only this file: its folder may contain other versions of the server's libraries.
    lib.mkdir()
    (lib / libpython.name).symlink_to(libpython)
    return {
        **{name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ},
        # The python backend uses the site-packages of the first python3 on the path.
        "PATH": f"{prefix / 'bin'}{os.pathsep}{os.defpath}",
        "LD_LIBRARY_PATH": f"{packages / 'nvidia_pytriton.libs'}{os.pathsep}{lib}",
    }


def _libpython() -> Path | None:
    name = str(sysconfig.get_config_var("INSTSONAME"))
    folders = [
        sysconfig.get_config_var("LIBDIR"),
        Path(sys.base_prefix, "lib"),
        Path("/usr/lib", str(sysconfig.get_config_var("MULTIARCH"))),
    ]
    files = (Path(folder, name) for folder in folders if folder)
    return next((file for file in files if ".so" in name and file.is_file()), None)
