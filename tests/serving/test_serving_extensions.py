"""What lies beside plain inference, asked of the embedded server and of a real Triton.

Where the two differ, each table says how: the embedded server says what it does not understand.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from hybridmodel.serving import EmbeddedServer, TritonServer, serve
from hybridmodel.serving.inference import without_paths
from tests.support import models
from tests.support.wire import LENGTH, Call, ask, pack, tensor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROW = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}
TWO_ROWS = pack("FP32", np.arange(6))


@pytest.fixture(scope="module")
def embedded() -> Iterator[EmbeddedServer]:
    """Start an embedded server with the models of the shared Triton."""
    with serve(models.served()) as server:
        yield server


@pytest.fixture(params=["embedded", "triton"])
def server(request: pytest.FixtureRequest) -> Any:
    """Give each of the two servers in turn."""
    return request.getfixturevalue(request.param)


def row(**changes: Any) -> Call:
    """Ask FP32's identity with other fields of the request."""
    return Call("identity_FP32", {"inputs": [ROW], **changes})


def raw(model: str, body: bytes, **headers: str) -> Call:
    """Ask with a body that is nothing but the input."""
    return Call(model, body, headers={LENGTH: "0", **headers})


@pytest.mark.parametrize(
    ("call", "outputs"),
    [
        (raw("identity_FP32", TWO_ROWS), {"y": [[0, 1, 2], [3, 4, 5]]}),
        (raw("identity_FP32", TWO_ROWS[:12]), {"y": [[0, 1, 2]]}),
        (raw("lookup", pack("INT64", np.array([0, 1]))), {"y": [10.0, 20.0]}),
        (raw("two_outputs", TWO_ROWS[:12]), {"total": [[3]], "double": [[0, 2, 4]]}),
    ],
)
def test_raw_requests_are_answered(server: Any, call: Call, outputs: dict[str, Any]) -> None:
    """A body without JSON is the only input; its rows follow from its size, all answers binary."""
    answer = call.send(server.port)
    assert answer.status == 200
    assert set(answer.forms.values()) == {"binary"}
    assert {name: array.tolist() for name, array in answer.outputs.items()} == outputs


@pytest.mark.parametrize("headers", [{LENGTH: "0"}, {}])
def test_an_empty_body_is_raw(server: Any, headers: dict[str, str]) -> None:
    """A body of nothing is a raw input without rows."""
    answer = Call("identity_FP32", b"", headers=headers).send(server.port)
    assert (answer.status, answer.outputs["y"].shape) == (200, (0, 3))


@pytest.mark.parametrize(
    "call",
    [
        raw("identity_FP32", TWO_ROWS[:8]),
        raw("identity_FP32", b"123"),
        raw("two_inputs", TWO_ROWS),
        raw("strings", b"text"),
        raw("image", TWO_ROWS),
        raw("nobody", TWO_ROWS, status="404"),
    ],
)
def test_raw_requests_that_cannot_be_meant_are_refused(server: Any, call: Call) -> None:
    """A size that is no whole number of rows, several inputs, or text for many: refused."""
    answer = call.send(server.port)
    assert answer.status == (404 if call.model == "nobody" else 400)
    assert list(answer.json) == ["error"]


def test_a_raw_text_is_one_string() -> None:
    """For a model that takes one string, the whole body is that string."""
    with serve({"m": models.identity("BYTES", (1,))}) as server:
        answer = raw("m", "né".encode()).send(server.port)
        assert answer.outputs["y"].tolist() == ["né"]
        assert raw("m", b"\xff").send(server.port).status == 400


def parameters(where: str, **given: Any) -> Call:
    """Put parameters into one place of a request."""
    if where == "request":
        return row(parameters=given)
    if where == "output":
        return row(outputs=[{"name": "y", "parameters": given}])
    return row(inputs=[{**ROW, "parameters": given}])


NOT_UNDERSTOOD = [
    ("output", {"classification": 2}, "tensors, not classes", 200),
    ("output", {"shared_memory_region": "r", "shared_memory_byte_size": 12}, "no memory", 404),
    ("input", {"shared_memory_region": "r", "shared_memory_byte_size": 12}, "no memory", 400),
    ("input", {"shared_memory_offset": 3}, "no memory", 200),
    ("request", {"sequence_id": 7, "sequence_start": True}, "between requests", 200),
    ("request", {"priority": 1}, "no queue", 200),
    ("request", {"timeout": 1}, "no queue", 200),
    ("request", {"binary_data_ouput": True}, "supports binary_data_output", 200),
    ("request", {"triton_secret": 1}, "not supported", 400),
    ("request", {"mine": None}, "not supported", 400),
    ("output", {"binary_data_size": 12}, "supports binary_data here", 200),
    ("input", {"binary_data": True}, "supports binary_data_size here", 200),
    ("input", {"binary_data_size": 12}, "send only one", 400),
]


