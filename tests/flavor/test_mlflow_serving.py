"""``mlflow models serve`` over HTTP: formats, params, statuses, and what a body never shows.

Slow: each of the two scoring servers takes seconds to start.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from hybridmodel import HybridOnnxModel, save_model
from tests.support import models
from tests.support.faulty import FaultyEndpoint, Script, error, http
from tests.support.mlflow_tools import COLUMNS, KEY, Process, scoring_server

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from hybridmodel.serving import EmbeddedServer

X = pd.DataFrame(np.arange(12, dtype=float).reshape(3, 4) / 8, columns=COLUMNS)
ROWS = X.to_numpy().tolist()
SPLIT = {"columns": COLUMNS, "data": ROWS}
USE_AZURE = {"params": {"use_azure": True}}
FORMATS = {
    "dataframe_split": {"dataframe_split": SPLIT},
    "dataframe_records": {"dataframe_records": X.to_dict(orient="records")},
    "inputs": {"inputs": ROWS},
    "inputs by name": {"inputs": {"x": ROWS}},
    "instances": {"instances": ROWS},
}


def answer_of(seed: int) -> np.ndarray[Any, Any]:
    """Compute what a linear model answers to the three rows."""
    values: np.ndarray[Any, Any] = HybridOnnxModel(models.linear(seed=seed)).predict(
        X.to_numpy(), use_azure=False
    )
    return values


def predictions(reply: tuple[int, str]) -> np.ndarray[Any, Any]:
    """Read the numbers of a good answer, however they are laid out."""
    status, body = reply
    assert status == 200, body
    rows = json.loads(body)["predictions"]
    return np.array([list(row.values()) if isinstance(row, dict) else row for row in rows])


class Moody:
    """A script that can be changed while the endpoint runs."""

    script: Script

    def __call__(self, connection: socket.socket) -> None:
        """Do to the connection what the script of the moment says."""
        self.script(connection)


@pytest.fixture(scope="module")
def scoring(
    endpoint_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Process]:
    """Serve a model whose endpoint is another model, in an embedded server."""
    folder = tmp_path_factory.mktemp("scoring")
    model = HybridOnnxModel(models.linear(), endpoint=endpoint_server.endpoint("linear"))
    save_model(model, folder / "model", signature="params", input_example=X)
    with scoring_server(folder / "model", folder) as process:
        yield process


@pytest.fixture(scope="module")
def faulty() -> Iterator[FaultyEndpoint]:
    """Run an endpoint whose answers the tests choose."""
    with FaultyEndpoint(Moody()) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def failing(faulty: FaultyEndpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """Serve a model with that endpoint and a key; the environment asks for the endpoint."""
    folder = tmp_path_factory.mktemp("failing")
    endpoint = faulty.endpoint(auth_key_env="DIGITS_API_KEY")
    save_model(HybridOnnxModel(models.linear(), endpoint=endpoint), folder / "model")
    env = {"DIGITS_API_KEY": KEY, "HYBRIDMODEL_USE_AZURE": "1"}
    env["HYBRIDMODEL_ALLOW"] = f"DIGITS_API_KEY@{faulty.uri}"
    with scoring_server(folder / "model", folder, **env) as process:
        yield process


@pytest.mark.parametrize("form", FORMATS)
def test_every_json_format_on_both_routes(scoring: Process, form: str) -> None:
    """Each of MLflow's formats is understood, and params in the body choose the route."""
    body = FORMATS[form]
    np.testing.assert_allclose(predictions(scoring.post(body)), answer_of(0), rtol=1e-5)
    there = predictions(scoring.post({**body, **USE_AZURE}))
    np.testing.assert_allclose(there, answer_of(7), rtol=1e-5)
    here = predictions(scoring.post({**body, "params": {"use_azure": False, "timeout": 3}}))
    np.testing.assert_allclose(here, answer_of(0), rtol=1e-5)


def test_csv_has_no_params(scoring: Process) -> None:
    """A body in CSV cannot say the route, so that it takes the default one."""
    answer = predictions(scoring.post(X.to_csv(index=False), "text/csv"))
    np.testing.assert_allclose(answer, answer_of(0), rtol=1e-5)


