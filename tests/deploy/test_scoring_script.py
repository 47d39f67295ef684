"""`--azure-script`: Azure's own inference server runs the scoring script of an export."""

from __future__ import annotations

import json
import math
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybridmodel import HybridOnnxModel, save_model
from hybridmodel.deploy.azure import Wanted, write_hybrid
from hybridmodel.deploy.azure.example import request_for
from hybridmodel.deploy.azure.scoring import Scoring, plain, read_request
from hybridmodel.exceptions import InputMismatch
from tests.support import models
from tests.support.azure_server import InferenceServer, inference_server
from tests.support.faulty import FaultyEndpoint, error, http
from tests.support.mlflow_tools import COLUMNS, KEY

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.faulty import Script

MOST_BYTES = 200_000
ROWS = (np.arange(12).reshape(3, 4) / 8).tolist()
FRAME = pd.DataFrame(ROWS, columns=COLUMNS)
SPLIT = {"columns": COLUMNS, "data": ROWS}
RECORDS = FRAME.to_dict(orient="records")
FORMS = {
    "dataframe_split": {"dataframe_split": SPLIT},
    "dataframe_records": {"dataframe_records": RECORDS},
    "instances": {"instances": ROWS},
    "instances by name": {"instances": RECORDS},
    "inputs": {"inputs": ROWS},
    "inputs by name": {"inputs": {"x": ROWS}},
    "Azure's table": {"input_data": {**SPLIT, "index": [5, 6, 7]}},
    "Azure's rows": {"input_data": ROWS},
}


class Moody:
    """A script that can be changed while the endpoint runs."""

    script: Script

    def __call__(self, connection: socket.socket) -> None:
        """Do to the connection what the script of the moment says."""
        self.script(connection)


@pytest.fixture(scope="module")
def moody() -> Moody:
    """Give what the endpoint does, for the tests to choose."""
    return Moody()


