"""Shadow mode: the answer is that of one side, and what is found out about the other."""

from __future__ import annotations

import gc
import json
import logging
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hybridmodel import EndpointUnavailable, HybridOnnxModel, InputMismatch, TritonEndpoint
from hybridmodel.data.binding import Binding
from hybridmodel.local.session import LocalSession
from hybridmodel.process.background import Background
from hybridmodel.process.counters import Counters
from hybridmodel.remote.client import EndpointClient
from hybridmodel.routing import Shadow, shadowing
from hybridmodel.routing.routes import Request, Routes
from hybridmodel.routing.shadowing import ShadowRunner
from hybridmodel.serving import EmbeddedServer, TritonServer, serve
from tests.support import models
from tests.support.faulty import FaultyEndpoint, Script, error, http
from tests.support.paths import ROOT

Array = np.ndarray[Any, Any]

LIMIT_S = 20.0
"""More than anything here takes; a test that waits longer has failed."""

X = np.random.default_rng(3).normal(size=(50, 4)).astype(np.float32)
THREAD = "hybridmodel-shadow"


class Shadowed:
    """A runner for a model and an endpoint."""

    def __init__(self, model: bytes, endpoint: TritonEndpoint, **options: Any) -> None:
        self.local = LocalSession(model)
        self.counters = Counters()
        self.client = EndpointClient(endpoint, self.local.spec)
        self.routes = Routes(self.local, self.client, self.counters)
        self.runner = ShadowRunner(self.routes, **options)

    def ask(self, data: Any, policy: Shadow, outputs: Any = None, timeout_s: Any = None) -> Any:
        """Answer one call."""
        bound = Binding(self.local.spec).bind(data)
        names = outputs or self.local.spec.output_names
        return self.runner.answer(policy, Request(bound, names, timeout_s))

    def stats(self) -> dict[str, float]:
        """Return the numbers, once nothing is pending."""
        assert self.runner.wait(LIMIT_S)
        return self.runner.stats()

    def close(self) -> None:
        """Wait, and close the connections."""
        self.runner.wait(LIMIT_S)
        self.client.close()


Shadows = Callable[..., Shadowed]


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    """Serve the same and another model."""
    with serve({**models.served(), "other": models.linear(seed=5)}) as running:
        yield running


@pytest.fixture
def shadows(server: EmbeddedServer) -> Iterator[Shadows]:
    """Make runners that are closed at the end."""
    made: list[Shadowed] = []

    def make(model: bytes, there: str | TritonEndpoint, **options: Any) -> Shadowed:
        if isinstance(there, str):
            there = TritonEndpoint(uri=server.uri, model_name=there, auth_key_env=None)
        made.append(Shadowed(model, there, **options))
        return made[-1]

    yield make
    for item in made:
        item.close()


class Held:
    """Scripts that answer for ``y`` [n, 2] once they may."""

    def __init__(self, rows: int) -> None:
        self.may = threading.Event()
        self.asked = threading.Event()
        output = {"name": "y", "datatype": "FP32", "shape": [rows, 2], "data": [0.0] * 2 * rows}
        self._good = http(200, json.dumps({"outputs": [output]}).encode())

    def script(self, connection: socket.socket) -> None:
        """Say that the request came, wait, and answer."""
        self.asked.set()
        self.may.wait(LIMIT_S)
        self._good(connection)


@pytest.fixture
def held() -> Iterator[Held]:
    """Hold answers to 50 rows back until the test lets them go, or ends."""
    made = Held(len(X))
    yield made
    made.may.set()


@pytest.mark.parametrize("side", ["local", "azure"])
def test_the_answer_is_that_of_the_named_side(shadows: Shadows, side: str) -> None:
    """Either side's answer is exactly what it gives alone, and is counted as one answer."""
    shadow = shadows(models.linear(), "other")
    routed = shadow.ask(X, Shadow(answer=side))
    alone = shadow.local.run({"x": X}, ("y",))["y"]
    there = shadow.client.infer({"x": X}, ["y"], rows=len(X)).outputs["y"]
    assert not np.array_equal(alone, there)
    assert routed.route == side
    assert np.array_equal(routed.outputs["y"], alone if side == "local" else there)
    shadow.runner.wait(LIMIT_S)
    assert shadow.counters.totals() == {f"{side}.calls": 1, f"{side}.rows": 50}


