"""Rows 29 to 33 of the fault table: processes, batches, the environment and Ctrl-C."""

from __future__ import annotations

import faulthandler
import gc
import logging
import multiprocessing
import os
import pickle
import re
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hybridmodel import (
    EndpointRefused,
    EndpointUnavailable,
    HybridOnnxModel,
)
from hybridmodel.serving import TritonServer
from hybridmodel.serving.triton_files import unsupported
from tests.support import models
from tests.support.fault_report import Note
from tests.support.fault_rows import (
    KEY,
    LOCAL,
    SLACK_S,
    TIMEOUT_S,
    Crowd,
    X,
    answered,
    ask,
    assert_right,
    environment,
    expected,
    hybrid,
    note,
    only,
    raised,
    upstream,
)
from tests.support.faulty import (
    Gateway,
    Rule,
    Script,
    error,
    first,
    forward,
    http,
)
from tests.support.remote_answers import silent

__all__ = ["environment", "note", "upstream"]  # Fixtures.


def _ask_in_child(model: HybridOnnxModel, results: Any) -> None:
    faulthandler.dump_traceback_later(20, exit=True)
    results.put([ask(model).answer for _ in range(5)])


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_row_29_a_fork(upstream: Any, note: Note) -> None:
    """Parent and child ask at the same time over connections of their own."""
    crowd = Crowd(upstream.port)
    with Gateway(upstream.port, crowd) as gateway, hybrid(gateway) as model:
        assert_right(ask(model))
        of_parent = set(crowd.peers)
        context = multiprocessing.get_context("fork")
        results = context.Queue()
        child = context.Process(target=_ask_in_child, args=(model, results))
        started = time.monotonic()
        child.start()
        here = [ask(model) for _ in range(5)]
        for one in [*here, *results.get(timeout=30)]:
            assert_right(one)
        seconds = time.monotonic() - started
        child.join(10)
    note(29, "a fork after a call", f"10 right answers, {len(crowd.peers)} connections", seconds)
    assert child.exitcode == 0
    assert len(of_parent) == 1
    assert len(crowd.peers) == 2


def _drop(only_here: list[HybridOnnxModel]) -> None:
    faulthandler.dump_traceback_later(10, exit=True)
    only_here.clear()
    gc.collect()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_row_29_a_child_may_drop_the_model() -> None:
    """A child that has no use for what its parent used does not wait for the parent's threads."""
    options = {"extra_session_config": {"session.intra_op.allow_spinning": "0"}}
    used = [HybridOnnxModel(LOCAL, session_options={**options, "intra_op_num_threads": 2})]
    used[0].predict(X)
    child = multiprocessing.get_context("fork").Process(target=_drop, args=(used,))
    child.start()
    child.join(20)
    assert child.exitcode == 0


def test_row_29_a_pickle(upstream: Any, note: Note) -> None:
    """It holds no key and no connection, and answers over its own."""
    crowd = Crowd(upstream.port)
    with Gateway(upstream.port, crowd) as gateway, hybrid(gateway) as model:
        assert_right(ask(model))
        pickled = pickle.dumps(model)
        with pickle.loads(pickled) as twin:
            result = ask(twin)
            assert_right(ask(model))
    answered(result, note, 29, "a pickle of a used model")
    assert KEY.encode() not in pickled
    assert len(crowd.peers) == 2


@pytest.mark.parametrize("data", [X[:0], pd.DataFrame(X)[:0]], ids=["array", "frame"])
def test_row_30_zero_rows(data: Any, upstream: Any, note: Note) -> None:
    """They are answered here; nobody is asked."""
    with Gateway(upstream.port, first()) as gateway, hybrid(gateway) as model:
        result = ask(model, data)
        assert gateway.requests == []
    note(30, f"zero rows, {type(data).__name__}", result, result.seconds)
    assert (result.answer.attempts, result.answer.outputs["y"].shape) == (0, (0, 2))


def small_batches(upstream: int) -> Rule:
    """Return a rule: no more than four rows, as Triton says it."""

    def rule(request: bytes) -> Script | None:
        if request.startswith(b"GET"):
            return http(200, b'{"max_batch_size": 4}')
        rows = re.search(rb'"shape":\[(\d+),', request)
        assert rows is not None
        over = int(rows[1]) > 4
        return error(400, "inference request batch-size must be <= 4") if over else None

    return rule


def test_row_31_more_rows_than_the_server_takes(upstream: Any, note: Note) -> None:
    """One refusal, one look at the configuration, then chunks; later calls are cut at once."""
    rows = np.random.default_rng(1).normal(size=(30, 4)).astype(np.float32)
    with Gateway(upstream.port, small_batches(upstream.port)) as gateway, hybrid(gateway) as model:
        result = ask(model, rows)
        arrived = len(gateway.requests)
        assert_right(ask(model, rows), expected(rows))
    note(31, "30 rows for a server of 4 at a time", result, result.seconds)
    assert_right(result, expected(rows))
    assert (arrived, len(gateway.requests)) == (1 + 1 + 8, 1 + 1 + 8 + 8)


def test_row_31_all_or_nothing(upstream: Any, note: Note) -> None:
    """When one chunk of many is refused, the call is."""
    spoilt = iter([None, None, error(400, "bad row")])
    with (
        Gateway(upstream.port, lambda request: next(spoilt, None)) as gateway,
        hybrid(gateway, max_batch_size=4) as model,
    ):
        result = ask(model, np.ones((40, 4), np.float32))
        assert_right(ask(model))
    raised(result, note, 31, "one chunk of ten refused", EndpointRefused, "bad row")


