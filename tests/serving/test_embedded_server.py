"""The embedded server by itself: keys, laziness, and a clean beginning and end."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from hybridmodel import HybridOnnxModel
from hybridmodel.exceptions import ConfigurationError, MissingDependency
from hybridmodel.serving import EmbeddedServer, serve
from tests.support import models
from tests.support.wire import Answer, Call, ask, tensor

if TYPE_CHECKING:
    from pathlib import Path


def row(number: float = 1.0) -> Call:
    """Ask the identity model called ``m`` to send one row back."""
    return Call("m", {"inputs": [tensor("x", "FP32", [[number] * 3])[0]]})


def test_hybrid_models_can_be_served() -> None:
    """A HybridOnnxModel is served with the session that it has."""
    with HybridOnnxModel(models.linear()) as model, serve({"m": model}) as server:
        x = np.ones((2, 4), np.float32)
        answer = Call("m", {"inputs": [tensor("x", "FP32", x)[0]]}).send(server.port)
        np.testing.assert_array_equal(answer.outputs["y"], model.predict(x))
        assert server._models["m"]["1"].session is model.local


@pytest.mark.parametrize("header", [None, "Bearer wrong", "secret", "Basic secret", "Bearer "])
@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/models/m", "/v2/models/nobody"])
def test_key_is_demanded(path: str, header: str | None) -> None:
    """With a key, no path says anything to a request without it."""
    with serve({"m": models.identity()}, auth_key="secret") as server:
        answer = ask(server.port, "GET", path, headers={"Authorization": header} if header else {})
        assert (answer.status, list(answer.json)) == (401, ["error"])
        allowed = ask(server.port, "GET", "/v2", headers={"Authorization": "Bearer secret"})
        assert allowed.status == 200


def test_key_is_not_shown() -> None:
    """Neither the server's description nor an error about it repeats the key."""
    server = EmbeddedServer({}, auth_key="top-secret")
    assert "secret" not in repr(server)
    with pytest.raises(ConfigurationError) as caught:
        EmbeddedServer({}, auth_key="top secret")
    assert "secret" not in str(caught.value)


def test_endpoint_knows_whether_a_key_is_needed() -> None:
    """The endpoint handed out names a variable for the key only where the server has a key."""
    with (
        serve({"m": models.identity()}) as server,
        serve({"m": models.identity()}, auth_key="k") as locked,
    ):
        assert server.endpoint("m").auth_key_env is None
        assert server.endpoint("m").uri == server.uri
        assert locked.endpoint("m").auth_key_env == "HYBRIDMODEL_API_KEY"
        assert locked.endpoint("m", auth_key_env="OTHER", timeout_s=3).auth_key_env == "OTHER"
        with pytest.raises(ConfigurationError, match="'nobody' on this server; available: 'm'"):
            server.endpoint("nobody")
        with pytest.raises(ConfigurationError, match="colour"):
            server.endpoint("m", colour="red")


def test_models_are_opened_when_asked(tmp_path: Path) -> None:
    """Of 300 models none is opened by starting, listing or health, and only the one asked after."""
    paths = {}
    for number in range(300):
        paths[f"m{number}"] = tmp_path / f"{number}.onnx"
        paths[f"m{number}"].write_bytes(b"not a model")
    paths["m7"].write_bytes(models.identity())
    with serve(paths) as server:
        assert ask(server.port, "GET", "/v2/models/m5/ready").status == 200
        assert replace(row(), model="m7").send(server.port).status == 200
        opened = [name for name, item in server._models.items() if item["1"]._session is not None]
        assert opened == ["m7"]
        broken = replace(row(), model="m5").send(server.port)
        assert broken.status == 500
        assert "m5" in broken.json["error"] or "5.onnx" in broken.json["error"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"a/b": b""}, "'a/b'"),
        ({"": b""}, "model name ''"),
        ({"..": b""}, "'..'"),
        ({"m": {}}, "no version"),
        ({"m": {1: b""}}, "version 1"),
        ({"m": {"0": b""}}, "version '0'"),
        ({"m": "nowhere.onnx"}, "no file nowhere.onnx"),
        (["m"], "a list"),
    ],
)
def test_catalogue_is_checked_at_once(given: Any, message: str) -> None:
    """Names, versions and files that cannot be served are refused before anything starts."""
    with pytest.raises(ConfigurationError, match=message.replace(".", r"\.")):
        serve(given)


