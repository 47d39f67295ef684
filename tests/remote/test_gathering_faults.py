"""What goes wrong in a request that many calls share: nobody pays for a neighbour."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from hybridmodel import (
    CircuitOpen,
    EndpointError,
    EndpointRefused,
    EndpointTimeout,
    EndpointUnavailable,
    RateLimited,
    SpecMismatch,
)
from hybridmodel.data.answer import Answer
from hybridmodel.remote.http.connection import Reply
from hybridmodel.remote.resilience import Deadline
from hybridmodel.remote.wire.protocol import InferRequest
from tests.support.callers import (
    Callers,
    Held,
    client,
    computed,
    refusal,
    row,
    under_way,
    wait_until,
    waiting,
)

BAD = 99.0
MANY = 62
"""So many calls wait in these tests, while two requests are under way."""

AZURE = {"ms-azureml-model-error-statuscode": "400"}


def if_bad(reply: Reply) -> Any:
    """Return a rule that answers so where a request has the bad row."""
    return lambda request: reply if BAD in request.inputs["x"] else None


def mixed_up(request: InferRequest) -> Reply | None:
    """Leave out the bad row, as if nobody had sent it."""
    x = request.inputs["x"]
    good = np.flatnonzero(x[:, 0] != BAD)
    return None if len(good) == len(x) else computed(request, len(good))


def gathered(held: Held, *others: float, **options: Any) -> Callers:
    """Let calls wait behind two that are under way: so many good ones, with others between."""
    callers = Callers(client(held, **options))
    callers.occupy(held)
    callers.call(*range(3, 3 + MANY // 2), *others, *range(3 + MANY // 2, 3 + MANY))
    return callers


@pytest.mark.parametrize(
    ("rule", "kind"),
    [
        (if_bad(refusal(400)), EndpointRefused),
        (if_bad(refusal(413)), EndpointRefused),
        (if_bad(refusal(422)), EndpointRefused),
        (if_bad(refusal(500, "the model failed")), EndpointRefused),
        (if_bad(Reply(424, AZURE, bytearray(b'{"error": "no"}'), bytearray())), EndpointRefused),
        (mixed_up, SpecMismatch),
    ],
    ids=["400", "413", "422", "500 of the model", "424 with 400", "a row too few"],
)
def test_one_callers_rows_are_refused_and_all_others_answered(rule: Any, kind: type) -> None:
    """The parts of a refused request are sent again one by one, once."""
    held = Held(rule)
    callers = gathered(held, BAD)
    held.go()
    outcomes = callers.ended()
    refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert [type(error) for error in refused] == [kind]
    answers = [outcome for outcome in outcomes if isinstance(outcome, Answer)]
    assert sorted(answer.outputs["y"][0, 0] / 2 for answer in answers) == list(range(1, 3 + MANY))
    # Two were under way, one was shared, and each part of that was sent alone.
    assert len(held.requests) == 2 + 1 + MANY + 1
    assert callers.client.stats()["gathered.sorted_out"] == 1
    assert {answer.attempts for answer in answers[2:]} == {2}
    assert {answer.shared_request_id for answer in answers} == {None}


@pytest.mark.parametrize(("status", "most"), [(400, 4), (413, MANY // 2)], ids=["rows", "bytes"])
def test_what_a_refusal_teaches_bounds_the_next_requests(status: int, most: int) -> None:
    """After a request that was too large, smaller ones are made, and none of them is refused."""
    held = Held(lambda request: refusal(status) if len(request.inputs["x"]) > most else None, most)
    callers = gathered(held)
    held.go()
    assert len(callers.answers()) == MANY + 2
    wait_until(lambda: under_way(callers.client) == 0)
    again = Held(held.rule, most)
    callers.client._exchanger._transport.discard()
    callers.client._exchanger._connect = lambda: again
    more = Callers(callers.client)
    more.occupy(again)
    more.call(*range(3, 3 + MANY))
    again.go()
    assert len(more.answers()) == MANY + 2
    assert max(again.rows) == most
    assert callers.client.stats()["gathered.sorted_out"] == 1


def test_the_budget_of_retries_bounds_what_is_sorted_out() -> None:
    """While every row is refused, five requests are sorted out; then calls go alone."""
    held = Held(lambda _: refusal(400))
    held.go()
    asking = client(held)
    for _ in range(20):
        callers = Callers(asking)
        callers.call(*range(8))
        assert {type(outcome) for outcome in callers.ended()} == {EndpointRefused}
    assert asking.stats().get("gathered.sorted_out", 0) <= 5
    assert asking._state.budget.spare >= 0


def test_no_more_requests_are_under_way_than_could_be_sorted_out() -> None:
    """Each may need a token of the budget; with none left, one goes on."""
    asking = client(Held())
    assert asking._gatherer is not None
    most = asking._gatherer._lanes._most
    found = [most()]
    while asking._state.budget.take():
        found.append(most())
    assert found == [5, 4, 3, 2, 1, 1]


def test_calls_go_alone_while_the_budget_is_used_up() -> None:
    """A refused request that nobody could sort out is not made in the first place."""
    held = Held(if_bad(refusal(400)))
    asking = client(held)
    while asking._state.budget.take():
        pass
    threads = [
        threading.Thread(target=asking.infer, args=(row(value), ("y",)), kwargs={"rows": 1})
        for value in range(10)
    ]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(held.requests) == 10)
    held.go()
    for thread in threads:
        thread.join()
    assert held.rows == [1] * 10


@pytest.mark.parametrize("status", [404, 501, 302, 401, 403, 503, 504])
def test_what_is_not_about_rows_is_told_to_all(status: int) -> None:
    """Each gets its own error with its own id, and the request is not sent again in parts."""
    held = Held(lambda request: refusal(status) if len(request.inputs["x"]) > 1 else None)
    callers = gathered(held)
    held.go()
    errors = [outcome for outcome in callers.ended() if isinstance(outcome, EndpointError)]
    assert len(errors) == MANY
    assert held.rows == [1, 1, MANY]
    shared = held.requests[2].request_id
    assert {error.status for error in errors} == {status}
    assert {error.shared_request_id for error in errors} == {shared}
    assert len({error.request_id for error in errors} | {shared}) == MANY + 1
    assert len({id(error) for error in errors}) == MANY
    assert f"sent with others as {shared}]" in str(errors[0])
    assert callers.client.stats()[f"failed.{type(errors[0]).__name__}"] == 1


def test_a_server_that_dies_between_two_requests_is_one_failure() -> None:
    """Sixty-two callers learn of it, the breaker counts one, and the next call is answered."""

    def dead(request: InferRequest) -> Reply | None:
        if len(request.inputs["x"]) > 1:
            raise EndpointUnavailable("the connection broke")
        return None

    held = Held(dead)
    callers = gathered(held, breaker_failures=2)
    held.go()
    outcomes = callers.ended()
    assert [type(outcome) for outcome in outcomes] == [Answer] * 2 + [EndpointUnavailable] * MANY
    assert not callers.client._state.breaker.is_open
    callers.call(5)
    assert isinstance(callers.ended()[-1], Answer)


def test_nobody_waits_for_the_probe_of_an_endpoint_that_is_left_alone() -> None:
    """While the breaker is open each call fails at once, by itself."""
    held = Held(lambda _: refusal(503))
    held.go()
    asking = client(held, breaker_failures=1)
    with pytest.raises(EndpointUnavailable):
        asking.infer(row(1), ("y",), rows=1)
    for _ in range(3):
        with pytest.raises(CircuitOpen):
            asking.infer(row(1), ("y",), rows=1)
    assert asking.stats()["gathered.calls_per_request"] == 1


def test_a_429_with_its_time_is_waited_for_once() -> None:
    """One request pauses and is sent again; its callers are all answered, and the limit halves."""
    pauses: list[float] = []
    refused = [refusal(429, retry_after="2")]
    held = Held(lambda request: refused.pop() if len(request.inputs["x"]) > 1 and refused else None)
    callers = Callers(client(held, max_attempts=3))
    callers.client._retrier.sleep = pauses.append
    callers.occupy(held)
    callers.call(*range(3, 3 + MANY))
    held.go()
    assert len(callers.answers()) == MANY + 2
    assert held.rows == [1, 1, MANY, MANY]
    assert [round(pause) for pause in pauses] == [2]
    assert callers.client.stats()["in_flight_limit"] < 16


def test_a_429_to_the_end_is_told_with_its_time() -> None:
    """Every caller's error says how long to wait."""
    held = Held(lambda request: refusal(429, retry_after="2"))
    callers = gathered(held)
    held.go()
    errors = callers.ended()
    assert {type(error) for error in errors} == {RateLimited}
    assert {error.retry_after_s for error in errors if isinstance(error, RateLimited)} == {2.0}


