"""The user's file of grants, code that is never run, and processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
import yaml

from hybridmodel import (
    ConfigurationError,
    HybridOnnxModel,
    TritonEndpoint,
    load_model,
    save_model,
)
from hybridmodel.remote.http.transport import PooledTransport
from hybridmodel.remote.trust import permission, trust_file
from hybridmodel.remote.trust.grants import parse_grants
from tests.support import models
from tests.support.granting import GRANT, KEYLESS, config_home, secrets
from tests.support.mlflow_tools import python
from tests.support.paths import ROOT
from tests.support.trusting import (
    KEY,
    STORED,
    Wire,
    X,
    another_process,
    ask,
    stored,
    wire,
)

__all__ = ["another_process", "config_home", "secrets", "wire"]  # Fixtures.

pytestmark = pytest.mark.usefixtures("another_process")


def test_the_file_is_the_user_s_alone(config_home: Path, tmp_path: Path, wire: Wire) -> None:
    """It has mode 0600, and counts no longer when others may write it."""
    file = trust_file.write(parse_grants(GRANT, "test"))
    assert file == config_home / "hybridmodel" / "allow"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    model = load_model(stored(tmp_path))
    ask(model)
    file.chmod(0o620)
    again = load_model(stored(tmp_path / "again"))
    with pytest.raises(ConfigurationError, match="chmod 600"):
        ask(again)
    assert len(wire.sent) == 1


def test_the_file_may_change_while_a_program_runs(tmp_path: Path, wire: Wire) -> None:
    """A grant counts at the next call, and so does its end."""
    model = load_model(stored(tmp_path))
    with pytest.raises(ConfigurationError, match="nobody has granted"):
        ask(model)
    trust_file.write(parse_grants(GRANT, "test"))
    ask(model)
    trust_file.write(())
    with pytest.raises(ConfigurationError, match="nobody has granted"):
        ask(model)
    assert len(wire.sent) == 1


def test_a_damaged_file_grants_nothing(config_home: Path, tmp_path: Path, wire: Wire) -> None:
    """A line that is no grant is an error that names the file; a folder in its place is no file."""
    file = trust_file.write(())
    file.write_text(f"{GRANT} # mine\nno grant/..\n")
    with pytest.raises(ConfigurationError, match="allow: entry 3"):
        ask(load_model(stored(tmp_path)))
    file.unlink()
    file.mkdir()
    with pytest.raises(ConfigurationError, match="nobody has granted"):
        ask(load_model(stored(tmp_path / "two")))
    assert wire.sent == []


def test_who_has_no_home_has_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container without a home there is nothing to read, and writing says what to use."""

    def nobody() -> Path:
        raise RuntimeError("no home")

    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    monkeypatch.setenv("HOME", "another")
    monkeypatch.setattr(Path, "home", nobody)
    assert trust_file.path() is None
    assert trust_file.read() == ()
    with pytest.raises(ConfigurationError, match="HYBRIDMODEL_ALLOW"):
        trust_file.write(())


def test_loading_and_predicting_write_nothing_there(config_home: Path, tmp_path: Path) -> None:
    """Only the command writes grants."""
    load_model(stored(tmp_path)).predict(X)
    assert not config_home.exists()


HOSTILE = "from pathlib import Path\nPath({marker!r}).write_text('ran')\n"


@pytest.fixture
def hostile(tmp_path: Path) -> tuple[Path, Path]:
    """Save a model whose MLmodel names a loader, and brings code, that leave a trace."""
    marker = tmp_path / "marker"
    folder = stored(tmp_path, {**STORED, "uri": "http://127.0.0.1:1", **KEYLESS})
    (folder / "code").mkdir()
    code = HOSTILE.format(marker=str(marker))
    for name in ("evil_loader.py", "sitecustomize.py", "hybridmodel.py", "numpy.py"):
        (folder / "code" / name).write_text(code)
    path = folder / "MLmodel"
    found = yaml.safe_load(path.read_text())
    for flavor in found["flavors"].values():
        flavor.update(code="code", loader_module="evil_loader", python_model="evil.pkl")
    path.write_text(yaml.safe_dump(found))
    (folder / "python_env.yaml").write_text("python: 0.0.1\n")
    return folder, marker


def test_loading_runs_no_code_of_the_model_s(hostile: tuple[Path, Path], tmp_path: Path) -> None:
    """`load_model` and a prediction import nothing that the model names or brings."""
    folder, marker = hostile
    before = list(sys.path)
    assert load_model(folder).predict(X).shape == (2, 2)
    assert load_model(f"file://{folder}").predict(X).shape == (2, 2)
    assert sys.path == before
    assert "evil_loader" not in sys.modules
    assert not marker.exists()
    with pytest.raises(Exception, match=r".*"):
        mlflow.pyfunc.load_model(str(folder))
    assert marker.exists(), "the trap does not work"


COMMANDS = ("inspect", "predict", "ping", "compare", "calibrate", "report", "trust")


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_runs_code_of_the_model_s(
    command: str, hostile: tuple[Path, Path], tmp_path: Path
) -> None:
    """Every command that takes a model reads it without pyfunc."""
    folder, marker = hostile
    rows = tmp_path / "rows.csv"
    rows.write_text("a,b,c,d\n1,2,3,4\n")
    words = {
        "predict": [str(rows)],
        "compare": [str(rows)],
        "calibrate": [str(rows), "--epsilon", "0.5"],
        "report": [str(rows), "-o", str(tmp_path / "page.html")],
        "trust": ["--print-env"],
    }
    done = subprocess.run(
        [sys.executable, "-m", "hybridmodel", command, str(folder), *words.get(command, [])],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert "Traceback" not in done.stderr
    assert done.returncode in ((0,) if command in ("inspect", "predict", "trust") else (1, 2))
    assert not marker.exists()


PREDICT = """
import sys
import numpy as np
from hybridmodel import ConfigurationError, load_model
try:
    answer = load_model(sys.argv[1]).predict(np.ones((2, 4), np.float32), use_azure=True)
    print("answered", answer.shape)
except ConfigurationError as error:
    print(str(error)[str(error).index("export"):].partition(" (")[0])
"""


def test_a_process_of_its_own_is_asked_and_told(tmp_path: Path) -> None:
    """What one process paired, another has to be granted; the line does it, the server answers."""
    from hybridmodel.serving import serve

    with serve({"m": models.linear(seed=7)}, auth_key=KEY) as server:
        endpoint = server.endpoint("m", auth_key_env="OTHER_KEY")
        save_model(
            HybridOnnxModel(models.linear(), endpoint=endpoint), tmp_path / "m", signature="params"
        )
        where = str(tmp_path / "m")
        grant = f"OTHER_KEY@{server.uri}"
        said = python(PREDICT, tmp_path, where, OTHER_KEY=KEY)
        assert said == f'export HYBRIDMODEL_ALLOW="{grant}"'
        answered = python(PREDICT, tmp_path, where, OTHER_KEY=KEY, HYBRIDMODEL_ALLOW=grant)
        assert answered == "answered (2, 2)"


def test_nothing_is_decided_for_code(monkeypatch: pytest.MonkeyPatch, wire: Wire) -> None:
    """An endpoint that is all code's is not looked up: neither environment nor file is read."""

    def never() -> None:
        raise AssertionError("looked up")

    monkeypatch.setattr(trust_file, "read", never)
    monkeypatch.setattr(permission.Permission, "ground", never)
    ask(HybridOnnxModel(models.linear(), endpoint=TritonEndpoint(**STORED)))
    assert wire.keys == [f"digits_api_key-{KEY}"]
    assert PooledTransport.send is not None
