"""The key of an endpoint is used, and is nowhere else: one table of places that are searched.

Everything that can be done with a model is done with a key that occurs in no other file, from each
of the three sources of keys, through successes and failures. What that leaves behind is searched.
"""

from __future__ import annotations

import base64
import contextlib
import copy
import io
import json
import logging
import pickle
import traceback
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import cloudpickle
import mlflow
import numpy as np
import pandas as pd
import pytest

from hybridmodel import (
    AuthenticationFailed,
    ConfigurationError,
    EndpointError,
    HybridOnnxModel,
    TritonEndpoint,
    load_model,
    log_model,
    save_model,
)
from hybridmodel.flavor.pyfunc import PyfuncModel, as_mlflow_exception
from tests.support import models
from tests.support.faulty import FaultyEndpoint, Script, error, http
from tests.support.mlflow_tools import COLUMNS, KEY, Process, tracked_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

X = pd.DataFrame(np.ones((2, 4)), columns=COLUMNS)
KEY_ENV = "SECRETS_API_KEY"
FORMS = (KEY, base64.b64encode(KEY.encode()).decode().rstrip("="), quote(KEY[::-1]), KEY[:14])

PLACES = (
    "saved folder",
    "logged artifacts",
    "run",
    "logged model",
    "registered version",
    "traces",
    "log records",
    "standard output",
    "exceptions",
    "tracebacks",
    "MLflow's errors",
    "reprs",
    "attributes",
    "pickles",
    "copies",
    "answers",
)


class Token:
    """A credential as those of azure-identity."""

    def get_token(self, *scopes: str) -> Any:
        """Return something with a token."""
        return type("AccessToken", (), {"token": KEY})()


SOURCES: dict[str, Any] = {"environment": None, "token": Token(), "callable": lambda: KEY}
FAILURES: dict[str, Script] = {
    "repeats the key": error(401, f"no good: Bearer {KEY}"),
    "repeats it in a page": http(403, f"<html>{KEY}</html>".encode()),
    "repeats it in a header": http(503, b"later", X_Key=KEY, Retry_After="1"),
    "is no protocol": http(200, f"you sent {KEY}".encode()),
    "redirects": http(302, b"", Location=f"https://elsewhere/?key={KEY}"),
}


class Evidence:
    """Collects text by place, and what was logged meanwhile."""

    def __init__(self) -> None:
        self.texts: dict[str, list[bytes]] = defaultdict(list)

    def add(self, place: str, *found: Any) -> None:
        """Keep what was found in a place."""
        assert place in PLACES
        for item in found:
            self.texts[place].append(item if isinstance(item, bytes) else str(item).encode())

    def add_files(self, place: str, folder: Path) -> None:
        """Keep all files of a folder, and their names."""
        for path in folder.rglob("*"):
            self.add(place, path.relative_to(folder), path.read_bytes() if path.is_file() else b"")

    def add_object(self, value: Any) -> None:
        """Keep what an object shows of itself, and what it is made of."""
        self.add("reprs", repr(value), str(value))
        for inner in within(value):
            self.add("attributes", repr(inner))
        for dump in (pickle.dumps, cloudpickle.dumps):
            self.add("pickles", dump(value))
        self.add("copies", pickle.dumps(copy.deepcopy(value)), repr(vars(copy.copy(value))))

    def provoke(self, action: Callable[[], Any], *kinds: type[Exception]) -> None:
        """Keep all that can be seen of the error that an action must raise."""
        with pytest.raises(kinds) as caught:
            action()
        failure = caught.value
        self.add("exceptions", failure, repr(failure), vars(failure), failure.args)
        self.add("tracebacks", "".join(traceback.format_exception(failure)))
        translated = as_mlflow_exception(failure)
        self.add("MLflow's errors", translated.serialize_as_json(), repr(translated))


def within(value: Any, depth: int = 6) -> Iterator[Any]:
    """Walk through the attributes of an object and of those below it."""
    yield value
    if depth and (inner := getattr(value, "__dict__", None)):
        yield inner
        for item in list(inner.values()):
            yield from within(item, depth - 1)