@pytest.mark.parametrize(("where", "given", "said", "theirs"), NOT_UNDERSTOOD)
def test_what_is_not_understood_is_refused(
    server: Any, where: str, given: dict[str, Any], said: str, theirs: int
) -> None:
    """A parameter that the embedded server does not know is refused in a sentence, with 400."""
    answer = parameters(where, **given).send(server.port)
    if isinstance(server, TritonServer):
        assert answer.status == theirs
        return
    assert answer.status == 400
    assert said in answer.json["error"]


@pytest.mark.parametrize(
    "call",
    [
        row(parameters=[]),
        row(parameters=None),
        row(id=7),
        parameters("request", binary_data_output="yes"),
        parameters("output", binary_data=1),
    ],
)
def test_parameters_of_another_type_are_refused(server: Any, call: Call) -> None:
    """Fields that hold another type than the protocol says are refused by both."""
    answer = call.send(server.port)
    assert answer.status == (400 if isinstance(server, EmbeddedServer) else 500)
    assert list(answer.json) == ["error"]


def test_health_is_said_as_the_protocol_writes(embedded: EmbeddedServer) -> None:
    """Health and readiness answer with the protocol's objects."""
    said = {
        "/v2/health/live": {"live": True},
        "/v2/health/ready": {"ready": True},
        "/v2/models/linear/ready": {"name": "linear", "ready": True},
        "/v2/models/linear/versions/1/ready": {"name": "linear", "ready": True},
    }
    assert {path: ask(embedded.port, "GET", path).json for path in said} == said


@pytest.mark.parametrize("end", ["", "/ready", "/config", "/stats"])
@pytest.mark.parametrize("version", ["9" * 5000, "9" * 19, "0", "x", "1" * 4301])
def test_versions_that_cannot_be_are_not_found(
    embedded: EmbeddedServer, version: str, end: str
) -> None:
    """No version makes the server fail, however long its number."""
    answer = ask(embedded.port, "GET", f"/v2/models/linear/versions/{version}{end}")
    assert answer.status == (400 if version == "0" and end in ("/ready", "/stats") else 404)
    assert len(answer.body) < 300


@pytest.mark.parametrize("model", ["identity_FP32", "versions"])
def test_statistics_agree(server: Any, model: str) -> None:
    """Both servers count what was answered, version by version, and in the same fields."""
    path = f"/v2/models/{model}/stats"
    before = ask(server.port, "GET", path).json["model_stats"]
    width = 4 if model == "versions" else 3
    x, _ = tensor("x", "FP32", np.ones((2, width)))
    assert Call(model, {"inputs": [x]}).send(server.port).status == 200
    assert Call(model, {"inputs": []}).send(server.port).status == 400
    after = ask(server.port, "GET", path).json["model_stats"]
    assert [one["version"] for one in after] == (["1", "3"] if model == "versions" else ["1"])
    counted = [one["inference_count"] - other["inference_count"] for one, other in zip(
        after, before, strict=True
    )]  # fmt: skip
    assert counted == [0] * (len(after) - 1) + [1]
    newest = after[-1]
    assert newest["last_inference"] > 1_600_000_000_000
    assert set(newest) == {
        *("name", "version", "last_inference", "inference_count", "execution_count"),
        *("inference_stats", "response_stats", "batch_stats", "memory_usage"),
    }
    steps = newest["inference_stats"]
    assert set(steps) == {
        *("success", "fail", "queue", "compute_input", "compute_infer", "compute_output"),
        *("cache_hit", "cache_miss"),
    }
    assert steps["success"]["count"] == steps["compute_infer"]["count"] == newest["inference_count"]
    assert steps["compute_infer"]["ns"] > 0


def test_failures_are_counted(embedded: EmbeddedServer) -> None:
    """A model that fails counts as a failure, and not as an inference."""

    def counts() -> tuple[int, int]:
        (one,) = ask(embedded.port, "GET", "/v2/models/lookup/stats").json["model_stats"]
        return one["inference_stats"]["fail"]["count"], one["inference_count"]

    failed, answered = counts()
    beyond = Call("lookup", {"inputs": [tensor("x", "INT64", [7])[0]]})
    assert beyond.send(embedded.port).status == 500
    assert counts() == (failed + 1, answered)


def test_all_statistics_name_every_model(server: Any) -> None:
    """Without a model, the statistics of all of them come."""
    stats = ask(server.port, "GET", "/v2/models/stats").json["model_stats"]
    assert {one["name"] for one in stats} == set(models.served())


def test_repository_index_agrees(embedded: EmbeddedServer, triton: TritonServer) -> None:
    """Both servers list the same models and versions, the real one for its owner."""
    ours = ask(embedded.port, "POST", "/v2/repository/index", b'{"ready": true}').json
    theirs = ask(triton.port, "POST", "/v2/repository/index", b"{}", triton._key.headers()).json
    assert ours == sorted(theirs, key=lambda one: (one["name"], one["version"]))
    assert ask(embedded.port, "POST", "/v2/repository/index").json == ours
    assert ask(embedded.port, "POST", "/v2/repository/index", b"nonsense").status == 400
    assert ask(embedded.port, "GET", "/v2/repository/index").status == 405


