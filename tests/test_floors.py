"""The versions that pyproject.toml allows: its lower bounds, and every Python it names."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from hybridmodel.serving.environments import cache_folder
from tests.support.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = ("azure", "cascade", "cli", "serving", "examples")
FLOOR = "3.11"
NAMED = [
    name.rpartition(" ")[2]
    for name in PROJECT["classifiers"]
    if re.fullmatch(r"Programming Language :: Python :: 3\.\d+", name)
]
# MLflow 3.1 takes any SQLAlchemy, and 2.1 has no longer what it imports.
BESIDE_THE_FLOORS = ["sqlalchemy<2.1"]


def test_extras_of_earlier_releases_can_still_be_asked_for() -> None:
    """They bring nothing: MLflow brings most of it anyway, and the package needs the rest."""
    extras = PROJECT["optional-dependencies"]
    assert {name for name, brings in extras.items() if not brings} == {"cascade", "cli", "serving"}


def requirements() -> list[str]:
    """Return what the package and its extras need, without the package itself."""
    listed = [*PROJECT["dependencies"]]
    for extra in EXTRAS:
        listed += PROJECT["optional-dependencies"][extra]
    return sorted({line for line in listed if not line.startswith("hybridmodel[")})


def floors() -> list[str]:
    """Return each requirement at its lower bound."""
    found = [re.fullmatch(r"([\w-]+)>=([\d.]+)(,<[\d.]+)?", line) for line in requirements()]
    assert all(found), requirements()
    return [f"{match[1]}=={match[2]}" for match in found if match]


def python(version: str) -> str:
    """Return the Python of a version; skip where there is none that runs."""
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        return sys.executable
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = [shutil.which(f"python{version}"), *pyenv.glob(f"versions/{version}.*/bin/python")]
    for candidate in filter(None, found):
        # One of pyenv's on the path may be there in name only.
        if not subprocess.run([candidate, "-c", ""], capture_output=True).returncode:
            return str(candidate)
    pytest.skip(f"there is no python{version} on the path, nor one of pyenv")


def environment(version: str, wanted: list[str]) -> str:
    """Return the Python of an environment with these requirements, made once in the cache."""
    key = hashlib.sha256("\n".join([version, *wanted]).encode()).hexdigest()[:12]
    folder = cache_folder() / f"smoke-{version}-{key}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = str(folder / "bin" / "python")
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            subprocess.run([python(version), "-m", "venv", "--clear", str(folder)], check=True)
            install = [made, "-m", "pip", "install", "--quiet", "--only-binary", ":all:", *wanted]
            done = subprocess.run(install, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr[-2000:]
            (folder / "complete").touch()
    return made


def smoke(made: str, folder: Path) -> str:
    """Run the smoke script with the package from this checkout, and return what it printed."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
    environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONPATH": str(ROOT), "HOME": str(folder)}
    script = [made, str(ROOT / "tests" / "support" / "smoke.py")]
    done = subprocess.run(script, cwd=folder, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def test_lower_bounds_work(tmp_path: Path) -> None:
    """With every dependency at its lower bound, both routes, MLflow and the commands work."""
    made = environment(FLOOR, [*floors(), *BESIDE_THE_FLOORS])
    assert "all is well" in smoke(made, tmp_path)


@pytest.mark.parametrize("version", NAMED)
def test_every_named_python_works(version: str, tmp_path: Path) -> None:
    """On every Python that the classifiers name, both routes, MLflow and the commands work."""
    if version == FLOOR:
        assert "all is well" in smoke(sys.executable, tmp_path)
    else:
        assert "all is well" in smoke(environment(version, requirements()), tmp_path)


def test_the_named_pythons_are_those_that_are_allowed() -> None:
    """The lowest Python named is the one required, and that which the linter checks against."""
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    assert NAMED[0] == FLOOR
    assert PROJECT["requires-python"] == f">={FLOOR}"
    assert tools["ruff"]["target-version"] == f"py{FLOOR.replace('.', '')}"
    assert tools["mypy"]["python_version"] == FLOOR
