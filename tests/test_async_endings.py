"""Loops, processes and requests end while coroutines wait: nothing hangs, and nothing is lost."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from hybridmodel import EndpointRefused, EndpointTimeout, HybridOnnxModel
from tests.support import models
from tests.support.counting_server import CountingServer
from tests.support.faulty import FaultyEndpoint
from tests.support.paths import ROOT

ROW = np.ones((1, 4), np.float32)
WANTED = HybridOnnxModel(models.linear()).predict(ROW)


@pytest.fixture(scope="module")
def counting() -> Iterator[CountingServer]:
    """Start one server for this file."""
    server = CountingServer(models.linear())
    yield server
    server.close()


@pytest.fixture
def server(counting: CountingServer) -> CountingServer:
    """Count anew."""
    counting.forget()
    return counting


def model_of(server: Any, **options: Any) -> HybridOnnxModel:
    """Make a model with that endpoint."""
    return HybridOnnxModel(models.linear(), endpoint=server.endpoint(**options))


@pytest.mark.parametrize("coalesce_rows", [0, 8])
def test_a_loop_that_ends_ends_its_calls(
    coalesce_rows: int, server: CountingServer, caplog: pytest.LogCaptureFixture
) -> None:
    """What waits is cancelled with its loop; the next loop finds all places free."""
    server.hold_s = 0.1

    async def leave(model: HybridOnnxModel) -> list[asyncio.Task[Any]]:
        calls = [model.apredict(ROW, use_azure=True) for _ in range(50)]
        tasks = [asyncio.ensure_future(call) for call in calls]
        while not server.rows:
            await asyncio.sleep(0.005)
        return tasks

    with model_of(server, coalesce_rows=coalesce_rows, max_in_flight=2) as model:
        tasks = asyncio.run(leave(model))
        gc.collect()
        assert all(task.cancelled() for task in tasks)
        server.forget()
        np.testing.assert_array_equal(asyncio.run(model.apredict(ROW, use_azure=True)), WANTED)
        assert model.stats()["azure.in_flight"] == 0
    assert [item.getMessage() for item in caplog.records if item.levelno > logging.INFO] == []


def test_each_leaves_a_shared_request_at_its_own_time(server: CountingServer) -> None:
    """One whose time is over leaves, and the request goes on for the others."""
    server.hold_s = 0.4

    async def calls(model: HybridOnnxModel) -> list[Any]:
        occupied = [asyncio.ensure_future(model.apredict(ROW, use_azure=True)) for _ in range(2)]
        while len(server.rows) < 1:
            await asyncio.sleep(0.005)
        others = [
            model.apredict(ROW, use_azure=True, timeout=seconds) for seconds in (0.25, 8.0, 8.0)
        ]
        return await asyncio.gather(*occupied, *others, return_exceptions=True)

    with model_of(server, coalesce_rows=8, timeout_s=10) as model:
        first, second, late, *rest = asyncio.run(calls(model))
        assert isinstance(late, EndpointTimeout)
        for answer in (first, second, *rest):
            np.testing.assert_array_equal(answer, WANTED)


def test_who_sends_for_others_is_cancelled_alone(server: CountingServer) -> None:
    """A shutdown may cancel every task but a few: those whose rows it carried ask by themselves."""
    server.hold_s = 0.2

    async def calls(model: HybridOnnxModel) -> list[Any]:
        own = [asyncio.ensure_future(model.apredict(ROW, use_azure=True)) for _ in range(8)]
        while len(server.rows) < 2:
            await asyncio.sleep(0.005)
        (sender,) = asyncio.all_tasks() - {*own, asyncio.current_task()}
        sender.cancel()
        found = await asyncio.gather(*own, return_exceptions=True)
        assert sender.cancelled()
        return found

    with model_of(server, coalesce_rows=5) as model:
        for item in asyncio.run(calls(model)):
            np.testing.assert_array_equal(item, WANTED)


def test_a_refusal_is_sorted_out_on_the_loop(
    server: CountingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One caller's rows are refused: its neighbours in the request are answered all the same."""
    bad = np.full((1, 4), 1234.5, np.float32)
    answer = server.answer

    def refuse(body: Any, headers: Any) -> tuple[int, dict[str, str], bytes]:
        sent = body.read(int(headers["Content-Length"]))
        if bad.tobytes() in sent:
            return 400, {}, b'{"error": "a bad row"}'
        return answer(io.BytesIO(sent), headers)

    monkeypatch.setattr(server, "answer", refuse)
    server.hold_s = 0.05

    async def calls(model: HybridOnnxModel) -> list[Any]:
        rows = [ROW] * 5 + [bad] + [ROW] * 5
        called = [model.apredict(row, use_azure=True) for row in rows]
        return await asyncio.gather(*called, return_exceptions=True)

    with model_of(server, coalesce_rows=16) as model:
        found = asyncio.run(calls(model))
        assert isinstance(found.pop(5), EndpointRefused)
        for item in found:
            np.testing.assert_array_equal(item, WANTED)
        assert model.stats()["azure.gathered.sorted_out"] == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_has_loops_of_its_own(server: CountingServer) -> None:
    """After a fork amid calls of a loop, the child answers with loops, and so does the parent."""
    server.hold_s = 0.05

    async def fork(model: HybridOnnxModel) -> int:
        tasks = [asyncio.ensure_future(model.apredict(ROW, use_azure=True)) for _ in range(20)]
        while not server.rows:
            await asyncio.sleep(0.005)
        child = await asyncio.to_thread(_forked, model)
        for answer in await asyncio.gather(*tasks):
            np.testing.assert_array_equal(answer, WANTED)
        return child

    with model_of(server, coalesce_rows=8, timeout_s=20) as model:
        child = asyncio.run(fork(model))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _forked(model: HybridOnnxModel) -> int:
    child = os.fork()
    if child:
        return child
    try:
        found = asyncio.run(model.apredict(ROW, use_azure=True))
        os._exit(0 if np.array_equal(found, WANTED) else 1)
    finally:
        os._exit(2)