@pytest.mark.parametrize("verb", ["load", "unload"])
def test_models_stay_as_they_were_started(
    embedded: EmbeddedServer, triton: TritonServer, verb: str
) -> None:
    """Neither server, as started here, loads or takes off a model, whoever asks."""
    path = f"/v2/repository/models/linear/{verb}"
    assert ask(embedded.port, "POST", path).status == 503
    assert ask(triton.port, "POST", path, b"{}", triton._key.headers()).status == 503


ABSENT = [
    ("GET", "/v2/trace/setting", "no traces"),
    ("POST", "/v2/models/linear/trace/setting", "no traces"),
    ("GET", "/v2/models/linear/versions/1/trace/setting", "no traces"),
    ("GET", "/v2/logging", "no log settings"),
    ("POST", "/v2/logging", "no log settings"),
    ("GET", "/v2/systemsharedmemory/status", "no memory"),
    ("POST", "/v2/systemsharedmemory/region/mine/register", "no memory"),
    ("POST", "/v2/cudasharedmemory/unregister", "no memory"),
    ("POST", "/v2/models/linear/generate", "no text"),
    ("POST", "/v2/models/linear/versions/1/generate_stream", "no text"),
]


@pytest.mark.parametrize(("method", "path", "said"), ABSENT)
def test_absent_extensions_say_so(
    embedded: EmbeddedServer, method: str, path: str, said: str
) -> None:
    """What Triton has and the embedded server has not is told in a sentence, with 501."""
    answer = ask(embedded.port, method, path, b"{}")
    assert (answer.status, list(answer.json)) == (501, ["error"])
    assert said in answer.json["error"]
    assert ask(embedded.port, "DELETE", path).status == 405


def test_announced_extensions_answer(embedded: EmbeddedServer) -> None:
    """Each extension that the server announces is one that it has."""
    assert ask(embedded.port, "GET", "/v2").json["extensions"] == [
        "binary_tensor_data",
        "model_configuration",
        "statistics",
    ]


@pytest.mark.parametrize("end", ["", "/config", "/infer"])
def test_no_error_names_a_path_of_this_machine(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, end: str
) -> None:
    """A model that cannot be opened is a 500 without its path, which stands in the log."""
    broken = tmp_path / "secret folder" / "broken.onnx"
    broken.parent.mkdir()
    broken.write_bytes(b"not a model")
    with serve({"m": broken}) as server, caplog.at_level(logging.WARNING, "hybridmodel"):
        body = json.dumps({"inputs": [ROW]}).encode() if end == "/infer" else None
        answer = ask(server.port, "POST" if body else "GET", f"/v2/models/m{end}", body)
        assert answer.status == 500
        for part in ("secret", "broken", str(tmp_path), "folder"):
            assert part not in answer.json["error"]
    assert "'m'" in answer.json["error"]
    assert "broken.onnx" in caplog.text


def test_a_file_that_went_is_no_path_either(tmp_path: Path) -> None:
    """A file that was there when the server started, and is not any more, is told without path."""
    path = tmp_path / "m.onnx"
    path.write_bytes(models.identity())
    with serve({"m": path}) as server:
        path.unlink()
        answer = ask(server.port, "GET", "/v2/models/m")
    assert answer.status == 500
    assert str(tmp_path) not in answer.body.decode()


def test_a_defect_of_the_server_is_told_in_the_form_of_errors(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What nobody foresaw is a 500 with nothing of it in the answer."""
    from hybridmodel.serving import app

    def fail(*_: Any) -> None:
        raise RuntimeError("/home/somebody/secret")

    monkeypatch.setattr(app, "model_config", fail)
    with serve({"m": models.identity()}) as server:
        answer = ask(server.port, "GET", "/v2/models/m/config")
    assert (answer.status, list(answer.json)) == (500, ["error"])
    assert "secret" not in answer.json["error"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no file {folder}/a b/m.onnx", "no file …"),
        ("Load model from {folder}/m.onnx failed:Protobuf", "Load model from …:Protobuf"),
        ("bad '/etc/passwd', and more", "bad '…', and more"),
        ("Name:'/layers.0/Gemm' Status", "Name:'/layers.0/Gemm' Status"),
        ("1/2 and 3 / 4 of http://x", "1/2 and 3 / 4 of http://x"),
        ("x" * 5000, "x" * 2000),
    ],
)
def test_paths_are_hidden_and_nodes_are_not(tmp_path: Path, text: str, shown: str) -> None:
    """Paths that begin on this machine become an ellipsis; names of nodes stay."""
    assert without_paths(text.format(folder=tmp_path)) == shown