def test_health_answers_while_a_model_computes() -> None:
    """Health does not wait for inference."""
    answers: list[Answer] = []
    x, turns = tensor("x", "FP32", [1.0])[0], tensor("turns", "INT64", [1_000_000])[0]
    call = Call("loop", {"inputs": [x, turns]})
    with serve({"loop": models.loop()}) as server:
        thread = threading.Thread(target=lambda: answers.append(call.send(server.port)))
        thread.start()
        assert ask(server.port, "GET", "/v2/health/ready").status == 200
        assert not answers
        thread.join()
    assert answers[0].outputs["y"].tolist() == [1.0]


def test_many_threads_get_their_own_answers() -> None:
    """Requests at the same time do not mix."""
    seen: dict[int, Any] = {}

    def one(number: int) -> None:
        seen[number] = row(number).send(server.port).outputs["y"].tolist()

    with serve({"m": models.identity()}) as server:
        threads = [threading.Thread(target=one, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert seen == {number: [[float(number)] * 3] for number in range(16)}


def test_two_servers_and_two_lives() -> None:
    """Servers do not know of each other; one that was stopped starts again, on the same port."""
    with serve({"a": models.identity()}) as one, serve({"b": models.identity()}) as two:
        assert one.port != two.port
        assert ask(one.port, "GET", "/v2/models/b").status == 404
        assert ask(two.port, "GET", "/v2/models/b").status == 200
        port = one.port
        one.stop()
        with pytest.raises(ConnectionRefusedError):
            ask(port, "GET", "/v2")
        assert one.start().port == port
        assert ask(port, "GET", "/v2").status == 200


def test_stop_is_idempotent_and_ends_idle_connections() -> None:
    """Stopping ends connections that are kept alive, and may be repeated."""
    server = serve({"m": models.identity()})
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.request("GET", "/v2")
    connection.getresponse().read()
    server.stop()
    server.stop()
    assert connection.sock is not None
    assert connection.sock.recv(1) == b""
    connection.close()
    assert "not running" in repr(server)


def test_stop_does_not_wait_for_what_hangs() -> None:
    """A half-sent request and a long computation do not keep a server from stopping."""
    server = serve({"loop": models.loop()})
    half = http.client.HTTPConnection("127.0.0.1", server.port)
    half.putrequest("POST", "/v2/models/loop/infer")
    half.putheader("Content-Length", "100")
    half.endheaders(b"{")
    busy = http.client.HTTPConnection("127.0.0.1", server.port)
    x, turns = tensor("x", "FP32", [1.0])[0], tensor("turns", "INT64", [1_500_000])[0]
    busy.request("POST", "/v2/models/loop/infer", json.dumps({"inputs": [x, turns]}))
    assert ask(server.port, "GET", "/v2").status == 200
    server.stop()
    for connection in (half, busy):
        assert connection.sock is not None
        assert b'"outputs"' not in connection.sock.recv(10_000)
        connection.close()


def test_wait_returns_when_stopped() -> None:
    """The blocking mode ends with the server."""
    server = serve({"m": models.identity()})
    waiting = threading.Thread(target=server.wait)
    waiting.start()
    server.stop()
    waiting.join()
    server.wait()


def test_taken_port_is_an_error_for_the_caller() -> None:
    """A port that is in use is reported where the server was started."""
    with serve({}) as server:
        with pytest.raises(ConfigurationError, match=f"port {server.port}"):
            serve({}, port=server.port)
        with pytest.raises(ConfigurationError, match="is already running"):
            server.start()


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without uvicorn the error says what to install."""
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(MissingDependency, match=r"needs uvicorn, .*: pip install hybridmodel"):
        serve({})


def test_import_is_light_and_exit_is_clean() -> None:
    """Importing loads no web server, and a program may end with its server running."""
    program = (
        "import sys, hybridmodel.serving as s\n"
        "assert not {'starlette', 'uvicorn', 'onnxruntime'} & set(sys.modules)\n"
        "server = s.serve({})\n"
        "import http.client\n"
        "c = http.client.HTTPConnection('127.0.0.1', server.port)\n"
        "c.request('GET', '/v2'); print(c.getresponse().status); c.close()\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "200\n", "")
