"""Calls that wait at the same time go together, and each gets its own answer."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from hybridmodel import HybridOnnxModel, ModelSpec, TensorSpec, TritonEndpoint
from hybridmodel.data.answer import Answer
from hybridmodel.remote.exchange import Call
from hybridmodel.remote.gathering.matching import kind_finder
from hybridmodel.remote.resilience import Deadline
from tests.support import models
from tests.support.callers import SPEC, Callers, Held, client, row, under_way, wait_until, waiting


def value_of(answer: Any) -> float:
    """Return the value that a caller of one row sent, as its answer tells it."""
    assert isinstance(answer, Answer)
    return float(answer.outputs["y"][0, 0]) / 2


def test_calls_that_wait_go_together() -> None:
    """While two requests are under way, five calls wait, and go in one request in their order."""
    held = Held()
    callers = Callers(client(held))
    callers.occupy(held)
    callers.call(3, 4, 5, 6, 7)
    held.go()
    assert [value_of(answer) for answer in callers.answers()] == [1, 2, 3, 4, 5, 6, 7]
    assert held.values == [[1], [2], [3, 4, 5, 6, 7]]


def test_each_call_has_its_own_id_beside_that_of_the_request() -> None:
    """What went together has ids of its own, and one id that the server saw."""
    held = Held()
    callers = Callers(client(held))
    callers.occupy(held)
    callers.call(3, 4)
    held.go()
    first, second, *together = callers.answers()
    ids = [request.request_id for request in held.requests]
    assert [first.request_id, second.request_id] == ids[:2]
    assert first.shared_request_id is second.shared_request_id is None
    assert {answer.shared_request_id for answer in together} == {ids[2]}
    assert len({answer.request_id for answer in together} | {ids[2]}) == 3
    assert {answer.model_version for answer in together} == {"1"}
    assert [answer.attempts for answer in together] == [1, 1]


def test_each_answer_says_which_endpoint_gave_it() -> None:
    """Of several endpoints the caller wants to know that, however many calls went together."""
    held = Held()
    asking = client(held)
    callers = Callers(asking)
    callers.occupy(held)
    callers.call(3, 4)
    held.go()
    found = callers.answers()
    assert {answer.endpoint for answer in found} == {asking.endpoint.model_url}


def test_a_lone_call_is_sent_by_its_own_thread() -> None:
    """Nobody else is woken, and nothing is waited for."""
    held = Held()
    held.go()
    asking = client(held)
    for _ in range(3):
        asking.infer(row(1.0), ("y",), rows=1)
    assert held.threads == [threading.current_thread().name] * 3
    assert asking.stats()["gathered.calls_per_request"] == 1
    assert asking._state.senders.size == 0


def test_calls_for_each_request_are_counted() -> None:
    """Seven calls in three requests; retries, limits and the breaker know of requests only."""
    held = Held()
    asking = client(held)
    callers = Callers(asking)
    callers.occupy(held)
    callers.call(3, 4, 5, 6, 7)
    held.go()
    callers.answers()
    stats = asking.stats()
    assert stats["gathered.calls"] == 7
    assert stats["gathered.requests"] == stats["requests"] == 3
    assert stats["gathered.calls_per_request"] == pytest.approx(7 / 3)


def test_a_model_counts_calls_for_each_request() -> None:
    """The counts are those of the endpoint among all others; without gathering there are none."""
    endpoint = TritonEndpoint(
        uri="http://localhost", model_name="m", auth_key_env=None, coalesce_rows=8
    )
    model = HybridOnnxModel(models.linear(), endpoint=endpoint)
    assert model.stats()["azure.gathered.calls"] == 0
    plain = HybridOnnxModel(models.linear(), endpoint=endpoint.with_overrides(coalesce_rows=0))
    assert not any("gathered" in name for name in plain.stats())
    assert plain.client._gatherer is None


def test_rows_and_outputs_of_each_call_are_its_own() -> None:
    """Calls of several rows get as many back; their arrays are writable and nobody else's."""
    held = Held()
    callers = Callers(client(held))
    callers.occupy(held, outputs=("sum", "y"))
    for value, rows in ((3, 2), (4, 1), (5, 3)):
        callers.call(value, rows=rows, outputs=("sum", "y"))
    held.go()
    for answer, (value, rows) in zip(callers.answers()[2:], ((3, 2), (4, 1), (5, 3)), strict=True):
        assert list(answer.outputs) == ["sum", "y"]
        assert answer.outputs["y"].tolist() == [[2 * value] * 2] * rows
        assert answer.outputs["sum"].tolist() == [2 * value] * rows
        assert answer.routes.tolist() == ["azure"] * rows
        for array in answer.outputs.values():
            assert array.flags.writeable
            # A view would keep the rows of all others in memory.
            assert array.flags.owndata


def call(
    key: str | None = "k",
    feeds: Any = None,
    outputs: tuple[str, ...] = ("y",),
    rows: int | None = 1,
    timeout_s: float = 30.0,
    retry: bool = True,
) -> Call:
    """Make a call as the client does."""
    return Call(
        deadline=Deadline(timeout_s),
        request_id="id",
        key=key,
        feeds=row(1.0) if feeds is None else feeds,
        outputs=outputs,
        rows=rows,
        retry=retry,
    )


