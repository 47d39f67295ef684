"""What happens to a real Triton while it is asked, and what the callers see of it.

Each call's input is in no other call, and the models give it back or a function of it, so that an
answer shows whose it is.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import pickle
import resource
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from hybridmodel import (
    Answer,
    CircuitOpen,
    EndpointRefused,
    EndpointTimeout,
    EndpointUnavailable,
    HybridOnnxModel,
    InputMismatch,
    SpecMismatch,
)
from hybridmodel.serving import TritonServer
from hybridmodel.serving.triton_files import unsupported
from tests.support import models
from tests.support.fault_report import Note, Seen, noting, seen
from tests.support.faulty import Gateway, first
from tests.support.models import build, tensor

pytestmark = pytest.mark.skipif(unsupported() is not None, reason=str(unsupported()))

THREADS = 16
SLACK_S = 2.0
TIMEOUT_S = 10.0


@pytest.fixture(scope="module")
def one_server() -> Iterator[TritonServer]:
    """Start one Triton, which the tests may harm."""
    with TritonServer({"m": models.identity(), "image": models.served()["image"]}) as started:
        yield started


@pytest.fixture
def server(one_server: TritonServer) -> TritonServer:
    """Give the one server, and start it where a test has left it dead."""
    return one_server if one_server.pid is not None else one_server.start()


@pytest.fixture
def note(record_property: Callable[[str, object], None]) -> Note:
    """Record a line of the report."""
    return noting(record_property)


def hybrid(server: TritonServer, **options: Any) -> HybridOnnxModel:
    """Make a model that asks the server's identity."""
    given = {"timeout_s": TIMEOUT_S, "binary": True, **options}
    return HybridOnnxModel(models.identity(), endpoint=server.endpoint("m", **given))


def row(number: int) -> np.ndarray:
    """Return the one row that stands for a call."""
    return np.array([[number, -number, number / 2]], np.float32)


def ask(model: HybridOnnxModel, number: int, timeout: float = TIMEOUT_S) -> Seen:
    """Ask with a row that only this call has; it ends in time, and any answer is its own."""
    result = seen(lambda: model.infer(row(number), use_azure=True, timeout=timeout))
    assert result.seconds < timeout + SLACK_S
    if isinstance(result.value, Answer):
        np.testing.assert_array_equal(result.answer.outputs["y"], row(number))
    return result


def kinds(results: list[Seen]) -> Counter[type]:
    """Count how calls ended."""
    return Counter(type(result.value) for result in results)


def told(counts: Counter[type]) -> str:
    """Write counts into one line."""
    names: dict[type, str] = {Answer: "right answers"}
    return ", ".join(f"{count} {names.get(kind, kind.__name__)}" for kind, count in counts.items())


def until_answered(model: HybridOnnxModel, number: int, within_s: float = 15.0) -> None:
    """Ask until an answer comes: an open circuit says for how long to wait."""
    until = time.monotonic() + within_s
    while not isinstance((result := ask(model, number)).value, Answer):
        assert time.monotonic() < until, result
        time.sleep(getattr(result.error, "retry_after_s", None) or 0.05)