LEAVES = """
import asyncio, sys
import numpy as np
from hybridmodel import HybridOnnxModel, TritonEndpoint
endpoint = TritonEndpoint(
    uri=sys.argv[2], model_name="m", auth_key_env=None, binary=True, coalesce_rows=8, timeout_s=60
)
model = HybridOnnxModel(sys.argv[1], endpoint=endpoint)
async def main():
    calls = [model.apredict(np.ones((1, 4), np.float32), use_azure=True) for _ in range(20)]
    tasks = [asyncio.ensure_future(call) for call in calls]
    while not model.stats()["azure.in_flight"]:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    if sys.argv[3] == "exit":
        sys.exit(3)
    loop = asyncio.get_running_loop()
    loop.stop()
    await asyncio.sleep(60)
if sys.argv[3] == "exit":
    asyncio.run(main())
loop = asyncio.new_event_loop()
task = loop.create_task(main())
loop.run_forever()
sys.exit(3)
"""


@pytest.mark.parametrize("way", ["exit", "abandon"])
def test_the_interpreter_ends_while_coroutines_wait(way: str, tmp_path: Any) -> None:
    """Neither calls of a silent endpoint nor a loop that nobody closed hold up the end."""
    (tmp_path / "m.onnx").write_bytes(models.linear())
    with FaultyEndpoint(lambda _: silent.wait(30)) as silent:
        started = time.monotonic()
        command = [sys.executable, "-c", LEAVES, str(tmp_path / "m.onnx"), silent.uri, way]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
        assert done.returncode == 3, done.stderr
        assert time.monotonic() - started < 20


def test_threads_are_not_held_up_by_a_loop_that_blocks(server: CountingServer) -> None:
    """Coroutines send for coroutines: a loop that blocks keeps its own rows waiting, no others."""
    server.hold_s = 0.05

    async def block(model: HybridOnnxModel, free: threading.Event) -> list[Any]:
        tasks = [asyncio.ensure_future(model.apredict(ROW, use_azure=True)) for _ in range(5)]
        while not server.rows:
            await asyncio.sleep(0.005)
        free.wait(20)  # Nothing else runs on this loop meanwhile.
        return await asyncio.gather(*tasks)

    with model_of(server, coalesce_rows=8, timeout_s=20) as model:
        free = threading.Event()
        found: list[Any] = []
        blocked = threading.Thread(target=lambda: found.extend(asyncio.run(block(model, free))))
        blocked.start()
        while not server.rows:
            time.sleep(0.005)
        np.testing.assert_array_equal(model.predict(ROW, use_azure=True), WANTED)
        assert not found
        free.set()
        blocked.join()
        assert len(found) == 5
    assert json.dumps(model.stats())