OPEN = ModelSpec(
    (TensorSpec("x", "FP32", (-1, -1), True),), (TensorSpec("y", "FP32", (-1, -1), True),)
)
NOT_BY_ROW = ModelSpec(SPEC.inputs, (TensorSpec("y", "FP32", (1, 2), False),))


@pytest.mark.parametrize(
    "other",
    [
        call(key="other key"),
        call(key=None),
        call(outputs=("sum",)),
        call(outputs=("y", "sum")),
        call(feeds={"x": np.ones((1, 3), np.float32)}),
        call(feeds={"x": np.ones((1, 2), np.float64)}),
        call(retry=False),
        call(timeout_s=1.0),
    ],
    ids=["key", "no key", "output", "outputs", "shape", "dtype", "retry", "patience"],
)
def test_only_calls_of_one_kind_go_together(other: Call) -> None:
    """Another key, output, inner shape, datatype, right to retries or patience is another kind."""
    kind_of = kind_finder(SPEC, 256)
    assert kind_of(call(), None) == kind_of(call(feeds=row(9.0, 5), rows=5, timeout_s=29.0), None)
    assert kind_of(call(), None) != kind_of(other, None)
    assert kind_of(call(), None) != kind_of(call(), "a loop")


@pytest.mark.parametrize(
    ("spec", "rows"),
    [(OPEN, 1), (NOT_BY_ROW, 1), (SPEC, None), (SPEC, 0), (SPEC, 256)],
    ids=["open output", "not by row", "no rows counted", "none", "as many as may"],
)
def test_some_calls_always_go_alone(spec: ModelSpec, rows: int | None) -> None:
    """Where other rows might change an answer or its shape, nothing goes together."""
    assert kind_finder(spec, 256)(call(rows=rows), None) is None


def test_calls_of_two_kinds_do_not_wait_for_each_other() -> None:
    """While two requests for one output are under way, another output is asked for at once."""
    held = Held()
    asking = client(held)
    callers = Callers(asking)
    callers.occupy(held)
    callers.call(3)
    callers.call(4, outputs=("sum",))
    wait_until(lambda: len(held.requests) == 3)
    assert waiting(asking) == 1
    held.go()
    callers.answers()


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({"coalesce_rows": 4}, [4, 4, 2]),
        ({"max_batch_size": 3}, [3, 3, 3, 1]),
        ({"max_request_bytes": 5 * 8}, [5, 5]),
    ],
    ids=["coalesce_rows", "max_batch_size", "max_request_bytes"],
)
def test_no_request_is_larger_than_allowed(options: Any, sizes: list[int]) -> None:
    """Ten rows go in as few requests as their number, the server's and the bytes allow."""
    held = Held()
    callers = Callers(client(held, **options))
    callers.occupy(held)
    callers.call(*range(3, 13))
    held.go()
    assert [value_of(answer) for answer in callers.answers()] == list(range(1, 13))
    assert sorted(held.rows[2:]) == sorted(sizes)


def test_a_large_call_goes_alone_among_small_ones() -> None:
    """A caller of 10,000 rows neither waits nor is waited for."""
    held = Held()
    asking = client(held)
    callers = Callers(asking)
    callers.occupy(held)
    large = threading.Thread(
        target=asking.infer, args=(row(9.0, 10_000), ("y",)), kwargs={"rows": 10_000}
    )
    large.start()
    wait_until(lambda: len(held.requests) == 3)
    callers.call(3, 4)
    assert waiting(asking) == 2
    held.go()
    callers.answers()
    large.join()
    assert held.rows == [1, 1, 10_000, 2]


def test_nothing_is_kept_when_nobody_waits() -> None:
    """Neither keys nor calls stay behind."""
    held = Held()
    asking = client(held)
    callers = Callers(asking)
    callers.occupy(held)
    callers.call(3, 4, 5)
    assert under_way(asking) == 2
    held.go()
    callers.answers()
    assert asking._gatherer is not None
    wait_until(lambda: not asking._gatherer._lanes._lanes)  # type: ignore[union-attr]


def test_closing_ends_the_threads() -> None:
    """Those that sent for others end with the connections, and begin anew when needed."""
    held = Held()
    asking = client(held)
    callers = Callers(asking)
    callers.occupy(held)
    callers.call(3, 4)
    held.go()
    callers.answers()
    wait_until(lambda: under_way(asking) == 0)
    assert asking._state.senders.size > 0
    asking.close()
    wait_until(lambda: asking._state.senders.size == 0)
    callers.call(5)
    assert value_of(callers.answers()[-1]) == 5


def test_a_call_asks_by_itself_where_no_thread_can_be_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At the interpreter's end, or with all threads in use, nobody waits in vain."""
    held = Held()
    held.go()
    asking = client(held)
    monkeypatch.setattr(asking._state.senders, "run", lambda _: False)
    callers = Callers(asking)
    callers.call(*range(1, 9))
    assert [value_of(answer) for answer in callers.answers()] == list(range(1, 9))