class Callers:
    """Threads that make a thousand calls: the third quarter once it is down, the last when back.

    After an error a thread pauses for a moment, so that there are calls at any time of an outage.
    """

    def __init__(self, model: HybridOnnxModel, calls: int = 1000) -> None:
        self._model = model
        self._calls = calls
        self._lock = threading.Lock()
        self.results: list[Seen] = []
        self.some_answered, self.down, self.back = (threading.Event() for _ in range(3))

    def __call__(self, number: int) -> None:
        """Make one call."""
        if number >= self._calls // 2:
            assert (self.back if number >= self._calls * 3 // 4 else self.down).wait(30)
        result = ask(self._model, number)
        if not isinstance(result.value, Answer):
            self.back.wait(0.2)
        with self._lock:
            self.results.append(result)
            if len(self.results) == self._calls // 4:
                self.some_answered.set()

    @contextmanager
    def calling(self) -> Iterator[None]:
        """Let the calls go on while the block runs, and end with them."""
        with ThreadPoolExecutor(THREADS) as threads:
            made = threads.map(self, range(self._calls))
            try:
                assert self.some_answered.wait(30)
                yield
            finally:
                self.down.set()
                self.back.set()
            assert list(made) == [None] * self._calls


@pytest.mark.parametrize("breaker", [5, None], ids=["with a breaker", "without a breaker"])
def test_killed_under_a_thousand_calls(
    breaker: int | None, server: TritonServer, note: Note
) -> None:
    """SIGKILL and a restart: each call ends with its own answer or a typed error, in time."""
    with hybrid(server, breaker_failures=breaker, breaker_reset_s=0.2) as model:
        callers = Callers(model)
        with callers.calling():
            server.kill()
            callers.down.set()
            server.start()
            until_answered(model, 5000)
        results, counts = callers.results, kinds(callers.results)
        afterwards = kinds([ask(model, 6000 + number) for number in range(100)])
        stats = model.stats()
    slowest = max(result.seconds for result in results)
    with_breaker = "with" if breaker else "without"
    note(3, f"SIGKILL under 1,000 calls, {with_breaker} breaker", told(counts), slowest)
    assert len(results) == 1000
    assert set(counts) <= {Answer, EndpointUnavailable, CircuitOpen}
    assert set(counts) > {Answer}, "nobody met the outage"
    assert breaker is not None or CircuitOpen not in counts
    assert counts[Answer] >= 500
    assert (afterwards, stats["azure.in_flight"]) == ({Answer: 100}, 0)


@contextmanager
def stopped(server: TritonServer) -> Iterator[None]:
    """Stop the server's process, and let it go on after the block."""
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    try:
        # The signal takes a moment to reach all threads.
        until = time.monotonic() + 5
        while states(server.pid) != {"T"}:
            assert time.monotonic() < until
            time.sleep(0.01)
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


def states(pid: int) -> set[str]:
    """Return the letters for what a process's threads do; T is for stopped."""
    stats = (path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat"))
    return {stat.rpartition(")")[2].split()[0] for stat in stats}


def test_stopped_for_longer_than_the_deadline(server: TritonServer, note: Note) -> None:
    """SIGSTOP: calls end at their deadline, and nobody gets an answer that comes too late."""
    deadline_s = 1.0
    with hybrid(server) as model, ThreadPoolExecutor(THREADS) as threads:
        assert kinds(list(threads.map(lambda n: ask(model, n), range(100)))) == {Answer: 100}
        with stopped(server):
            late = list(
                threads.map(lambda n: ask(model, n, deadline_s), range(1000, 1000 + THREADS))
            )
        afterwards = list(threads.map(lambda n: ask(model, n), range(2000, 2200)))
    slowest = max(result.seconds for result in late)
    note(4, f"SIGSTOP, {THREADS} calls of {deadline_s:g} s", told(kinds(late)), slowest)
    assert kinds(late) == {EndpointTimeout: THREADS}
    assert all(result.seconds >= deadline_s * 0.9 for result in late)
    assert kinds(afterwards) == {Answer: 200}


def test_stopped_for_shorter_than_the_deadline(server: TritonServer, note: Note) -> None:
    """A server that goes on in time answers all who waited, each with its own."""
    with hybrid(server) as model, ThreadPoolExecutor(THREADS) as threads:
        ask(model, 0)
        with stopped(server):
            waiting = [threads.submit(ask, model, number) for number in range(1, 1 + THREADS)]
            until = time.monotonic() + 5
            while model.stats()["azure.in_flight"] < THREADS:
                assert time.monotonic() < until
                time.sleep(0.01)
        results = [one.result() for one in waiting]
    slowest = max(result.seconds for result in results)
    note(25, f"SIGSTOP for less than the deadline, {THREADS} calls", told(kinds(results)), slowest)
    assert kinds(results) == {Answer: THREADS}


def test_a_model_that_is_unloaded(note: Note) -> None:
    """Triton refuses a model that it never had; one that it had may come again, and does."""
    with TritonServer({"m": models.identity()}, explicit=True) as server, hybrid(server) as model:
        never = ask(model, 1)
        server.load("m")
        loaded = ask(model, 2)
        server.unload("m")
        until = time.monotonic() + 10
        # Triton unloads in the background.
        while isinstance((result := ask(model, 3)).value, Answer) and time.monotonic() < until:
            time.sleep(0.01)
        server.load("m")
        again = ask(model, 4)
    note(10, "the model never loaded", never, never.seconds)
    note(15, "the model unloaded", result, result.seconds)
    assert kinds([loaded, again]) == {Answer: 2}
    for one, kind, status in ((never, EndpointRefused, 404), (result, EndpointUnavailable, 503)):
        assert (type(one.error), getattr(one.error, "status", None)) == (kind, status)
        assert "unknown model: 'm'" in str(one.error)


def test_a_model_that_is_reloaded_under_calls(note: Note) -> None:
    """While it comes and goes, each call ends with its own answer, refused, or unavailable."""
    with (
        TritonServer({"m": models.identity()}, explicit=True) as server,
        hybrid(server, breaker_failures=None) as model,
    ):
        server.load("m")
        callers = Callers(model)
        with callers.calling():
            for _ in range(3):
                server.unload("m")
                callers.down.set()
                server.load("m")
        results = callers.results
        assert isinstance(ask(model, 5000).value, Answer)
    counts, slowest = kinds(results), max(result.seconds for result in results)
    note(15, "unloaded and loaded three times under 1,000 calls", told(counts), slowest)
    assert set(counts) <= {Answer, EndpointRefused, EndpointUnavailable}
    assert counts[Answer] >= 250


X = tensor("x", "FP32", ("N", 3))
OTHERS = {
    "another dtype": build(
        [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.DOUBLE)],
        [X],
        [tensor("y", "FP64", ("N", 3))],
    ),
    "another shape": build(
        [helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=0)],
        [X],
        [tensor("y", "FP32", ("N",))],
        {"axes": np.array([1])},
    ),
    "another name": build(
        [helper.make_node("Identity", ["x"], ["z"])], [X], [tensor("z", "FP32", ("N", 3))]
    ),
}