@pytest.fixture(scope="module")
def faulty(moody: Moody) -> Iterator[FaultyEndpoint]:
    """Run an endpoint whose answers the tests choose."""
    with FaultyEndpoint(moody) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def exported(faulty: FaultyEndpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Export a hybrid model whose endpoint is that one, with a key."""
    folder = tmp_path_factory.mktemp("script")
    endpoint = faulty.endpoint(auth_key_env="DIGITS_API_KEY")
    model = HybridOnnxModel(models.linear(), endpoint=endpoint, feature_names=COLUMNS)
    save_model(model, folder / "saved")
    write_hybrid(str(folder / "saved"), folder / "out", Wanted(endpoint="digits-ep"), scripted=True)
    return folder / "out"


@pytest.fixture(scope="module")
def server(
    exported: Path, faulty: FaultyEndpoint, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[InferenceServer]:
    """Run Azure's server with the exported script; the model lies below the folder it is told."""
    env = {"DIGITS_API_KEY": KEY, "HYBRIDMODEL_ALLOW": f"DIGITS_API_KEY@{faulty.uri}"}
    env["HYBRIDMODEL_MAX_BODY_BYTES"] = str(MOST_BYTES)
    home = tmp_path_factory.mktemp("home")
    with inference_server(exported / "code" / "score.py", exported, home, **env) as running:
        yield running


def predictions(reply: tuple[int, str]) -> np.ndarray[Any, Any]:
    """Read the numbers of a good answer, however they are laid out."""
    status, body = reply
    assert status == 200, body
    rows = json.loads(body)["predictions"]
    return np.array([list(row.values()) if isinstance(row, dict) else row for row in rows])


def expected() -> np.ndarray[Any, Any]:
    """Compute what the local model answers."""
    answer: np.ndarray[Any, Any] = HybridOnnxModel(models.linear()).predict(np.array(ROWS))
    return answer


@pytest.mark.parametrize("form", FORMS)
def test_each_form_of_a_request(server: InferenceServer, form: str) -> None:
    """MLflow's forms of JSON and Azure's own are answered."""
    np.testing.assert_allclose(predictions(server.score(FORMS[form])), expected(), rtol=1e-5)


def test_the_request_of_the_export(server: InferenceServer, exported: Path) -> None:
    """The request that an export brings is answered, row by row and by name."""
    reply = server.score((exported / "request.json").read_bytes())
    assert predictions(reply).shape == (1, 2)


SENT = {
    "two inputs": models.two_inputs(),
    "texts": models.strings(),
    "flags": models.identity("BOOL"),
    "whole numbers": models.lookup(),
    "more dimensions": models.identity("FP64", ("N", 2, 3)),
}


@pytest.mark.parametrize("case", SENT)
def test_a_request_for_each_kind_of_model(case: str) -> None:
    """A model without names of features gets a row for each of its inputs."""
    model = HybridOnnxModel(SENT[case])
    reply = Scoring(model).reply(json.dumps(request_for(model)).encode(), None)
    assert reply.status == 200, reply.body
    assert len(json.loads(reply.body)["predictions"]) == 1


def test_a_request_for_a_large_input() -> None:
    """An input of very many values is left to the user."""
    model = HybridOnnxModel(models.identity("FP32", ("N", 101, 100)))
    assert request_for(model) == {"inputs": {"x": []}}


def test_params_arrive(server: InferenceServer, moody: Moody, faulty: FaultyEndpoint) -> None:
    """`use_azure` in the body asks the endpoint, with the key of the server's environment."""
    body = {"y": {"name": "y", "datatype": "FP32", "shape": [3, 2], "data": [1, 2, 3, 4, 5, 6]}}
    moody.script = http(200, json.dumps({"outputs": [body["y"]]}).encode())
    before = len(faulty.requests)
    there = predictions(server.score({"inputs": ROWS, "params": {"use_azure": True}}))
    np.testing.assert_array_equal(there, [[1, 2], [3, 4], [5, 6]])
    assert f"Bearer {KEY}".encode() in faulty.requests[before]
    here = predictions(server.score({"inputs": ROWS, "params": {"use_azure": False}}))
    np.testing.assert_allclose(here, expected(), rtol=1e-5)
    assert len(faulty.requests) == before + 1


STATUSES = {
    "400": (error(400, "bad tensor"), 400, "BAD_REQUEST"),
    "401": (error(401, f"no good: {KEY}"), 401, "UNAUTHENTICATED"),
    "403": (error(403, f"no good: {KEY}"), 403, "PERMISSION_DENIED"),
    "429": (error(429, "slow down", Retry_After="7"), 429, "REQUEST_LIMIT_EXCEEDED"),
    "503": (http(503, b"no healthy upstream"), 503, "TEMPORARILY_UNAVAILABLE"),
    "no JSON": (http(200, b"no json"), 500, "INTERNAL_ERROR"),
}


@pytest.mark.parametrize("case", STATUSES)
def test_errors_keep_their_status(server: InferenceServer, moody: Moody, case: str) -> None:
    """A caller can tell what kind of failure it was, where the server alone would say 500."""
    moody.script, status, code = STATUSES[case]
    got, text = server.score({"inputs": ROWS, "params": {"use_azure": True, "timeout": 20.0}})
    assert (got, json.loads(text)["error_code"]) == (status, code), text
    assert "Traceback" not in text
    assert KEY not in text


def test_a_timeout_is_504(server: InferenceServer, moody: Moody, faulty: FaultyEndpoint) -> None:
    """An endpoint that says nothing in the time of the call is 504."""
    moody.script = lambda _connection: faulty.wait(30)
    params = {"use_azure": True, "timeout": 0.3}
    got, text = server.score({"inputs": ROWS, "params": params})
    assert (got, json.loads(text)["error_code"]) == (504, "DEADLINE_EXCEEDED"), text


MISTAKES = {
    "no JSON": (b"{", 400, "not JSON"),
    "deep JSON": (b"[" * 100_000, 400, "not JSON"),
    "no key": ({"rows": ROWS}, 400, "dataframe_split"),
    "two keys": ({"inputs": ROWS, "instances": ROWS}, 400, "dataframe_split"),
    "a list": (ROWS, 400, "an object with one of"),
    "a typo in params": ({"inputs": ROWS, "params": {"use_azur": True}}, 400, "use_azure"),
    "params as a list": ({"inputs": ROWS, "params": [1]}, 400, "params is an object"),
    "a wrong switch": ({"inputs": ROWS, "params": {"use_azure": "maybe"}}, 400, "use_azure"),
    "a mode that is no name": ({"inputs": ROWS, "params": {"mode": {"a": 1}}}, 400, "is a name"),
    "an unknown mode": ({"inputs": ROWS, "params": {"mode": "somewhere"}}, 400, "somewhere"),
    "a wrong flag": ({"inputs": ROWS, "params": {"provenance": "maybe"}}, 400, "provenance"),
    "too few columns": ({"inputs": [[1, 2]]}, 400, "InputMismatch"),
    "no table": ({"dataframe_split": {"columns": ["a"], "data": 3}}, 400, "cannot be read"),
    "more in a table": ({"dataframe_split": {**SPLIT, "dtype": "x"}}, 400, "cannot be read"),
    "rows of two lengths": (
        {"dataframe_split": {"columns": COLUMNS, "data": [[1, 2, 3, 4], [1]]}},
        400,
        "same length",
    ),
    "rows of other columns": (
        {"dataframe_records": [RECORDS[0], {"a": 1}]},
        400,
        "not all rows have the same columns",
    ),
    "an output that is no name": ({"inputs": ROWS, "params": {"output": []}}, 400, "is a name"),
    "records as an object": ({"dataframe_records": {"a": 1}}, 400, "cannot be read"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_of_the_caller(server: InferenceServer, case: str) -> None:
    """What the caller can mend is 400 and says what was expected."""
    body, status, message = MISTAKES[case]
    got, text = server.score(body)
    assert got == status, text
    assert message in text


def test_another_type_of_content_is_415(server: InferenceServer) -> None:
    """A body that says it is no JSON is not read as JSON."""
    got, text = server.score(b"a,b\n1,2\n", "text/csv")
    assert (got, "text/csv" in text) == (415, True)


@pytest.mark.parametrize("is_told", [True, False])
def test_a_body_without_end_is_413(server: InferenceServer, is_told: bool) -> None:
    """More than the script may read is refused, whether the request tells its size or not."""
    length = f"Content-Length: {MOST_BYTES + 1}" if is_told else "Transfer-Encoding: chunked"
    head = f"POST /score HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{length}\r\n\r\n"
    chunk = b"" if is_told else f"{MOST_BYTES:x}\r\n".encode() + b" " * MOST_BYTES + b"\r\n"
    address = ("127.0.0.1", int(server.url.rpartition(":")[2]))
    with socket.create_connection(address, timeout=30) as connection:
        with suppress(ConnectionError):
            connection.sendall(head.encode() + chunk + chunk)
        assert b" 413 " in connection.recv(1000).split(b"\r\n")[0]


def test_the_server_says_no_secret(server: InferenceServer) -> None:
    """After all these failures the key is nowhere in what the server has said."""
    assert "POST /score" in server.log
    assert KEY not in server.log


def test_retry_after_is_passed_on(
    exported: Path, moody: Moody, faulty: FaultyEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How long the endpoint asked to wait reaches the caller, in whole seconds."""
    monkeypatch.setenv("DIGITS_API_KEY", KEY)
    monkeypatch.setenv("HYBRIDMODEL_ALLOW", f"DIGITS_API_KEY@{faulty.uri}")
    moody.script = error(429, "slow down", Retry_After="7")
    body = json.dumps({"inputs": ROWS, "params": {"use_azure": True}}).encode()
    reply = Scoring.below(exported).reply(body, "application/json; charset=utf-8")
    assert (reply.status, reply.headers) == (429, {"Retry-After": "7"})


ANSWERS = {
    "a column": (pd.Series([1, 2]), [1, 2]),
    "columns": (pd.DataFrame({"y": [1.5, math.nan]}), [{"y": 1.5}, {"y": None}]),
    "an array": (np.array([[1.0, math.inf]], np.float32), [[1.0, None]]),
    "arrays by name": ({"a": np.array([1], np.int64)}, {"a": [1]}),
    "texts": (np.array(["x", "y"], object), ["x", "y"]),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_answers_as_json(case: str) -> None:
    """Answers of every kind become JSON's types, and what JSON has no form for is null."""
    answer, plainly = ANSWERS[case]
    assert plain(answer) == plainly
    json.dumps(plain(answer), allow_nan=False)


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from([*COLUMNS, "columns", "data", "index", "x"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from([*COLUMNS, "columns", "data", "index", "x"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)
_KEYS = st.sampled_from(
    ["dataframe_split", "dataframe_records", "instances", "inputs", "input_data"]
)
_PARAMS = st.dictionaries(
    st.sampled_from(["use_azure", "mode", "timeout", "output", "provenance"]), _VALUES, max_size=2
)


@pytest.fixture(scope="module")
def local() -> Scoring:
    """Score with a model without an endpoint, in this process."""
    return Scoring(HybridOnnxModel(models.linear(), feature_names=COLUMNS))


@settings(deadline=None, max_examples=100)
@given(key=_KEYS, value=_VALUES, params=_PARAMS)
def test_whatever_comes_is_the_callers(local: Scoring, key: str, value: Any, params: Any) -> None:
    """Any body of JSON is answered, or refused as the caller's mistake; it is never a 500."""
    reply = local.reply(json.dumps({key: value, "params": params}).encode(), None)
    assert reply.status in (200, 400), reply.body
    json.loads(reply.body)


def test_a_table_keeps_its_index() -> None:
    """The rows of a table in a request keep the names that the caller gave them."""
    data, params = read_request(json.dumps(FORMS["Azure's table"] | {"params": {}}).encode())
    assert data.index.tolist() == [5, 6, 7]
    assert params == {}


def test_a_request_without_rows_is_no_object() -> None:
    """An empty body is refused as what it is."""
    with pytest.raises(InputMismatch, match="the body is not JSON"):
        read_request(b"")
