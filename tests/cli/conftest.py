"""Models saved and served for the commands, and a command line beside them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hybridmodel import HybridOnnxModel, TritonEndpoint, save_model
from hybridmodel.cli.program import program
from hybridmodel.serving import EmbeddedServer, serve
from tests.support import models
from tests.support.command_line import (
    COLUMNS,
    KEY,
    KEY_ENV,
    NOWHERE,
    Cli,
    frame,
    messages,
)


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedServer]:
    """Serve the tests' models behind the key; ``other`` is ``linear`` with other weights."""
    offered = {**models.served(), "other": models.linear(seed=5)}
    with serve(offered, auth_key=KEY) as running:
        yield running


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory, server: EmbeddedServer) -> Path:
    """Save one folder for each model."""
    folder = tmp_path_factory.mktemp("models")
    for name, data, there, options in (
        ("linear", models.linear(), "linear", {"feature_names": COLUMNS}),
        ("other", models.linear(), "other", {"feature_names": COLUMNS}),
        ("gone", models.linear(), "gone", {}),
        ("classifier", models.classifier(), "classifier", {"feature_names": COLUMNS}),
        ("zipmap", models.classifier(zipmap=True), "zipmap", {}),
        ("wrong", models.classifier(), "linear", {}),
        ("two_inputs", models.two_inputs(), "two_inputs", {}),
        ("two_outputs", models.two_outputs(), "two_outputs", {"output": "total"}),
        ("strings", models.strings(), "strings", {}),
        ("lookup", models.lookup(), "lookup", {}),
        ("half", models.identity("FP16"), "identity_FP16", {}),
        ("cube", models.identity("INT64", ("N", 2, 2)), "linear", {}),
    ):
        endpoint = TritonEndpoint(uri=server.uri, model_name=there)
        save_model(HybridOnnxModel(data, endpoint=endpoint, **options), folder / name)
    save_model(HybridOnnxModel(models.linear(), feature_names=COLUMNS), folder / "lone")
    dead = TritonEndpoint(uri=NOWHERE, model_name="linear")
    save_model(HybridOnnxModel(models.linear(), endpoint=dead), folder / "dead")
    return folder


@pytest.fixture
def cli(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run a command beside the models and `tmp_path`, and check what holds for every ending."""
    monkeypatch.setenv(KEY_ENV, KEY)
    monkeypatch.chdir(tmp_path)
    frame().to_csv("rows.csv", index=False)

    def run(*args: object, status: int = 0) -> Result:
        words = [str(saved / word[1:]) if word.startswith("@") else word for word in map(str, args)]
        result = CliRunner().invoke(program, words)
        assert result.exit_code == status, result.output
        assert KEY not in result.output
        if status == 2:
            said = messages(result.stderr)
            assert said.startswith("Error: ")
            assert said.count("\n") == 1
        return result

    return run
