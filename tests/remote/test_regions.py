"""Several endpoints in order: which one answers, when, and what a call learns where none does."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridmodel import (
    Answer,
    AuthenticationFailed,
    CircuitOpen,
    ConfigurationError,
    EndpointError,
    EndpointRefused,
    EndpointTimeout,
    EndpointUnavailable,
    ProtocolError,
    RateLimited,
)
from hybridmodel.remote.faults import FAULTS
from hybridmodel.remote.regions import RegionsClient
from hybridmodel.remote.resilience import Deadline
from tests.support.faulty import FEEDS
from tests.support.paths import ROOT
from tests.support.regions import DOWN, HANGS, TOOK_S, UP, World, described, place, reply

WEST, NORTH = place("west"), place("north")
STATUS = "ms_azureml_model_error_statuscode"
ERROR = b'{"error": "no"}'


def ask(client: RegionsClient, **options: Any) -> Answer:
    """Ask for one row."""
    return client.infer(FEEDS, ("y",), rows=1, **options)


@pytest.mark.parametrize(
    "does",
    [
        DOWN,
        HANGS,
        reply(408),
        reply(424, b"restarting"),
        reply(424, ERROR, **{STATUS: "503"}),
        reply(429),
        reply(500, b"<html>"),
        reply(502),
        reply(503),
        reply(504),
    ],
    ids=["no connection", "hangs", "408", "424", "424 503", "429", "500", "502", "503", "504"],
)
def test_an_endpoint_that_is_unavailable_is_passed_over(does: Any) -> None:
    """The next endpoint answers at once, the answer says so, and counts the request in vain."""
    world = World(west=does, north=UP)
    answer = ask(world.client(WEST, NORTH))
    assert answer.endpoint == NORTH.model_url
    assert (answer.outputs["y"].tolist(), answer.attempts) == ([5.0], 2)
    assert (world.asked, world.pauses_s) == (["west", "north"], [])


@pytest.mark.parametrize(
    ("does", "error"),
    [
        (reply(302), EndpointRefused),
        (reply(400, ERROR), EndpointRefused),
        (reply(401), AuthenticationFailed),
        (reply(403), AuthenticationFailed),
        (reply(404), EndpointRefused),
        (reply(424, ERROR, **{STATUS: "400"}), EndpointRefused),
        (reply(500, ERROR), EndpointRefused),
        (reply(200, b"<html>"), ProtocolError),
    ],
    ids=["302", "400", "401", "403", "404", "424 400", "500 of the model", "a login page"],
)
def test_a_refusal_is_the_answer(does: Any, error: type[EndpointError]) -> None:
    """What would stay unnoticed otherwise is raised, and no other endpoint is asked."""
    world = World(west=does, north=UP)
    with pytest.raises(error) as caught:
        ask(world.client(WEST, NORTH))
    assert (world.asked, caught.value.endpoint) == (["west"], WEST.model_url)


def test_a_refusal_of_the_next_endpoint_counts_all_requests() -> None:
    """The requests in vain before it are its own, too."""
    world = World(west=DOWN, north=reply(403))
    with pytest.raises(AuthenticationFailed) as caught:
        ask(world.client(WEST, NORTH))
    assert (caught.value.attempts, caught.value.endpoint) == (2, NORTH.model_url)


def test_the_first_one_answers_while_it_can() -> None:
    """Nothing is sent to the other endpoints, and the numbers are those of one endpoint."""
    world = World(west=UP, north=UP)
    client = world.client(WEST, NORTH)
    assert [ask(client).endpoint for _ in range(3)] == [WEST.model_url] * 3
    assert world.asked == ["west"] * 3
    stats = client.stats()
    assert (stats["requests"], stats["1.requests"], stats["1.calls"]) == (3, 3, 3)
    assert "passed_over" not in stats


def test_an_endpoint_that_hangs_leaves_half_of_the_time() -> None:
    """Of three endpoints the first may take a half, the second a quarter, the last the rest."""
    world = World(west=HANGS, north=HANGS, south=HANGS)
    started_s = world.now_s
    ended_s: list[float] = []
    client = world.client(WEST, NORTH, place("south"))
    send = world.send

    def noting(request: Any) -> Any:
        try:
            return send(request)
        finally:
            ended_s.append(world.now_s - started_s)

    world.send = noting  # type: ignore[method-assign]
    with pytest.raises(EndpointTimeout) as caught:
        ask(client, timeout_s=8.0)
    assert ended_s == [4.0, 6.0, 8.0]
    assert caught.value.attempts == 3


def test_the_last_endpoint_that_may_answer_has_all_the_time() -> None:
    """While the others are left alone, an endpoint is waited for as if it were the only one."""
    world = World(west=UP, north=DOWN)
    impatient = place("north", breaker_failures=1, breaker_reset_s=100.0)
    client = world.client(WEST, impatient)
    with pytest.raises(EndpointUnavailable):
        ask(RegionsClient(client.clients[1:]), retry=False)
    world.doing["west"] = HANGS
    with pytest.raises(EndpointTimeout) as caught:
        ask(client, timeout_s=8.0)
    assert world.now_s == pytest.approx(1000.0 + TOOK_S + 8.0)
    assert world.asked == ["north", "west"]
    assert caught.value.endpoint == WEST.model_url


def test_an_endpoint_that_is_due_again_may_answer() -> None:
    """Once its breaker lets a call through, the one before it may not take all the time."""
    world = World(west=HANGS, north=[DOWN, UP])
    client = world.client(WEST, place("north", breaker_failures=1, breaker_reset_s=5.0))
    with pytest.raises(EndpointUnavailable):
        ask(RegionsClient(client.clients[1:]), retry=False)
    world.now_s += 5.0
    assert ask(client, timeout_s=8.0).endpoint == NORTH.model_url


@pytest.mark.parametrize(("timeout_s", "sent"), [(0.8, 2), (2.0, 1)])
def test_a_share_of_little_time_says_nothing(timeout_s: float, sent: int) -> None:
    """An endpoint that had less than half a second is not left alone for it."""
    world = World(west=HANGS, north=UP)
    client = world.client(place("west", breaker_failures=1, breaker_reset_s=60.0), NORTH)
    for _ in range(2):
        ask(client, timeout_s=timeout_s)
    assert world.asked.count("west") == sent


def test_it_goes_back_to_the_first_within_the_breakers_time() -> None:
    """A breaker of its own leaves the first endpoint alone, and lets one call try it again."""
    world = World(west=DOWN, north=UP)
    client = world.client(place("west", breaker_failures=2, breaker_reset_s=10.0), NORTH)
    for _ in range(5):
        ask(client)
    assert world.asked.count("west") == 2
    world.doing["west"] = UP
    back_s = world.now_s + 10.0
    found = []
    while world.now_s < back_s + 1.0:
        found.append((world.now_s, ask(client).endpoint))
        world.now_s += 0.1
    first = min(at_s for at_s, endpoint in found if endpoint == WEST.model_url)
    assert first < back_s + 0.1
    assert {endpoint for at_s, endpoint in found if at_s >= first} == {WEST.model_url}


def test_where_none_is_available_all_are_named() -> None:
    """The error is the last that says more than that nothing was sent; it counts all requests."""
    world = World(west=reply(503, retry_after="2"), north=reply(429, retry_after="3"), south=DOWN)
    shy = place("south", breaker_failures=1)
    client = world.client(WEST, NORTH, shy)
    with pytest.raises(EndpointUnavailable):
        ask(client, retry=False)
    with pytest.raises(RateLimited) as caught:
        ask(client, retry=False)
    error = caught.value
    assert (error.endpoint, error.attempts, error.retry_after_s) == (NORTH.model_url, 2, 2.0)
    assert f"unavailable as well: {WEST.model_url}: EndpointUnavailable, {shy.model_url}: " in str(
        error
    )


def test_all_left_alone_is_an_error_at_once() -> None:
    """Nothing is sent and nothing waited for, and the error tells when to come again."""
    world = World(west=DOWN, north=DOWN)
    once = {"breaker_failures": 1, "max_attempts": 1}
    client = world.client(place("west", **once), place("north", **once, breaker_reset_s=4.0))
    with pytest.raises(EndpointUnavailable):
        ask(client)
    before_s = world.now_s
    with pytest.raises(CircuitOpen) as caught:
        ask(client)
    assert (world.now_s, len(world.asked), caught.value.attempts) == (before_s, 2, 0)
    assert caught.value.retry_after_s == pytest.approx(4.0)


def test_there_is_a_second_round_where_nobody_answered() -> None:
    """After the pause of one endpoint, the first that answers does; nothing is lost by a blip."""
    world = World(west=[reply(503), UP], north=DOWN)
    answer = ask(world.client(WEST, NORTH))
    assert (answer.endpoint, answer.attempts) == (WEST.model_url, 3)
    assert (world.asked, world.pauses_s) == (["west", "north", "west"], [0.5])


def test_a_second_round_asks_only_who_may_answer_by_then() -> None:
    """One that timed out, or asked for a longer pause, is not asked again."""
    soon, late = reply(503, retry_after="2"), reply(503, retry_after="5")
    world = World(west=[reply(504)], north=[soon, UP], south=late)
    answer = ask(world.client(WEST, NORTH, place("south")), timeout_s=60.0)
    assert answer.endpoint == NORTH.model_url
    assert (world.asked, world.pauses_s) == (["west", "north", "south", "north"], [2.0])
    world = World(west=late, north=[reply(504)], south=[soon, UP])
    ask(world.client(WEST, NORTH, place("south")), timeout_s=60.0)
    assert world.asked == ["west", "north", "south", "south"]


def test_a_second_round_asks_who_is_let_through_again() -> None:
    """An endpoint whose breaker was open may answer after the pause for another one."""
    world = World(west=[DOWN, UP], north=[UP, reply(503)])
    client = world.client(place("west", breaker_failures=1, breaker_reset_s=0.3), NORTH)
    assert [ask(client).endpoint for _ in range(2)] == [NORTH.model_url, WEST.model_url]
    assert (world.asked, world.pauses_s) == (["west", "north", "north", "west"], [0.5])


@pytest.mark.parametrize(
    ("options", "call", "sent"),
    [
        ({}, {"retry": False}, 2),
        ({"max_attempts": 1}, {}, 2),
        ({"max_attempts": 3}, {}, 6),
        ({"max_attempts": 3}, {"timeout_s": 0.4}, 2),
    ],
    ids=["no retry", "one attempt", "three attempts", "no time"],
)
def test_rounds_are_bounded(options: Any, call: Any, sent: int) -> None:
    """There are as many rounds as a call may make attempts, and none that the time forbids."""
    world = World(west=DOWN, north=DOWN)
    client = world.client(place("west", **options), place("north", **options))
    with pytest.raises(EndpointUnavailable) as caught:
        ask(client, **call)
    assert len(world.asked) == caught.value.attempts == sent


def test_the_budget_of_retries_holds_for_rounds() -> None:
    """While everything fails, each call asks each endpoint once."""
    world = World(west=DOWN, north=DOWN)
    patient = {"breaker_failures": None}
    client = world.client(place("west", **patient), place("north", **patient))
    sent = []
    for _ in range(12):
        before = len(world.asked)
        with pytest.raises(EndpointUnavailable):
            ask(client)
        sent.append(len(world.asked) - before)
    assert (sent[0], sent[-4:]) == (6, [2] * 4)


def test_nobody_is_asked_after_the_caller_gave_up() -> None:
    """A call that was ended early stops at the endpoint that it is at."""
    world = World(west=DOWN, north=UP)
    deadline = Deadline(8.0, world.clock)
    send = world.send

    def ending(request: Any) -> Any:
        deadline.end()
        return send(request)

    world.send = ending  # type: ignore[method-assign]
    with pytest.raises(EndpointUnavailable):
        ask(world.client(WEST, NORTH), deadline=deadline)
    assert world.asked == ["west"]


def test_one_of_many_requests_is_tried_again_where_it_failed() -> None:
    """What passes does not move a call of several requests, whose other answers would be lost."""
    busy = [reply(503), *[UP] * 6]
    world = World(west=busy, north=UP)
    client = world.client(place("west", max_batch_size=1), NORTH)
    feeds = {"x": np.ones(6, np.float32)}
    answer = client.infer(feeds, ("y",), rows=6)
    assert (answer.endpoint, answer.attempts) == (WEST.model_url, 7)
    assert (world.asked, answer.outputs["y"].tolist()) == (["west"] * 7, [5.0] * 6)


def test_a_call_of_many_requests_moves_as_a_whole() -> None:
    """Where an endpoint stays unavailable, the next one gets all rows, and joins them itself."""
    world = World(west=DOWN, north=UP)
    client = world.client(place("west", max_batch_size=1), place("north", max_batch_size=1))
    answer = client.infer({"x": np.ones(6, np.float32)}, ("y",), rows=6)
    assert (answer.endpoint, answer.outputs["y"].tolist()) == (NORTH.model_url, [5.0] * 6)
    assert world.asked.count("north") == 6


def test_each_endpoint_gets_its_own_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key goes to another endpoint, also where the first refuses its own."""
    monkeypatch.setenv("WEST_KEY", "key-of-west")
    monkeypatch.setenv("NORTH_KEY", "key-of-north")
    world = World(west=[reply(503), reply(401)], north=UP)
    client = world.client(
        place("west", auth_key_env="WEST_KEY"), place("north", auth_key_env="NORTH_KEY")
    )
    ask(client)
    with pytest.raises(AuthenticationFailed):
        ask(client)
    assert world.keys == {"west": ["Bearer key-of-west"] * 2, "north": ["Bearer key-of-north"]}