@contextlib.contextmanager
def everything_logged(evidence: Evidence) -> Iterator[None]:
    """Keep every log record of every library, at the lowest level, and all that is printed."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            evidence.add("log records", record.getMessage(), record.args, record.exc_text or "")

    handler, root, own = Handler(0), logging.getLogger(), logging.getLogger("mlflow")
    before = root.level, own.level
    printed = io.StringIO()
    for logger in (root, own):
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            yield
    finally:
        for logger, level in zip((root, own), before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
        evidence.add("standard output", printed.getvalue() or "(nothing)")


def use(model: HybridOnnxModel, evidence: Evidence) -> None:
    """Ask the endpoint by every way, within a trace, and keep what comes and what it leaves."""
    traced = mlflow.trace(lambda data: model.predict(data, use_azure=True), name="predict")
    evidence.add("answers", traced(X))
    evidence.add("answers", repr(model.infer(X, use_azure=True)))
    evidence.add("answers", model.check_endpoint())
    with mlflow.start_span("whole") as span:
        span.set_inputs({"model": repr(model)})
        evidence.add("answers", PyfuncModel(model).predict(X, {"use_azure": True}))
    for item in (model, model.local, model.endpoint, PyfuncModel(model)):
        evidence.add_object(item)
    evidence.add("reprs", repr(model.client), str(model.client))
    evidence.add("attributes", *(repr(inner) for inner in within(model.client)))


def store(model: HybridOnnxModel, folder: Path, evidence: Evidence, name: str) -> None:
    """Save, log and register, and keep what the servers and folders hold afterwards."""
    save_model(model, folder / "saved", input_example=X)
    evidence.add_files("saved folder", folder / "saved")
    with mlflow.start_run() as run:
        info = log_model(model, "digits", registered_model_name=name, input_example=X)
    client = mlflow.MlflowClient()
    evidence.add("run", json.dumps(client.get_run(run.info.run_id).to_dictionary(), default=str))
    evidence.add("logged model", client.get_logged_model(info.model_id).to_dictionary())
    version = client.get_model_version(name, "1")
    evidence.add("registered version", vars(version), client.get_registered_model(name))
    target = folder / "download"
    mlflow.artifacts.download_artifacts(info.model_uri, dst_path=str(target))
    evidence.add_files("logged artifacts", target)


def fail(credential: Any, folder: Path, evidence: Evidence) -> None:
    """Meet endpoints that fail, some of which send the key back."""
    for number, script in enumerate(FAILURES.values()):
        with FaultyEndpoint(script) as faulty:
            endpoint = faulty.endpoint(auth_key_env=KEY_ENV, timeout_s=2.0)
            saved = folder / f"failing-{number}"
            save_model(HybridOnnxModel(models.linear(), endpoint=endpoint), saved)
            model = load_model(saved, credential=credential)
            evidence.provoke(lambda m=model: m.predict(X, use_azure=True), EndpointError)
            evidence.add_object(model)
            assert all(f"Bearer {KEY}".encode() in request for request in faulty.requests)
    with FaultyEndpoint(lambda _: faulty.wait(20)) as faulty:
        endpoint = faulty.endpoint(auth_key_env=KEY_ENV)
        model = HybridOnnxModel(models.linear(), endpoint=endpoint, credential=credential)
        evidence.provoke(lambda: model.predict(X, use_azure=True, timeout=0.3), EndpointError)


def misplace(saved: Path, evidence: Evidence, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the key where it does not belong, as people do."""
    place = {"uri": "https://a.example", "model_name": "digits"}
    model = load_model(saved)
    mistakes: list[Callable[[], Any]] = [
        lambda: TritonEndpoint(**{**place, "uri": f"https://user:{KEY}@a.example"}),
        lambda: TritonEndpoint(**place, auth_key_env=KEY),
        lambda: TritonEndpoint(**place, auth_key_env=f"Bearer {KEY}"),
        lambda: HybridOnnxModel(models.linear(), endpoint=TritonEndpoint(**place), credential=KEY),
        lambda: load_model(saved, model_config={"api_key": KEY}),
        lambda: load_model(saved, model_config={"auth_key_env": KEY}),
        lambda: load_model(saved, model_config={"use_azure": KEY}),
        lambda: save_model(model, saved / "new", input_example=(X, {"api_key": KEY})),
        lambda: save_model(model, saved / "new", input_example=(X, {"use_azure": KEY})),
        lambda: model.predict(X, use_azure=KEY),
        lambda: load_model(saved, credential=lambda: f"{KEY}\n").predict(X, use_azure=True),
        lambda: load_model(saved, credential=lambda: f"{KEY} é").predict(X, use_azure=True),
    ]
    for mistake in mistakes:
        evidence.provoke(mistake, ConfigurationError)
    monkeypatch.setenv(KEY_ENV, f"{KEY}\n")
    evidence.provoke(lambda: load_model(saved).predict(X, use_azure=True), ConfigurationError)
    monkeypatch.setenv("HYBRIDMODEL_USE_AZURE", KEY)
    evidence.provoke(lambda: load_model(saved).predict(X), ConfigurationError)
    evidence.add("reprs", TritonEndpoint(**{**place, "uri": f"https://a.example/score?k={KEY}"}))


@contextlib.contextmanager
def in_experiment(name: str) -> Iterator[None]:
    """Make runs in an experiment, which child processes would otherwise take up afterwards."""
    mlflow.set_experiment(name)
    try:
        yield
    finally:
        mlflow.set_experiment("Default")


@pytest.fixture(scope="module", params=SOURCES)
def evidence(
    request: pytest.FixtureRequest,
    new_tracking_server: Process,
    tmp_path_factory: pytest.TempPathFactory,
) -> Evidence:
    """Do all of the above with a key from one source."""
    from hybridmodel.serving import serve

    found, folder = Evidence(), tmp_path_factory.mktemp("secrets")
    credential = SOURCES[request.param]
    with (
        pytest.MonkeyPatch.context() as monkeypatch,
        tracked_at(new_tracking_server),
        serve({"linear": models.linear(seed=7)}, auth_key=KEY) as server,
        everything_logged(found),
        in_experiment(f"secrets of {request.param}"),
    ):
        monkeypatch.chdir(folder)
        if credential is None:
            monkeypatch.setenv(KEY_ENV, KEY)
        endpoint = server.endpoint("linear", auth_key_env=KEY_ENV)
        model = HybridOnnxModel(models.linear(), endpoint=endpoint, credential=credential)
        use(model, found)
        store(model, folder, found, f"secrets-{request.param}")
        use(load_model(folder / "saved", credential=credential), found)
        fail(credential, folder, found)
        misplace(folder / "saved", found, monkeypatch)
        mlflow.flush_trace_async_logging()
        for trace in mlflow.search_traces(return_type="list"):
            found.add("traces", trace.to_json())
        with pytest.raises(AuthenticationFailed):
            load_model(folder / "saved", credential=lambda: "wrong").predict(X, use_azure=True)
    return found


@pytest.mark.parametrize("place", PLACES)
def test_no_secret(evidence: Evidence, place: str) -> None:
    """The place was searched, and neither the key nor a part or another form of it is there."""
    text = b"\n".join(evidence.texts[place])
    logging.getLogger(__name__).info("%s: %d bytes searched", place, len(text))
    assert text.strip()
    for form in FORMS:
        assert text.count(form.encode()) == 0