@pytest.mark.parametrize("side", ["local", "azure"])
@pytest.mark.parametrize("there", ["linear", "other"])
def test_what_is_found_does_not_depend_on_who_answers(
    shadows: Shadows, side: str, there: str
) -> None:
    """Every row is compared with the other side, and both sides' latencies are known."""
    shadow = shadows(models.linear(), there)
    expected = shadow.local.run({"x": X}, ("y",))["y"]
    other = shadow.client.infer({"x": X}, ["y"], rows=50).outputs["y"]
    for _ in range(3):
        shadow.ask(X, Shadow(answer=side))
    agreed = 3 * int((expected.argmax(axis=1) == other.argmax(axis=1)).sum())
    assert shadow.stats() == {
        "shadow.calls": 3,
        "shadow.rows": 150,
        "shadow.agreed": agreed,
        "shadow.pending": 0,
    }
    summary = shadow.runner.comparison.summary()
    assert (summary.agreement == 1) == (there == "linear")
    assert {name: item.calls for name, item in summary.latency.items()} == {"local": 3, "azure": 3}
    assert summary.outputs[0].max_abs_diff == pytest.approx(np.abs(expected - other).max())


def test_labels_of_a_frame_are_kept(shadows: Shadows) -> None:
    """Rows that disagree carry the labels of the caller's frame, and both answers."""
    shadow = shadows(models.linear(), "other")
    frame = pd.DataFrame(X, index=[f"customer {row}" for row in range(50)])
    answer = shadow.ask(frame, Shadow()).outputs["y"]
    shadow.runner.wait(LIMIT_S)
    row = shadow.runner.comparison.summary().first[0]
    assert row.label == f"customer {row.position}"
    assert row.local["y"] == pytest.approx(answer[row.position].tolist())


def test_only_the_asked_outputs_are_compared(shadows: Shadows) -> None:
    """The other side is asked for what the caller asked, in the background as well."""
    shadow = shadows(models.classifier(), "classifier")
    shadow.ask(X, Shadow(), outputs=("probabilities",))
    shadow.stats()
    summary = shadow.runner.comparison.summary()
    assert [item.name for item in summary.outputs] == ["probabilities"]
    assert summary.agreement == 1


@pytest.mark.parametrize(
    ("name", "model", "data"),
    [
        ("strings", models.strings(), np.array(["a", "äöü", ""], object)),
        ("two_inputs", models.two_inputs(), {"a": X[:, :2], "b": np.ones((50, 1), np.int64)}),
        ("fixed", models.identity("FP32", (2, 3)), np.ones((2, 3), np.float32)),
        ("zipmap", models.classifier(zipmap=True), X),
    ],
)
def test_all_kinds_of_models(shadows: Shadows, name: str, model: bytes, data: Any) -> None:
    """Strings, several inputs, calls without rows and maps are compared like the rest."""
    shadow = shadows(model, name)
    shadow.ask(data, Shadow())
    stats = shadow.stats()
    assert stats["shadow.agreed"] == stats["shadow.rows"] > 0


def test_the_data_belongs_to_the_caller_afterwards(shadows: Shadows, held: Held) -> None:
    """What the caller does to its data and to the answer is not seen by the comparison."""
    with FaultyEndpoint(held.script) as faulty:
        shadow = shadows(models.linear(), faulty.endpoint())
        data = X.copy()
        expected = shadow.local.run({"x": X}, ("y",))["y"].argmax(axis=1)
        answer = shadow.ask(data, Shadow()).outputs["y"]
        data[:] = answer[:] = np.nan
        held.may.set()
        stats = shadow.stats()
        assert stats["shadow.agreed"] == int((expected == 0).sum())
        body = faulty.requests[-1]
    assert X.tobytes() in body