def test_a_missing_key_of_the_next_endpoint_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The error is about the key, and the log says why that endpoint was asked at all."""
    monkeypatch.delenv("NORTH_KEY", raising=False)
    world = World(west=DOWN)
    client = world.client(WEST, place("north", auth_key_env="NORTH_KEY"))
    with pytest.raises(ConfigurationError, match="NORTH_KEY"):
        ask(client)
    assert f"{WEST.model_url} is passed over: " in caplog.text


def test_what_is_passed_over_is_logged_once_in_a_row(caplog: pytest.LogCaptureFixture) -> None:
    """The first of a row is a warning, the others are details."""
    world = World(west=[DOWN, DOWN, UP, DOWN], north=UP)
    client = world.client(WEST, NORTH)
    with caplog.at_level(logging.DEBUG, logger="hybridmodel"):
        for _ in range(4):
            ask(client)
    levels = [item.levelname for item in caplog.records if "passed over" in item.getMessage()]
    assert levels == ["WARNING", "DEBUG", "WARNING"]


def test_numbers_are_told_for_each_endpoint() -> None:
    """Each endpoint has its number in the list; without one they are the sum."""
    world = World(west=DOWN, north=UP)
    client = world.client(place("west", breaker_failures=2), NORTH)
    for _ in range(4):
        ask(client)
    stats = client.stats()
    assert [stats[name] for name in ("requests", "1.requests", "2.requests")] == [6, 2, 4]
    assert (stats["passed_over"], stats["2.calls"], stats.get("1.calls", 0)) == (4, 4, 0)
    assert (stats["circuit_open"], stats["1.circuit_open"], stats["2.circuit_open"]) == (1, 1, 0)
    assert not any("gathered" in name for name in stats)
    assert isinstance(stats["requests"], int)


def test_a_request_has_as_many_rows_as_every_endpoint_takes() -> None:
    """Whoever pays for requests has the same number of them at any endpoint."""
    world = World()
    client = world.client(place("west", max_batch_size=64), place("north", max_batch_size=8))
    assert client.request_rows(FEEDS, 1000) == 8


def test_the_description_is_that_of_who_is_available() -> None:
    """Where the first is down, the second describes the model."""
    world = World(west=DOWN, north=reply(200, described("y")))
    assert world.client(WEST, NORTH).metadata().output_names == ("y",)


STATES = st.sampled_from([UP, DOWN, HANGS, reply(503), reply(429), reply(504)])


@given(
    calls=st.lists(
        st.tuples(STATES, STATES, st.floats(0.1, 30.0), st.floats(0.0, 12.0)),
        min_size=1,
        max_size=30,
    ),
    reset_s=st.sampled_from([1.0, 10.0]),
)
def test_no_call_is_lost_while_one_endpoint_is_up(
    calls: list[tuple[Any, Any, float, float]], reset_s: float
) -> None:
    """Whatever the others do from call to call: answered, and within the time of the call."""
    world = World(south=UP)
    options = {"breaker_reset_s": reset_s}
    hosts = ("west", "north", "south")
    client = world.client(*(place(host, **options) for host in hosts))
    for west, north, timeout_s, pause_s in calls:
        world.doing |= {"west": west, "north": north}
        started_s, before = world.now_s, len(world.asked)
        answer = ask(client, timeout_s=timeout_s)
        assert world.now_s - started_s <= timeout_s
        assert answer.attempts == len(world.asked) - before <= 3
        by = world.asked[-1]
        assert world.doing[by] == UP
        assert answer.endpoint == place(by).model_url
        world.now_s += pause_s


@given(down_for=st.integers(1, 40), gap_s=st.floats(0.05, 3.0), reset_s=st.floats(0.1, 10.0))
def test_calls_are_back_at_the_first_within_the_breakers_time(
    down_for: int, gap_s: float, reset_s: float
) -> None:
    """However long it was down: the first call after that time goes to it, and all later ones."""
    world = World(west=DOWN, north=UP)
    client = world.client(place("west", breaker_failures=3, breaker_reset_s=reset_s), NORTH)
    for _ in range(down_for):
        ask(client)
        world.now_s += gap_s
    world.doing["west"] = UP
    back_s = world.now_s + reset_s
    for _ in range(5):
        ask(client)
        world.now_s = max(world.now_s, back_s)
    assert world.asked[-4:] == ["west"] * 4


def test_the_page_says_what_is_passed_over() -> None:
    """Every row of the fault table stands in docs/regions.md, on the side of its error."""
    page = (ROOT / "docs" / "regions.md").read_text(encoding="utf-8")
    for side, is_unavailable in (("passed over", True), ("raised", False)):
        listed = page.partition(f"| {side} | ")[2].partition(" |")[0].split(", ")
        rows = [row for row in FAULTS if issubclass(row.error, EndpointUnavailable)]
        expected = [row.name for row in FAULTS if (row in rows) is is_unavailable]
        assert listed == expected
