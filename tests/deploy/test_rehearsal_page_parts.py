"""The parts behind a rehearsal's page: passes, samples, listeners, command lines."""

from __future__ import annotations

import asyncio
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridmodel.deploy.rehearsal import events as events_module
from hybridmodel.deploy.rehearsal.events import MOST_LISTENERS, Events
from hybridmodel.deploy.rehearsal.history import SAMPLES, History
from hybridmodel.deploy.rehearsal.page import commands
from hybridmodel.deploy.rehearsal.passes import Passes
from hybridmodel.deploy.rehearsal.snapshot import Tally
from hybridmodel.deploy.rehearsal.traffic import Traffic, parse_shares
from tests.support.watching import Clock, Listener, idle_endpoint


def test_passes_are_few() -> None:
    """Of links and sessions the latest 16 are good, so that nothing grows."""
    passes = Passes()
    links = [passes.link() for _ in range(17)]
    assert passes.enter(links[0]) is None
    sessions = [passes.enter(link) for link in links[1:]]
    assert all(session and passes.permit(session) for session in sessions)
    assert passes.enter(links[1]) is None
    assert passes.enter(passes.link())
    assert [passes.permit(str(session)) for session in sessions] == [False] + [True] * 15


def test_a_link_is_no_session() -> None:
    """What is good for one thing is not for the other."""
    passes = Passes()
    link = passes.link()
    assert not passes.permit(link)
    session = passes.enter(link)
    assert passes.enter(session) is None


@given(st.lists(st.floats(0, 10), max_size=30), st.lists(st.floats(0, 10), max_size=30))
def test_latencies_since(before: list[float], after: list[float]) -> None:
    """What is told since a moment is what a new tally tells of the times after it."""
    both, new = Tally(), Tally()
    for time_s in before:
        both.add(200, time_s)
    known = both.timed
    for time_s in after:
        both.add(200, time_s)
        new.add(200, time_s)
    assert both.latency_since(known) == new.latency()


def test_more_times_than_are_remembered() -> None:
    """Of more times than are remembered, the latest are told of."""
    tally = Tally()
    for _ in range(3000):
        tally.add(200, 1.0)
    assert tally.latency_since(0).count == 1000
    assert tally.latency_since(2999).count == 1


def test_a_sample() -> None:
    """A sample has the rates and the times since the one before, and no times where none came."""
    clock = Clock()
    endpoint = idle_endpoint(clock)
    history = History(endpoint)
    green = endpoint.deployments["green"].answers
    for code, elapsed_s in ((200, 0.1), (200, 0.2), (408, 5.0), (429, None)):
        green.add(code, elapsed_s)
    clock.now += 2
    first = history.take()
    clock.now += 1
    green.add(200, 9.0)
    second = history.take()
    point = first.deployments["green"]
    assert (point.answers_per_s, point.errors_per_s) == (2.0, 1.0)
    assert (point.median_s, point.p99_s) == (0.2, 5.0)
    assert first.deployments["blue"].median_s is None
    point = second.deployments["green"]
    assert (point.answers_per_s, point.errors_per_s, point.median_s) == (1.0, 0.0, 9.0)
    assert second.at_s == 3.0


def test_samples_are_few() -> None:
    """Only the latest samples are kept."""
    clock = Clock()
    history = History(idle_endpoint(clock))
    for _ in range(SAMPLES + 5):
        clock.now += 1
        history.take()
    assert [sample.at_s for sample in history.samples] == list(range(6, SAMPLES + 6))


def test_nothing_waits_for_a_slow_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others are told while one does not read, and it gets the latest state, not those before."""
    monkeypatch.setattr(events_module, "INTERVAL_S", 0.001)

    async def watch() -> tuple[Listener, Listener]:
        events, quick, slow = Events(idle_endpoint()), Listener(), Listener(takes=False)
        events.open()
        listening = [asyncio.create_task(one.listen(events)) for one in (quick, slow)]
        while len(quick.heard) < 30:
            await asyncio.sleep(0.001)
        slow.takes.set()
        await events.close()
        await asyncio.gather(*listening)
        assert events.listeners == 0
        return quick, slow

    quick, slow = asyncio.run(watch())
    assert quick.names == ["start", *["state"] * (len(quick.heard) - 2), "end"]
    assert (slow.names[0], slow.names[-1]) == ("start", "end")
    assert len(slow.heard) < 10


def test_a_place_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who goes while nothing is sent, or while something is, leaves a place behind."""
    monkeypatch.setattr(events_module, "INTERVAL_S", 60.0)

    async def watch() -> None:
        events = Events(idle_endpoint())
        events.open()
        many = [Listener(takes=at % 2 == 0) for at in range(MOST_LISTENERS)]
        listening = [asyncio.create_task(one.listen(events)) for one in many]
        await asyncio.sleep(0.01)
        last = Listener()
        await last.listen(events)
        assert (last.status, last.heard) == (503, [])
        for one in many:
            one.leaves.set()
        await asyncio.gather(*listening)
        assert events.listeners == 0
        await events.close()

    asyncio.run(watch())


def test_an_error_in_telling_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes wrong while somebody is told reaches the server, which ends the connection."""
    endpoint = idle_endpoint()
    monkeypatch.setattr(endpoint, "snapshot", lambda: 1 / 0)

    async def watch() -> None:
        with pytest.raises(ZeroDivisionError):
            await Listener().listen(Events(endpoint))

    asyncio.run(watch())


@pytest.mark.parametrize("names", [("blue",), ("blue", "green"), ("a", "b", "c")])
def test_commands_can_be_given(names: tuple[str, ...]) -> None:
    """Each line is one that a shell reads as meant, and that the rehearsal takes in this order."""
    folder = Path("/x y/$(touch z)'; rm -rf *")
    traffic = Traffic(names, {names[0]: 100}, {})
    for _, line in commands(folder, names):
        words = shlex.split(line)
        assert words[:2] == ["hybridmodel", "rehearse"]
        assert words[3] == str(folder)
        if words[2] in ("traffic", "mirror"):
            shares = parse_shares(words[4:], words[2])
            change = traffic.with_shares if words[2] == "traffic" else traffic.with_mirror
            traffic = change(shares)
        else:
            assert words[2] == "scale"
