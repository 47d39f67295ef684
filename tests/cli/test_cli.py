"""The command line: what every command has, inspect and ping."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hybridmodel import load_model
from hybridmodel.cli.ping import examine
from hybridmodel.cli.progress import progress
from hybridmodel.serving import EmbeddedServer
from tests.support.command_line import (
    KEY,
    KEY_ENV,
    Cli,
    shell,
)


def test_version(cli: Cli) -> None:
    """The version is that of the package."""
    from hybridmodel.flavor.requirements import package_version

    assert cli("--version").stdout == f"hybridmodel {package_version()}\n"


@pytest.mark.parametrize(
    "command",
    ["inspect", "predict", "ping", "compare", "calibrate", "report", "serve", "doctor"],
)
def test_help_tells_exit_statuses(cli: Cli, command: str) -> None:
    """Every command's help says what its exit statuses mean."""
    assert "Exit status: 0 " in cli(command, "--help").stdout


def test_inspect_shows_everything_but_the_key(cli: Cli, server: EmbeddedServer) -> None:
    """Inspect shows tensors, hash, endpoint and the key's variable, never the key."""
    shown = cli("inspect", "@linear").stdout
    for text in (
        "x: FP32[?, 4]",
        "y: FP32[?, 2]",
        "a, b, c, d",
        f"{server.uri}/v2/models/linear/versions/1",
        f"in {KEY_ENV}, which is set",
        "local, unless",
    ):
        assert text in shown
    assert "classes no, perhaps, yes" in cli("inspect", "@zipmap").stdout
    assert "endpoint   none" in cli("inspect", "@lone").stdout


def test_inspect_as_json(cli: Cli, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The JSON form holds the hash, the specs, and whether the key's variable is set."""
    monkeypatch.delenv(KEY_ENV)
    shown = json.loads(cli("inspect", "@two_outputs", "--json").stdout)
    model = load_model(saved / "two_outputs")
    assert shown["sha256"] == model.onnx.sha256
    assert {key: shown[key] for key in ("inputs", "outputs")} == model.spec.to_dict()
    assert shown["endpoint"]["auth_key_is_set"] is False
    assert shown["defaults"]["output"] == "total"
    assert shown["defaults"]["route"] == "local"


def test_model_config_reaches_the_model(cli: Cli) -> None:
    """Each kind of setting arrives as what it is, and an empty one as none."""
    settings = {
        "uri": "https://example.test",
        "model_name": "m",
        "model_version": "",
        "auth_key_env": "",
        "timeout_s": "1.5",
        "binary": "true",
        "max_attempts": "2",
        "max_batch_size": "7",
        "breaker_failures": "",
        "breaker_reset_s": "2.5",
        "use_azure": "1",
        "providers": "CPUExecutionProvider",
    }
    words = [
        word for key, value in settings.items() for word in ("--model-config", f"{key}={value}")
    ]
    shown = json.loads(cli("inspect", "@lone", "--json", *words).stdout)
    assert shown["endpoint"] == {
        "uri": "https://example.test",
        "model_name": "m",
        "model_version": None,
        "auth_key_env": None,
        "secondary_key_env": None,
        "entra_id": False,
        "deployment": None,
        "ca_bundle": None,
        "allow_http": False,
        "timeout_s": 1.5,
        "connect_timeout_s": 5.0,
        "binary": True,
        "max_attempts": 2,
        "max_batch_size": 7,
        "max_request_bytes": 1 << 26,
        "max_in_flight": 16,
        "coalesce_rows": 0,
        "shared_memory": True,
        "breaker_failures": None,
        "breaker_reset_s": 2.5,
        "model_url": "https://example.test/v2/models/m",
        "auth_key_is_set": None,
    }
    assert shown["defaults"]["route"] == "azure"


def test_ping_a_good_endpoint(cli: Cli, server: EmbeddedServer) -> None:
    """A ready endpoint with the same specs is status 0, with the time of the round trips."""
    shown = json.loads(cli("ping", "@linear", "--json", "-n", 3).stdout)
    assert shown["model_url"] == f"{server.uri}/v2/models/linear/versions/1"
    assert (shown["ready"], shown["differences"], shown["calls"]) == (True, [], 3)
    assert 0 < shown["round_trip_min_s"] <= shown["round_trip_median_s"]
    assert "differs     in nothing" in cli("ping", "@linear").stdout


def test_ping_takes_times(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The round trip is the clock's time around one call."""
    monkeypatch.setenv(KEY_ENV, KEY)
    ticks = iter([0.0, 1.0, 10.0, 12.0, 20.0, 26.0])
    with load_model(saved / "linear") as model:
        health = examine(model, model.client.clients[0], 3, clock=lambda: next(ticks))
    assert (health.round_trip_min_s, health.round_trip_median_s) == (1.0, 2.0)


def test_ping_lists_every_difference(cli: Cli) -> None:
    """Other inputs and outputs at the endpoint are status 1, each in a line."""
    shown = cli("ping", "@wrong", status=1).stdout
    for text in ("input 'X'", "input 'x'", "output 'label'", "output 'y'"):
        assert text in shown


def test_ping_a_model_that_is_not_there(cli: Cli) -> None:
    """An endpoint that is not ready is status 1, and its reason is shown."""
    shown = cli("ping", "@gone", status=1).stdout
    assert "ready     no: " in shown
    assert "unknown model" in shown


@pytest.mark.parametrize(("is_terminal", "total"), [(True, 3), (True, None), (False, 3)])
def test_a_bar_only_where_somebody_watches(
    monkeypatch: pytest.MonkeyPatch, is_terminal: bool, total: int | None
) -> None:
    """The progress bar is drawn on a terminal and nowhere else."""

    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return is_terminal

    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    with progress(total) as advance:
        advance(3)
    assert ("rows" in screen.getvalue()) == is_terminal


REGISTER = """
import sys, mlflow
from hybridmodel import load_model, log_model
log_model(load_model(sys.argv[1]), name="digits", registered_model_name="digits")
mlflow.MlflowClient().set_registered_model_alias("digits", "champion", "1")
"""


def test_registered_models(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models are found in the registry, and what MLflow says on the way is not on stdout."""
    monkeypatch.chdir(tmp_path)
    env = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}
    none = shell("inspect", "models:/digits/1", **env)
    assert (none.returncode, none.stdout, none.stderr.count("\n")) == (2, "", 1)
    command = [sys.executable, "-c", REGISTER, str(saved / "linear")]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, **env})
    for uri in ("models:/digits/1", "models:/digits@champion"):
        found = shell("inspect", uri, "--json", **env)
        assert found.returncode == 0, found.stderr
        assert json.loads(found.stdout)["inputs"][0]["name"] == "x"


def test_without_click() -> None:
    """Without click there is one line that names the extra, and status 2."""
    code = "import sys; sys.modules['click'] = None; from hybridmodel.cli import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    assert "pip install hybridmodel" in result.stderr


def test_the_package_is_light() -> None:
    """The entry point can be imported without click."""
    code = "import sys, hybridmodel.cli; sys.exit('click' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