def test_a_caller_leaves_at_its_own_time_while_others_wait_on() -> None:
    """Whose deadline passes under way gets a timeout; the request goes on for the others."""
    held = Held()
    callers = Callers(client(held))
    asking = callers.client
    callers.occupy(held)
    hasty = Deadline(30.0)
    callers.call(3, deadline=hasty)
    callers.call(4, 5)
    first, second = (turn.deadline for lane in _lanes(asking) for turn in lane.running)
    # A held request of one, whose caller has no time left, makes room for the others.
    first.run_out()
    wait_until(lambda: len(held.requests) == 3)
    hasty.run_out()
    wait_until(lambda: 2 in callers.outcomes)
    error = callers.outcomes[2]
    assert isinstance(error, EndpointTimeout)
    assert "no answer within the deadline" in str(error)
    assert error.shared_request_id == held.requests[2].request_id
    held.go()
    outcomes = callers.ended()
    assert [type(outcome) for outcome in outcomes[3:]] == [Answer] * 2
    assert asking.stats()["gathered.left"] == 1
    assert not asking._state.breaker.is_open
    assert second.given_up is False


def test_who_leaves_before_a_request_is_not_in_it() -> None:
    """Rows whose caller's time passed while it waited are not sent."""
    held = Held()
    callers = Callers(client(held))
    callers.occupy(held)
    hasty = Deadline(30.0)
    callers.call(3, 4)
    callers.call(5, deadline=hasty)
    callers.call(6)
    hasty.run_out()
    wait_until(lambda: 4 in callers.outcomes)
    held.go()
    outcomes = callers.ended()
    error = outcomes[4]
    assert isinstance(error, EndpointTimeout)
    assert error.attempts == 0
    assert "while waiting for requests of other calls to end" in str(error)
    assert held.values[2:] == [[3, 4, 6]]