@pytest.mark.parametrize(
    ("injected", "kind", "says"),
    [
        ("another dtype", SpecMismatch, "float64 came, float32 was expected"),
        ("another shape", SpecMismatch, "shape [1] came, [?, 3] was expected"),
        ("another name", EndpointRefused, "unexpected inference output"),
    ],
)
def test_another_model_behind_the_same_name(
    injected: str, kind: type[Exception], says: str, server: TritonServer, note: Note
) -> None:
    """A model that was deployed over the right one is found out by its first answer."""
    with hybrid(server) as model:
        assert isinstance(ask(model, 1).value, Answer)
        # Ended at once: while it may, Triton waits for connections that are open.
        server.kill()
        with TritonServer({"m": OTHERS[injected]}, port=server.port) as another:
            result = ask(model, 2)
            described = seen(model.check_endpoint)
            another.kill()
        server.start()
        assert isinstance(ask(model, 3).value, Answer)
    note(23, f"{injected}, deployed over the right model", result, result.seconds)
    assert type(result.error) is kind
    assert says in str(result.error)
    assert type(described.error) is SpecMismatch


def test_two_gibibytes_are_not_sent(server: TritonServer, note: Note) -> None:
    """A row larger than any request is refused before a byte is sent, and takes no memory."""
    side = 2**14
    # Zeros that nobody touches take no memory: 3 GiB in one row.
    picture = np.zeros((1, 3, side, side), np.float32)
    with Gateway(server.port, first()) as gateway:
        endpoint = gateway.endpoint(model_name="image")
        with HybridOnnxModel(models.served()["image"], endpoint=endpoint) as model:
            small = np.ones((1, 3, 2, 2), np.float32)
            model.predict(small, use_azure=True)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            result = seen(lambda: model.infer(picture, use_azure=True))
            after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            assert len(gateway.requests) == 1
            np.testing.assert_array_equal(model.predict(small, use_azure=True), small)
    note(12, "a row of 3 GiB", result, result.seconds)
    assert type(result.error) is InputMismatch
    assert "fewer rows" in str(result.error)
    assert after - before < 50_000


def connections(port: int) -> set[int]:
    """Return the local ports of this process's open connections to a server's port."""
    inodes = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            inodes.add(str(descriptor.readlink()))
        except FileNotFoundError:
            continue
    found = set()
    for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        remote, local = (int(fields[at].partition(":")[2], 16) for at in (2, 1))
        if remote == port and fields[3] == "01" and f"socket:[{fields[9]}]" in inodes:
            found.add(local)
    return found


def _work(model: HybridOnnxModel, start: int, port: int) -> tuple[Counter[type], set[int]]:
    results = [ask(model, number) for number in range(start, start + 200)]
    return kinds(results), connections(port)


def _work_in_child(
    model: HybridOnnxModel, start: int, port: int, results: multiprocessing.Queue[Any]
) -> None:
    faulthandler.dump_traceback_later(30, exit=True)
    results.put(_work(model, start, port))


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_forked_after_a_call(server: TritonServer, note: Note) -> None:
    """Parent and children ask at the same time, each over one connection of its own."""
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    with hybrid(server) as model:
        ask(model, 0)
        before = connections(server.port)
        children = [
            context.Process(target=_work_in_child, args=(model, 1000 * child, server.port, results))
            for child in (1, 2)
        ]
        started = time.monotonic()
        for child in children:
            child.start()
        here, own = _work(model, 5000, server.port)
        there = [results.get(timeout=30) for _ in children]
        seconds = time.monotonic() - started
        for child in children:
            child.join(10)
        assert [child.exitcode for child in children] == [0, 0]
    note(
        29,
        "two forks after a call, 200 calls each",
        told(here + there[0][0] + there[1][0]),
        seconds,
    )
    assert len(before) == 1
    assert own == before
    for counts, ports in there:
        assert counts == {Answer: 200}
        # The parent's connection may still be open in a child, which never uses it.
        assert len(ports - before) == 1
    assert len((there[0][1] | there[1][1]) - before) == 2
    assert here == {Answer: 200}


def test_pickled_after_a_call(server: TritonServer, note: Note) -> None:
    """What comes out of a pickle asks over connections of its own, at the same time."""
    with hybrid(server) as model:
        ask(model, 0)
        before = connections(server.port)
        with pickle.loads(pickle.dumps(model)) as twin:
            assert connections(server.port) == before
            started = time.monotonic()
            with ThreadPoolExecutor(2) as threads:
                work = threads.map(
                    lambda pair: [ask(*pair) for _ in range(100)], [(model, 1), (twin, 2)]
                )
                results = [result for part in work for result in part]
            seconds = time.monotonic() - started
            both = connections(server.port)
        assert connections(server.port) == before
    note(29, "a pickle of a used model, 100 calls of each", told(kinds(results)), seconds)
    assert kinds(results) == {Answer: 200}
    assert (len(before), len(both), before < both) == (1, 2, True)
