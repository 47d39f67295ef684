"""Shadow mode in the background: its thread, forks, and the end of the process."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import textwrap
import threading
import weakref
from pathlib import Path

import pytest

from hybridmodel import TritonEndpoint
from hybridmodel.process.background import Background
from hybridmodel.routing import Shadow
from hybridmodel.serving import EmbeddedServer
from tests.support import models
from tests.support.faulty import FaultyEndpoint, http
from tests.support.paths import ROOT
from tests.support.shadowing import (
    LIMIT_S,
    Held,
    Shadowed,
    Shadows,
    X,
    raise_error,
    wait_until,
)

THREAD = "hybridmodel-shadow"


def shadow_threads() -> list[threading.Thread]:
    """Return the threads that compare."""
    return [thread for thread in threading.enumerate() if thread.name == THREAD]


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


def test_the_thread_comes_and_goes(shadows: Shadows, monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread runs before the first call, one daemon during work, and none when idle."""
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
        wait_until(lambda: not set(shadow_threads()) - others)


def test_an_idle_thread_keeps_no_model(server: EmbeddedServer) -> None:
    """A model that nobody needs any more is freed while its thread still waits for work."""
    endpoint = TritonEndpoint(uri=server.uri, model_name="linear", auth_key_env=None)
    shadow = Shadowed(models.linear(), endpoint)
    shadow.ask(X, Shadow())
    shadow.close()
    gone = weakref.ref(shadow.local)
    wait_until(lambda: bool(shadow_threads()))
    del shadow
    gc.collect()
    wait_until(lambda: gone() is None)


def test_a_job_that_breaks_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    """What a job raises is logged, and the next one is done."""
    background, done = Background(THREAD), threading.Event()
    room = {"size_bytes": 1, "most": 8, "most_bytes": 100}
    assert background.offer(lambda: lambda: raise_error(RuntimeError("broken")), **room)
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


@pytest.mark.parametrize("route", ["local", "azure"])
def test_the_interpreter_ends(route: str, tmp_path: Path) -> None:
    """A process ends well while the other route is being asked: at once, or after a local run."""
    output = {"name": "y", "datatype": "FP32", "shape": [3], "data": [0.0] * 3}
    good = http(200, json.dumps({"outputs": [output]}).encode())
    with FaultyEndpoint(good if route == "azure" else lambda _: faulty.wait(60)) as faulty:
        program = tmp_path / "program.py"
        program.write_text(textwrap.dedent(PROGRAM))
        done = subprocess.run(
            [sys.executable, str(program), faulty.uri, route, "150000"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