def test_the_answer_does_not_wait(shadows: Shadows, held: Held) -> None:
    """While the other side is silent, answers come, some calls wait, and more are shed."""
    with FaultyEndpoint(held.script) as faulty:
        shadow = shadows(models.linear(), faulty.endpoint())
        for _ in range(10):
            shadow.ask(X, Shadow(max_pending=4))
        assert held.asked.wait(LIMIT_S)
        assert shadow.runner.stats() == {"shadow.shed": 6, "shadow.pending": 4}
        assert not shadow.runner.wait(0.01)
        held.may.set()
        stats = shadow.stats()
    assert (stats["shadow.calls"], stats["shadow.shed"], stats["shadow.pending"]) == (4, 6, 0)
    assert shadow.counters.totals()["local.calls"] == 10


@pytest.mark.parametrize(
    ("model", "name", "data"),
    [
        (models.linear(), "linear", X),
        (models.strings(), "strings", np.array(["x" * 200, "y" * 300], object)),
    ],
)
def test_waiting_data_is_bounded(
    shadows: Shadows, monkeypatch: pytest.MonkeyPatch, model: bytes, name: str, data: Array
) -> None:
    """A call with more data than may wait is shed, texts included."""
    shadow = shadows(model, name)
    monkeypatch.setattr(shadowing, "MAX_PENDING_BYTES", 1_000)
    shadow.ask(data, Shadow())
    assert shadow.stats() == {"shadow.shed": 1, "shadow.pending": 0}
    shadow.ask(data[:1], Shadow())
    assert shadow.stats()["shadow.calls"] == 1