def test_a_request_that_nobody_waits_for_is_given_up() -> None:
    """When the last caller leaves, its permit and its thread are free again."""
    held = Held()
    callers = Callers(client(held))
    asking = callers.client
    callers.occupy(held)
    deadlines = [Deadline(30.0), Deadline(30.0)]
    callers.call(3, deadline=deadlines[0])
    callers.call(4, deadline=deadlines[1])
    first, _ = (turn.deadline for lane in _lanes(asking) for turn in lane.running)
    first.run_out()
    wait_until(lambda: len(held.requests) == 3)
    for deadline in deadlines:
        deadline.end()
    wait_until(lambda: under_way(asking) == 1)
    assert asking.stats()["gathered.left"] == 2
    held.go()
    callers.ended()


def test_an_interrupt_withdraws_the_rows() -> None:
    """Whatever is raised where a caller waits ends its waiting, and nothing is sent for it."""

    class Interrupt(BaseException):
        pass

    held = Held()
    callers = Callers(client(held))
    asking = callers.client
    callers.occupy(held)
    callers.call(3)
    deadline = Deadline(30.0)

    def interrupted() -> float:
        raise Interrupt

    deadline.remaining_s = interrupted  # type: ignore[method-assign]
    with pytest.raises(Interrupt):
        asking.infer(row(4.0), ("y",), rows=1, deadline=deadline)
    assert waiting(asking) == 2
    held.go()
    callers.answers()
    assert held.values[2:] == [[3]]


def test_a_request_that_was_never_ended_is_forgotten_after_its_deadline() -> None:
    """A turn that a signal handler left behind does not keep others waiting for ever."""
    held = Held()
    held.go()
    asking = client(held)
    time_s = [1000.0]
    stuck = Deadline(1.0, lambda: time_s[0])
    assert asking._gatherer is not None
    lanes = asking._gatherer._lanes
    kind = asking._gatherer._kind_of(
        asking._exchanger.begin(None, feeds=row(1), outputs=("y",), rows=1), None
    )
    assert kind is not None
    with lanes._lock:
        from hybridmodel.remote.gathering.lanes import Lane

        lane = lanes._lanes[kind] = Lane(kind)
        for _ in range(2):
            lanes._begin(lane, stuck)
    callers = Callers(asking)
    callers.call(3)
    assert waiting(asking) == 1
    time_s[0] += 2.5
    assert isinstance(callers.ended()[0], Answer)


def _lanes(asking: Any) -> list[Any]:
    return [*asking._gatherer._lanes._lanes.values()]
