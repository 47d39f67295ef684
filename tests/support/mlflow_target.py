"""The plugin of ``mlflow deployments`` as an installed package has it, and MLflow's commands."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from mlflow.deployments import cli as commands
from mlflow.deployments import get_deploy_client, interface
from mlflow.exceptions import MlflowException

from tests.support.paths import ROOT

ENDPOINT = "digits-ep"


def write_package(folder: Path) -> Path:
    """Write what pip leaves of a package with this project's entry points; return the folder."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [
        line
        for group, entries in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {module}" for name, module in entries.items()))
    ]
    written = folder / "only_the_plugin-1.0.dist-info"
    written.mkdir()
    (written / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: only-the-plugin\nVersion: 1.0\n"
    )
    (written / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder


@contextmanager
def registered(folder: Path) -> Iterator[None]:
    """Let MLflow find the plugin by its entry point, in a new folder."""
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(write_package(folder))
        patched.setattr(interface.plugin_store, "_registry", {})
        interface.plugin_store.register_entrypoints()
        yield


@pytest.fixture(scope="module", autouse=True)
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let MLflow find the plugin."""
    with registered(tmp_path_factory.mktemp("package")):
        yield


def run(*words: object) -> Result:
    """Run ``mlflow deployments`` in this process."""
    return CliRunner().invoke(commands.commands, [str(word) for word in words])


def cli(verb: str, target: object, *words: object) -> str:
    """Run a verb for a target that has to go well; return what it says."""
    result = run(verb, "-t", f"hybridmodel:{target}", *words)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def refused(verb: str, target: object, *words: object) -> tuple[str, str]:
    """Run a verb that has to be refused; return the code and the message of MLflow's error."""
    error = run(verb, "-t", f"hybridmodel:{target}", *words).exception
    assert isinstance(error, MlflowException), error
    return error.error_code, error.message


def client(target: object) -> Any:
    """Return MLflow's client for a target."""
    return get_deploy_client(f"hybridmodel:{target}")


def tree(folder: Path) -> set[str]:
    """List all files below a folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def make_endpoint(folder: Path, blue: Path, green: Path) -> Path:
    """Make an endpoint with two deployments; return the target's folder."""
    cli("create", folder, "--name", "blue", "-m", blue, "-C", f"azure={ENDPOINT}")
    cli("create", folder, "--name", "green", "-m", green, "--endpoint", ENDPOINT)
    return folder
