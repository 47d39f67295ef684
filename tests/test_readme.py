"""What the pages say: the README's code runs as it stands, and commands and names are real."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from hybridmodel.cli.program import program
from hybridmodel.cli.rehearse import rehearse
from hybridmodel.flavor.signatures import PARAMS
from tests.support.paths import ROOT

PAGES = [
    ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/README.md")
]
PAGES += sorted((ROOT / "docs").glob("*.md"))


def blocks(page: Path, language: str) -> list[str]:
    """Return the code of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def test_the_readme_runs_as_written(tmp_path: Path) -> None:
    """All of its Python, in one process in an empty folder, up to the model's alias in sqlite."""
    code = "\n".join(blocks(ROOT / "README.md", "python"))
    assert "@champion" in code
    host = "digits_westeurope_inference_ml_azure_com"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")},
        "MLFLOW_DISABLE_TELEMETRY": "true",
        f"HYBRIDMODEL_KEY_{host}": "not-sent",
    }
    code += """
right = loaded.predict(X, params={"use_azure": True}).eq(y).mean()
found = mlflow.MlflowClient("sqlite:///mlflow.db").get_model_version_by_alias("digits", "champion")
print("checked", right, found.version, endpoint.model_url)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    right, version, url = done.stdout.partition("checked ")[2].split()
    assert float(right) > 0.98
    assert version == "1"
    assert url.startswith("https://digits.westeurope.inference.ml.azure.com/")


def test_the_variable_of_the_readme_is_that_of_its_endpoint() -> None:
    """The exported variable is the endpoint's host with `_` for dots and `__` for hyphens."""
    text = (ROOT / "README.md").read_text()
    (host,) = re.findall(r'uri="https://([^"/]+)"', text)
    (variable,) = re.findall(r"^export (\w+)=", text, re.MULTILINE)
    assert variable == "HYBRIDMODEL_KEY_" + host.replace("-", "__").replace(".", "_")
    assert "auth_key_env" not in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_nothing_unpublished_is_installed_by_name(page: Path) -> None:
    """No page has pip fetch hybridmodel from an index, where anybody may register the name."""
    found = re.findall(r"pip install[^\n`]*", page.read_text())
    assert not [line for line in found if re.search(r"['\" ]hybridmodel(\[|\b)", line)]


def test_every_install_line_names_extras_that_there_are() -> None:
    """What is installed from the checkout is an extra of pyproject.toml."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {
        extra
        for page in PAGES
        for extras in re.findall(r"pip install \"\.\[([\w,]+)\]\"", page.read_text())
        for extra in extras.split(",")
    }
    assert named
    assert named <= set(project["optional-dependencies"])


def test_the_table_of_commands_has_all_of_them() -> None:
    """docs/command_line.md and the README name every command, and no other."""
    table = (ROOT / "docs" / "command_line.md").read_text()
    listed = set(re.findall(r"^\| `(\w+)", table, re.MULTILINE)) & _commands()
    assert listed == _commands() - {"trust"} or listed == _commands()
    headings = set(re.findall(r"^## (\w+)$", table, re.MULTILINE))
    assert _commands() - {"trust"} <= headings
    (line,) = re.findall(r"`hybridmodel (inspect [^`]+)`", (ROOT / "README.md").read_text())
    assert set(re.findall(r"\w+", line)) >= _commands() - {"trust"}


def _commands() -> set[str]:
    return set(program.commands)


def test_the_options_of_the_pages_are_real() -> None:
    """Every long option in docs/command_line.md is one of a command, or of a tool that it names."""
    known = {
        name
        for command in [program, *program.commands.values(), *rehearse.commands.values()]
        for option in command.params
        if isinstance(option, click.Option)
        for name in (*option.opts, *option.secondary_opts)
    }
    used = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", _without_mlflow()))
    assert used <= known | {"--help"}, used - known


def _without_mlflow() -> str:
    text = (ROOT / "docs" / "command_line.md").read_text()
    return re.sub(r"`mlflow run[^`]*`", "", text)


def test_the_params_of_the_pages_are_all() -> None:
    """docs/mlflow.md names every param of a hybrid model."""
    text = (ROOT / "docs" / "mlflow.md").read_text()
    assert all(f"`{name}`" in text for name, _ in PARAMS)


def test_pages_link_to_files_that_there_are() -> None:
    """No relative link of a page is dead."""
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