def test_row_31_a_real_triton_of_small_batches(note: Note) -> None:
    """Triton itself refuses the fifth row, and answers all of them in chunks."""
    if reason := unsupported():
        pytest.skip(reason)
    rows = np.random.default_rng(2).normal(size=(30, 4)).astype(np.float32)
    with (
        TritonServer({"linear": models.linear(seed=1)}, max_batch_size=4) as server,
        HybridOnnxModel(LOCAL, endpoint=server.endpoint("linear")) as model,
    ):
        result = ask(model, rows)
    note(31, "30 rows for a real Triton of 4 at a time", result, result.seconds)
    assert_right(result, expected(rows))
    assert result.answer.attempts == 8


def test_row_32_a_netrc_file(
    upstream: Any, note: Note, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A password for all hosts does not take the key's place."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password wrong\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with Gateway(upstream.port, only(KEY)) as gateway, hybrid(gateway) as model:
        result = ask(model)
        assert b"Basic" not in gateway.requests[0]
    answered(result, note, 32, "a netrc file with a password for the host")


def test_row_32_a_proxy(upstream: Any, note: Note, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that the environment names is used, and kept out of where it is not wanted."""

    def rule(request: bytes) -> Script:
        return forward(upstream.port, request.replace(b"http://triton.test", b"", 1))

    with Gateway(upstream.port, rule) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.uri)
        with hybrid(proxy, uri="http://triton.test", allow_http=True) as model:
            result = ask(model)
        seen_by_proxy = proxy.requests[0]
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        with hybrid(proxy) as model:
            assert_right(ask(model))
    answered(result, note, 32, "HTTP_PROXY in the environment")
    assert seen_by_proxy.startswith(b"POST http://triton.test/v2/models/versions/versions/1/infer ")


class Pausing(logging.Handler):
    """Notes that a pause before another attempt begins."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.begun = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        """Note it."""
        if "another in" in record.getMessage():
            self.begun.set()


def interrupted(model: HybridOnnxModel, data: np.ndarray = X) -> float:
    """Make a call that Ctrl-C ends, and return how long it took."""
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        model.predict(data, use_azure=True)
    return time.monotonic() - started


def control_c() -> None:
    """Do what the terminal does."""
    os.kill(os.getpid(), signal.SIGINT)


def control_c_and_silence(connection: socket.socket) -> None:
    """Interrupt whoever asked, and say nothing."""
    control_c()
    silent(connection)


@pytest.mark.skipif(os.name != "posix", reason="signals between threads")
def test_row_33_control_c_in_a_pause(upstream: Any, note: Note) -> None:
    """It ends the pause at once; nothing is sent after it, and the model can go on."""
    logger, handler = logging.getLogger("hybridmodel"), Pausing()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)

    def user() -> None:
        if handler.begun.wait(10):
            control_c()

    waiting = threading.Thread(target=user)
    waiting.start()
    try:
        script = http(503, Retry_After="8")
        with Gateway(upstream.port, first(script)) as gateway, hybrid(gateway) as model:
            seconds = interrupted(model)
            assert len(gateway.requests) == 1
            assert_right(ask(model))
    finally:
        waiting.join(10)
        logger.removeHandler(handler)
        logger.setLevel(level)
    note(33, "Ctrl-C in a pause of 8 s", "KeyboardInterrupt", seconds)
    assert seconds < SLACK_S


@pytest.mark.skipif(os.name != "posix", reason="signals between threads")
def test_row_33_control_c_while_the_answer_is_awaited(upstream: Any, note: Note) -> None:
    """It ends the wait at once, and the next call gets its own answer."""
    with (
        Gateway(upstream.port, first(control_c_and_silence)) as gateway,
        hybrid(gateway) as model,
    ):
        seconds = interrupted(model)
        assert_right(ask(model))
    note(33, "Ctrl-C while waiting for an answer", "KeyboardInterrupt", seconds)
    assert seconds < SLACK_S


@pytest.mark.skipif(os.name != "posix", reason="signals between threads")
def test_row_33_control_c_in_a_call_of_many_requests(upstream: Any, note: Note) -> None:
    """A call that was cut into requests is not waited for, and its turns are free for others."""
    scripts = [silent, silent, silent, control_c_and_silence]
    with (
        Gateway(upstream.port, first(*scripts)) as gateway,
        hybrid(gateway, max_batch_size=4, max_in_flight=4) as model,
    ):
        seconds = interrupted(model, np.ones((40, 4), np.float32))
        following = ask(model, timeout=TIMEOUT_S / 2)
    note(33, "Ctrl-C in a call of ten requests", "KeyboardInterrupt", seconds)
    answered(following, note, 33, "the call after that, where four may be under way")
    assert seconds < SLACK_S


def test_row_33_no_pause_reaches_the_deadline(upstream: Any, note: Note) -> None:
    """The call ends with the server's error instead of sleeping into its deadline."""
    script = http(503, b"later", Retry_After="2")
    with Gateway(upstream.port, first(script)) as gateway, hybrid(gateway) as model:
        result = ask(model, timeout=1.0)
        assert len(gateway.requests) == 1
    raised(result, note, 33, "503 that asks for 2 s of a call of 1 s", EndpointUnavailable, "later")
    assert result.seconds < 1.0
