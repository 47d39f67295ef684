"""A real Triton on a Unix socket, which reads and writes large tensors in shared memory."""

from __future__ import annotations

import copy
import json
import os
import pickle
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hybridmodel import ConfigurationError, HybridOnnxModel
from hybridmodel.remote.shared_memory import control, segments
from hybridmodel.serving import TritonServer
from hybridmodel.serving.triton_access import ask_socket
from hybridmodel.serving.triton_files import unsupported
from tests.support import models

pytestmark = pytest.mark.skipif(unsupported() is not None, reason=str(unsupported()))

ROWS = 20_000
X = np.random.default_rng(0).normal(size=(ROWS, 30)).astype(np.float32)
LINEAR = models.linear(n_features=30, n_outputs=2)
MODELS = {
    "linear": LINEAR,
    "same": models.identity("FP32", ("N", 30)),
    "words": models.strings(),
}


@pytest.fixture(scope="module")
def server() -> Iterator[TritonServer]:
    """Run one for all tests here."""
    with TritonServer(MODELS, unix_socket=True) as running:
        yield running


@pytest.fixture(autouse=True)
def prefix(monkeypatch: pytest.MonkeyPatch) -> str:
    """Give the segments of a test names of their own, which other processes do not sweep."""
    found = f"hybridmodel-test-{os.getpid()}-{os.urandom(4).hex()}-"
    monkeypatch.setattr(segments, "PREFIX", found)
    return found


def left(prefix: str) -> list[Path]:
    """Return the segments of a test."""
    return list(segments.FOLDER.glob(f"{prefix}*"))


def regions(server: TritonServer) -> list[dict[str, Any]]:
    """Ask the server which regions it knows."""
    path, target = server.uri.removeprefix("unix://"), "/v2/systemsharedmemory/status"
    status, said = ask_socket(path, "GET", target, server._key.headers())
    assert status == 200
    known: list[dict[str, Any]] = json.loads(said)
    return known


def model_for(server: TritonServer, name: str, **options: Any) -> HybridOnnxModel:
    """Open one of the models."""
    onnx = MODELS[name]
    return HybridOnnxModel(onnx, endpoint=server.endpoint(name, timeout_s=60, **options))


@pytest.mark.parametrize("shared_memory", [True, False])
@pytest.mark.parametrize("name", ["linear", "same"])
def test_answers_are_those_of_the_local_model(
    name: str, shared_memory: bool, server: TritonServer, prefix: str
) -> None:
    """One row and 20,000, with memory that both have and without; nothing is left."""
    with model_for(server, name, shared_memory=shared_memory) as model:
        for rows in (1, 1_000, ROWS, 7):
            answer = model.predict(X[:rows], use_azure=True)
            np.testing.assert_allclose(answer, model.predict(X[:rows]), rtol=1e-5, atol=1e-5)
        assert {item["name"] for item in regions(server)} == {item.name for item in left(prefix)}
        assert len(left(prefix)) == (2 if shared_memory else 0), "one for each size"
    assert (left(prefix), regions(server)) == ([], [])


def test_strings_stay_in_the_message(server: TritonServer, prefix: str) -> None:
    """Their length is not known before, so they never lie in a segment."""
    words = np.array([["word" * 100]] * 1_000, dtype=object)
    with model_for(server, "words") as model:
        given = words.reshape(-1, *model.spec.inputs[0].shape[1:])
        np.testing.assert_array_equal(model.predict(given, use_azure=True), model.predict(given))
    assert left(prefix) == []


def test_only_its_owner_reaches_the_socket(server: TritonServer) -> None:
    """It lies in a folder that nobody else may enter, and is no place of the network."""
    path = Path(server.uri.removeprefix("unix://"))
    assert stat.S_ISSOCK(path.stat().st_mode)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert server.port == 0


def test_the_key_for_shared_memory_is_nowhere_to_be_seen(server: TritonServer) -> None:
    """Neither the endpoint, nor its copies, pickles and description, nor the model has it."""
    (key,) = server._key.headers().values()
    endpoint = server.endpoint("linear")
    with model_for(server, "linear") as model:
        model.predict(X, use_azure=True)
        shown = [repr(endpoint), str(endpoint.to_dict()), repr(model), str(vars(endpoint))]
        shown += [pickle.dumps(item).decode("latin-1") for item in (endpoint, model)]
        shown += [str(vars(model.client)), str(vars(model.client._sharing))]
        assert not any(key in text for text in shown)


def test_without_the_key_tensors_go_in_the_message(
    server: TritonServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process that got the endpoint in a pickle is answered all the same."""
    monkeypatch.setattr(control, "_headers", {})
    with copy.deepcopy(model_for(server, "linear")) as model:
        answer = model.infer(X, use_azure=True)
        assert (answer.route, answer.attempts) == ("azure", 1)
        np.testing.assert_allclose(answer.outputs["y"], model.predict(X), rtol=1e-5, atol=1e-5)
    assert left(prefix) == []


def test_two_processes_share_memory_with_one_server(server: TritonServer, prefix: str) -> None:
    """A forked child asks by segments of its own, at the same time as its parent."""
    with model_for(server, "linear") as model:
        expected = model.predict(X, use_azure=True)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                for _ in range(5):
                    np.testing.assert_array_equal(model.predict(X, use_azure=True), expected)
                model.close()
                status = 0
            finally:
                os._exit(status)
        for _ in range(5):
            np.testing.assert_array_equal(model.predict(X, use_azure=True), expected)
        assert os.waitpid(child, 0)[1] == 0
        assert len(left(prefix)) == 1
    assert (left(prefix), regions(server)) == ([], [])


def test_a_server_has_no_socket_before_its_start() -> None:
    """Its folder is made with the start."""
    with pytest.raises(ConfigurationError, match="before it was started"):
        _ = TritonServer({"linear": LINEAR}, unix_socket=True).uri


@pytest.mark.parametrize("name", ["x" * 90, "a folder", "a+b"], ids=["long", "blank", "sign"])
def test_a_path_that_no_endpoint_takes_is_an_error_that_names_the_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux has 107 bytes for it, and an endpoint takes plain characters; nothing is started."""
    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    with pytest.raises(ConfigurationError, match="set TMPDIR to another"):
        TritonServer({"linear": LINEAR}, unix_socket=True).start()
    assert list(folder.iterdir()) == []
