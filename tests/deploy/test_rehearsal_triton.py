"""A rehearsal with a real Triton: exported limits hold, and nothing outlives the gateway."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hybridmodel import HybridOnnxModel, deploy
from hybridmodel.deploy.rehearsal.running import Rehearsal, rehearse
from hybridmodel.deploy.rehearsal.servers import TritonOnSocket, make_server
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.serving.triton_files import unsupported
from tests.support import models
from tests.support.paths import ROOT
from tests.support.rehearsing import ask, expected, write_repository

pytestmark = pytest.mark.skipif(unsupported() is not None, reason=str(unsupported()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Export a model for at most eight rows at a time."""
    there = tmp_path_factory.mktemp("triton")
    model = HybridOnnxModel(models.linear())
    deploy.export(model, there, model_name="digits", max_batch_size=8)
    return there


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[Rehearsal]:
    """Rehearse it."""
    with rehearse(folder) as rehearsal:
        yield rehearsal


def rows(count: int) -> dict[str, object]:
    """Make a request for so many rows."""
    data = {"name": "x", "datatype": "FP32", "shape": [count, 4], "data": [1] * (4 * count)}
    return {"inputs": [data]}


def processes() -> dict[int, str]:
    """List the processes of Triton and their commands."""
    found = {}
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if words[0].endswith("tritonserver"):
            found[int(file.parent.name)] = " ".join(words)
    return found


def test_the_exported_limit_of_rows_holds(running: Rehearsal) -> None:
    """Triton answers up to the exported number of rows, and refuses more behind a 424."""
    said = json.loads(ask(running, body=rows(8)).body)
    np.testing.assert_allclose(said["outputs"][0]["data"][:2], expected()[0], rtol=1e-6)
    refused = ask(running, body=rows(9))
    assert refused.status == 424
    assert refused.headers["ms-azureml-model-error-statuscode"] == "400"
    assert b"batch-size must be <= 8" in refused.body


def test_the_rehearsal_says_what_runs(running: Rehearsal) -> None:
    """The snapshot tells that the python backend runs the graphs, and by what."""
    assert "python backend" in running.snapshot().server
    assert "onnxruntime" in running.snapshot().server


def test_large_requests_are_cut_by_the_client(running: Rehearsal) -> None:
    """The library learns the limit through the gateway, and sends parts."""
    endpoint = running.endpoint("digits", max_in_flight=1)
    with HybridOnnxModel(
        models.linear(), endpoint=endpoint, credential=running.credential
    ) as model:
        many = np.ones((20, 4), np.float32)
        np.testing.assert_allclose(
            model.predict(many, use_azure=True), model.predict(many), rtol=1e-5
        )


def test_triton_listens_on_a_socket_of_this_user(running: Rehearsal) -> None:
    """It has no port, its socket lies in a private folder, and its controls want their key."""
    server = running._servers["blue"]
    assert isinstance(server, TritonOnSocket)
    socket = Path(server.address)
    assert socket.is_socket()
    assert socket.parent.stat().st_mode & 0o077 == 0
    command = processes()[server.pid or 0]
    assert f"--http-address=unix:{socket}" in command
    assert "--allow-grpc=false" in command
    said = ask(running, "/v2/repository/models/digits/unload", {})
    assert said.headers["ms-azureml-model-error-statuscode"] == "403"


def test_a_crash_and_a_revival(running: Rehearsal) -> None:
    """A Triton that ends by itself counts as dead, and can be started again."""
    server = running._servers["blue"]
    assert isinstance(server, TritonOnSocket)
    assert server.pid is not None
    handle = os.pidfd_open(server.pid)
    os.kill(server.pid, signal.SIGKILL)
    assert select.select([handle], [], [], 20)[0]
    os.close(handle)
    assert ask(running).headers["ms-azureml-model-error-statuscode"] == "503"
    running.revive("blue")
    assert ask(running).status == 200


OWNER = """
import sys, time
from hybridmodel.deploy import rehearse
rehearsal = rehearse(sys.argv[1])
server = rehearsal._servers["blue"]
print(server.pid, server._folder, flush=True)
time.sleep(600)
"""


def test_nothing_outlives_a_killed_gateway(tmp_path: Path) -> None:
    """SIGKILL of the gateway ends Triton and removes its folder; the next start goes well."""
    write_repository(tmp_path)
    words = [sys.executable, "-c", OWNER, str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=ROOT) as owner:
        assert owner.stdout is not None
        pid, _, scratch = owner.stdout.readline().strip().partition(" ")
        handle = os.pidfd_open(int(pid))
        owner.kill()
        assert select.select([handle], [], [], 20)[0], "Triton is still there"
        os.close(handle)
    for _ in range(200):
        if not Path(scratch).exists():
            break
        select.select([], [], [], 0.1)
    assert not Path(scratch).exists()
    assert not list(Path("/dev/shm").glob(f"{Path(scratch).name}*"))
    with rehearse(tmp_path, server="embedded") as rehearsal:
        assert ask(rehearsal).status == 200


def test_a_folder_too_long_for_a_socket(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says what to set, and nothing stays."""
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with pytest.raises(ConfigurationError, match=r"set TMPDIR to another: .* at most 107 letters"):
        make_server(folder / "models", "triton").start()
    assert list(deep.iterdir()) == []