@pytest.mark.parametrize(
    "extra",
    [{"use_azure": True}, {"params": {"use_azur": True}}, {"params": {"uri": "http://1.2.3.4"}}],
)
def test_what_mlflow_drops(scoring: Process, extra: dict[str, Any]) -> None:
    """MLflow drops what it does not know without an error: the local model answers (facts 4.1).

    The last case is as important: nobody can choose the URL from outside.
    """
    answer = predictions(scoring.post({"dataframe_split": SPLIT, **extra}))
    np.testing.assert_allclose(answer, answer_of(0), rtol=1e-5)


def test_concurrent_requests(scoring: Process) -> None:
    """Many callers at once, on both routes, each get the answer to their own rows."""
    local, remote = HybridOnnxModel(models.linear()), HybridOnnxModel(models.linear(seed=7))

    def ask(number: int) -> None:
        rows = np.full((1 + number % 3, 4), number / 10)
        body = {"inputs": rows.tolist(), "params": {"use_azure": number % 2 == 0}}
        expected = (remote if number % 2 == 0 else local).predict(rows)
        np.testing.assert_allclose(predictions(scoring.post(body)), expected, rtol=1e-4, atol=1e-5)

    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(ask, range(80)))) == 80


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"inputs": [[1, 2, 3]]}, "InputMismatch"),
        ({"inputs": ROWS, "params": {"output": "nope"}}, "no output 'nope'; it has 'y'"),
        ({"inputs": ROWS, "params": {"timeout": 0, "use_azure": True}}, "positive number"),
        ({"inputs": ROWS, "params": {"use_azure": "yes"}}, "Invalid parameters"),
    ],
)
def test_mistakes_of_the_caller(scoring: Process, body: Any, message: str) -> None:
    """What the caller can mend is 400, with our message and without a stack trace."""
    status, text = scoring.post(body)
    assert status == 400
    assert message in text
    assert_clean(text)


def assert_clean(text: str) -> None:
    """Check that a body has neither a stack trace nor the key."""
    assert "Traceback" not in text
    assert "stack_trace" not in text
    assert ".py" not in text
    assert KEY not in text


def hang(faulty: FaultyEndpoint) -> Script:
    """Answer nothing until the test is over."""
    return lambda _connection: faulty.wait(30)


@pytest.mark.parametrize(
    ("script", "status", "error_code"),
    [
        (error(400, "bad tensor"), 400, "BAD_REQUEST"),
        (error(401, f"no good: {KEY}"), 401, "UNAUTHENTICATED"),
        (error(403, f"no good: {KEY}"), 403, "PERMISSION_DENIED"),
        (http(404, b"not found"), 400, "BAD_REQUEST"),
        (http(200, b"no json"), 500, "INTERNAL_ERROR"),
        (error(429, "slow down"), 429, "REQUEST_LIMIT_EXCEEDED"),
        (http(503, b"no healthy upstream"), 503, "TEMPORARILY_UNAVAILABLE"),
        (None, 504, "DEADLINE_EXCEEDED"),
    ],
)
def test_statuses_of_the_endpoint(
    failing: Process, faulty: FaultyEndpoint, script: Any, status: int, error_code: str
) -> None:
    """A caller of the scoring server can tell what kind of failure it was, and sees no secret."""
    faulty._scripts[0].script = script or hang(faulty)  # type: ignore[attr-defined]
    params = {"use_azure": True, "timeout": 20.0 if script else 0.5}
    got, text = failing.post({"inputs": ROWS, "params": params})
    assert (got, json.loads(text)["error_code"]) == (status, error_code), text
    assert_clean(text)
    assert f"Bearer {KEY}".encode() in faulty.requests[-1]


def test_the_environment_decides_for_csv(failing: Process, faulty: FaultyEndpoint) -> None:
    """With HYBRIDMODEL_USE_AZURE a body without params gets the endpoint; params win."""
    faulty._scripts[0].script = error(400, "bad tensor")  # type: ignore[attr-defined]
    status, text = failing.post(X.to_csv(index=False), "text/csv")
    assert (status, "bad tensor" in text) == (400, True)
    answer = failing.post({"inputs": ROWS, "params": {"use_azure": False}})
    np.testing.assert_allclose(predictions(answer), answer_of(0), rtol=1e-5)


def test_the_log_of_a_scoring_server_has_no_secret(failing: Process) -> None:
    """After all these failures the key is nowhere in what the server has said."""
    assert KEY not in failing.log