def test_room_is_given_back(shadows: Shadows, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was compared no longer counts: any number of calls fit, one after the other."""
    shadow = shadows(models.linear(), "linear")
    monkeypatch.setattr(shadowing, "MAX_PENDING_BYTES", 2 * (X.nbytes + 50 * 2 * 4))
    for calls in range(1, 6):
        shadow.ask(X, Shadow(max_pending=1))
        assert shadow.stats() == shadow.stats() | {"shadow.calls": calls}
    assert "shadow.shed" not in shadow.stats()


@pytest.mark.parametrize(("share", "compared"), [(0.0, 0), (0.3, 3), (1.0, 10)])
def test_a_share_of_the_calls_is_compared(shadows: Shadows, share: float, compared: int) -> None:
    """The random number decides, and what is left out is not counted as shed."""
    draws = iter(np.arange(10) / 10)
    shadow = shadows(models.linear(), "linear", random=lambda: next(draws))
    for _ in range(10):
        shadow.ask(X, Shadow(share=share))
    stats = shadow.stats()
    assert stats.get("shadow.calls", 0) == compared
    assert "shadow.shed" not in stats


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (error(503, "busy"), "EndpointUnavailable"),
        (error(400, "no"), "EndpointRefused"),
        (error(401, "who"), "AuthenticationFailed"),
        (http(200, b"{}"), "ProtocolError"),
    ],
)
def test_an_error_of_the_other_side_is_counted_and_said_once(
    shadows: Shadows, caplog: pytest.LogCaptureFixture, script: Script, kind: str
) -> None:
    """The answer is as good as without; the first error of a kind is a warning, then a detail."""
    with FaultyEndpoint(script) as faulty, caplog.at_level(logging.DEBUG, "hybridmodel"):
        shadow = shadows(models.linear(), faulty.endpoint(max_attempts=3))
        for _ in range(3):
            assert shadow.ask(X, Shadow()).outputs["y"].shape == (50, 2)
            shadow.runner.wait(LIMIT_S)
        asked = sum(b"/infer" in request for request in faulty.requests)
    assert shadow.stats() == {"shadow.failed": 3, f"shadow.failed.{kind}": 3, "shadow.pending": 0}
    assert asked == 3, "the background does not try again"
    said = [record.levelname for record in caplog.records if "shadow mode" in record.message]
    assert said == ["WARNING", "DEBUG", "DEBUG"]


def test_a_local_model_that_breaks_is_counted(shadows: Shadows) -> None:
    """When the endpoint answers, an error of the local model is only counted."""
    output = {"name": "y", "datatype": "FP32", "shape": [1], "data": [7.0]}
    with FaultyEndpoint(http(200, json.dumps({"outputs": [output]}).encode())) as faulty:
        shadow = shadows(models.lookup(), faulty.endpoint())
        assert shadow.ask(np.array([99]), Shadow(answer="azure")).outputs["y"].tolist() == [7.0]
        stats = shadow.stats()
    assert stats["shadow.failed"] == 1
    assert "shadow.rows" not in stats


@pytest.mark.parametrize(
    ("side", "data", "kind"),
    [("azure", np.array([1]), EndpointUnavailable), ("local", np.array([99]), InputMismatch)],
)
def test_an_error_of_the_answering_side_is_the_callers(
    shadows: Shadows, side: str, data: Array, kind: type[Exception]
) -> None:
    """Shadow mode is no fallback: the named side answers or it is an error, and nothing waits."""
    with FaultyEndpoint(error(503, "busy")) as faulty:
        shadow = shadows(models.lookup(), faulty.endpoint())
        with pytest.raises(kind):
            shadow.ask(data, Shadow(answer=side))
        assert shadow.stats() == {}


def test_a_comparison_that_cannot_begin_is_no_error(
    shadows: Shadows, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When there is no memory for the copies, there is an answer all the same, and room later."""
    shadow = shadows(models.linear(), "linear")
    with monkeypatch.context() as patched:
        patched.setattr(shadowing, "_own", lambda _: _raise(MemoryError("full")))
        assert shadow.ask(X, Shadow(max_pending=1)).route == "local"
    assert "full" in caplog.text
    shadow.ask(X, Shadow(max_pending=1))
    assert shadow.stats()["shadow.calls"] == 1


def _raise(problem: Exception) -> None:
    raise problem


def test_the_background_has_the_endpoints_time(shadows: Shadows, held: Held) -> None:
    """The other side gets the endpoint's timeout, not what was left of the caller's."""
    with FaultyEndpoint(held.script) as faulty:
        shadow = shadows(models.linear(), faulty.endpoint(timeout_s=0.2))
        shadow.ask(X, Shadow(), timeout_s=1000.0)
        stats = shadow.stats()
    assert stats["shadow.failed.EndpointTimeout"] == 1


def test_many_threads(shadows: Shadows) -> None:
    """Calls from many threads at a time are all compared or shed."""
    shadow = shadows(models.linear(), "linear")

    def call() -> None:
        for _ in range(20):
            shadow.ask(X, Shadow(max_pending=8))

    threads = [threading.Thread(target=call) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stats = shadow.stats()
    assert stats["shadow.calls"] + stats.get("shadow.shed", 0) == 120
    assert stats["shadow.rows"] == stats["shadow.agreed"] == 50 * stats["shadow.calls"]


def shadow_threads() -> list[threading.Thread]:
    """Return the threads that compare."""
    return [thread for thread in threading.enumerate() if thread.name == THREAD]


def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_the_thread_comes_and_goes(shadows: Shadows, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no thread before the first call, one daemon while there is work, none when idle."""
    monkeypatch.setattr("hybridmodel.process.background._LINGER_S", 0.01)
    others = set(shadow_threads())
    shadow = shadows(models.linear(), "linear")
    assert not set(shadow_threads()) - others
    for calls in (1, 2):
        shadow.ask(X, Shadow())
        shadow.ask(X, Shadow())
        threads = set(shadow_threads()) - others
        assert len(threads) <= 1
        assert all(thread.daemon for thread in threads)
        assert shadow.stats()["shadow.calls"] == 2 * calls
        until(lambda: not set(shadow_threads()) - others)


def test_an_idle_thread_keeps_no_model(server: EmbeddedServer) -> None:
    """A model that nobody needs any more is freed while its thread still waits for work."""
    endpoint = TritonEndpoint(uri=server.uri, model_name="linear", auth_key_env=None)
    shadow = Shadowed(models.linear(), endpoint)
    shadow.ask(X, Shadow())
    shadow.close()
    gone = weakref.ref(shadow.local)
    until(lambda: bool(shadow_threads()))
    del shadow
    gc.collect()
    until(lambda: gone() is None)


def test_a_job_that_breaks_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    """What a job raises is logged, and the next one is done."""
    background, done = Background(THREAD), threading.Event()
    room = {"size_bytes": 1, "most": 8, "most_bytes": 100}
    assert background.offer(lambda: lambda: _raise(RuntimeError("broken")), **room)
    assert background.offer(lambda: done.set, **room)
    assert done.wait(LIMIT_S)
    assert "broken" in caplog.text


def test_after_the_end_nothing_is_accepted() -> None:
    """What waits at the end is dropped, what must not be interrupted is waited for."""
    background = Background(THREAD)
    room = {"size_bytes": 1, "most": 8, "most_bytes": 100}
    running, may = threading.Event(), threading.Event()

    def job() -> None:
        running.set()
        may.wait(LIMIT_S)

    never = pytest.fail
    assert background.offer(lambda: job, can_be_left=False, **room)
    assert background.offer(lambda: lambda: never("a job that was dropped was done"), **room)
    assert running.wait(LIMIT_S)
    background.finish(0.01)
    assert background.pending == 1
    threading.Timer(0.05, may.set).start()
    background.finish(LIMIT_S)
    assert may.is_set()
    assert background.wait(LIMIT_S)
    assert not background.offer(lambda: job, **room)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_begins_anew(shadows: Shadows, held: Held) -> None:
    """A child of a process with calls that wait has none itself, and compares its own."""
    with FaultyEndpoint(held.script) as faulty:
        shadow = shadows(models.linear(), faulty.endpoint())
        shadow.ask(X, Shadow())
        assert held.asked.wait(LIMIT_S)
        child = os.fork()
        if child == 0:
            good = shadow.runner.stats() == {}
            shadow.ask(X, Shadow())
            held.may.set()
            good = good and shadow.runner.stats()["shadow.pending"] == 1
            os._exit(0 if good else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        held.may.set()
        assert shadow.stats()["shadow.calls"] == 1


PROGRAM = """
import sys
import numpy as np
from hybridmodel import HybridOnnxModel, TritonEndpoint
from hybridmodel.routing import Shadow
from tests.support import models

endpoint = TritonEndpoint(uri=sys.argv[1], model_name="m", auth_key_env=None, binary=True)
if sys.argv[2] == "local":
    model = HybridOnnxModel(models.linear(), endpoint=endpoint)
    model.predict(np.ones((3, 4), np.float32), mode=Shadow())
else:
    model = HybridOnnxModel(models.loop(), endpoint=endpoint)
    turns = np.array([int(sys.argv[3])])
    data = {"x": np.ones(3, np.float32), "turns": turns}
    model.predict(data, mode=Shadow(answer="azure"))
print(int(model.stats()["shadow.pending"]), flush=True)
"""


@pytest.mark.parametrize("side", ["local", "azure"])
def test_the_interpreter_ends(side: str, tmp_path: Path) -> None:
    """A process ends well though the other side is being asked: at once, or after a local run."""
    output = {"name": "y", "datatype": "FP32", "shape": [3], "data": [0.0] * 3}
    good = http(200, json.dumps({"outputs": [output]}).encode())
    with FaultyEndpoint(good if side == "azure" else lambda _: faulty.wait(60)) as faulty:
        program = tmp_path / "program.py"
        program.write_text(textwrap.dedent(PROGRAM))
        done = subprocess.run(
            [sys.executable, str(program), faulty.uri, side, "150000"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


@pytest.mark.parametrize("kind", ["server", "triton"])
def test_through_the_model(kind: str, request: pytest.FixtureRequest) -> None:
    """`HybridOnnxModel` answers in shadow mode when told so by call or when made."""
    running: EmbeddedServer | TritonServer = request.getfixturevalue(kind)
    endpoint = TritonEndpoint(uri=running.uri, model_name="linear", auth_key_env=None)
    with HybridOnnxModel(models.linear(), endpoint=endpoint, routing=Shadow()) as model:
        answer = model.infer(X)
        assert answer.route == "local"
        assert model.infer(X, mode=Shadow(answer="azure")).route == "azure"
        until(lambda: model.stats().get("shadow.rows") == 100)
        stats = model.stats()
        assert model.comparison.summary().agreement == 1
    assert (stats["shadow.agreed"], stats["local.rows"], stats["azure.rows"]) == (100, 50, 50)
