"""When a request is made for those who wait, and who goes with it. No threads, no server."""

from __future__ import annotations

from typing import Any

import numpy as np

from hybridmodel.data.answer import Answer
from hybridmodel.remote.exchange import Call
from hybridmodel.remote.gathering.lanes import Lanes, Member, Turn
from hybridmodel.remote.gathering.matching import kind_finder
from hybridmodel.remote.resilience import Deadline
from tests.support.callers import SPEC, row

MOST = (256, 1e9)


class Room:
    """Lanes with a clock of their own, and calls of one kind."""

    def __init__(self, limit: int = 16) -> None:
        self.time_s = 1000.0
        self.lanes = Lanes(kind_finder(SPEC, 256), lambda: limit, lambda: self.time_s)

    def enter(self, rows: int = 1) -> tuple[Any, Turn | Member, Turn | None]:
        """Let one more call come."""
        call = self.call(rows)
        kind = kind_finder(SPEC, 256)(call, None)
        assert kind is not None
        return self.lanes.enter(kind, call, never)

    def call(self, rows: int = 1) -> Call:
        """Make a call."""
        deadline = Deadline(30.0, lambda: self.time_s)
        return Call(
            deadline=deadline,
            request_id="id",
            key=None,
            feeds=row(1, rows),
            outputs=("y",),
            rows=rows,
        )

    def alone(self, took_s: float) -> None:
        """Let a call come and be answered, with nobody else about."""
        lane, turn, _ = self.enter()
        assert isinstance(turn, Turn)
        self.time_s += took_s
        assert self.lanes.end(lane, turn, answered=True) is None


def never(_: Call) -> Answer:
    """Fail: nothing is asked here."""
    raise AssertionError


def test_a_call_has_a_turn_of_its_own_when_nothing_is_under_way() -> None:
    """It does not wait, and nobody else has to send for it."""
    room = Room()
    for _ in range(3):
        room.alone(0.001)
    assert room.lanes.counts == {"calls": 3, "requests": 3, "sorted_out": 0, "left": 0}


def test_the_second_call_waits_for_a_sender_and_the_third_for_a_request() -> None:
    """Two are under way at a time; both ends let those go who wait then, in their order."""
    room = Room()
    lane, first, _ = room.enter()
    _, second, turn = room.enter()
    _, third, none = room.enter()
    assert isinstance(first, Turn)
    assert turn is not None
    assert none is None
    assert list(room.lanes.take(lane, turn, 1, 1e9)) == [second]
    following = room.lanes.end(lane, first, answered=False)
    assert following is not None
    assert list(room.lanes.take(lane, following, *MOST)) == [third]


def test_near_a_server_a_second_request_waits_for_enough_callers() -> None:
    """Three are under way: two who come wait, and with the third they go."""
    room = Room()
    room.alone(0.001)
    lane, own, _ = room.enter()
    _, _, turn = room.enter()
    room.enter()
    room.enter()
    assert isinstance(own, Turn)
    assert turn is not None
    assert len(room.lanes.take(lane, turn, *MOST)) == 3
    assert room.lanes.end(lane, own, answered=False) is None
    assert [room.enter()[2] for _ in range(2)] == [None, None]
    _, _, due = room.enter()
    assert due is not None
    assert len(room.lanes.take(lane, due, *MOST)) == 3


def test_far_from_a_server_nobody_waits_for_others() -> None:
    """Where requests are long, whoever comes goes with the next turn that is free."""
    room = Room()
    room.alone(0.050)
    lane, own, _ = room.enter()
    _, _, turn = room.enter()
    room.enter()
    assert isinstance(own, Turn)
    assert turn is not None
    assert len(room.lanes.take(lane, turn, *MOST)) == 2
    assert room.lanes.end(lane, own, answered=False) is None
    assert room.enter()[2] is not None


def test_who_has_waited_for_long_gets_a_turn_whatever_hangs() -> None:
    """A request that hangs does not keep a few who wait behind it."""
    room = Room()
    room.alone(0.001)
    lane, own, _ = room.enter()
    _, _, turn = room.enter()
    room.enter()
    assert isinstance(own, Turn)
    assert turn is not None
    assert len(room.lanes.take(lane, turn, *MOST)) == 2
    room.lanes.end(lane, own, answered=False)
    _, waits, _ = room.enter()
    due = room.lanes.next_turn(lane)
    assert due is not None
    assert list(room.lanes.take(lane, due, *MOST)) == [waits]


def test_a_request_counts_as_ended_a_second_after_its_deadline() -> None:
    """Even if nobody said so, because a signal handler raised."""
    room = Room(limit=1)
    lane, _, _ = room.enter()
    _, waits, _ = room.enter()
    assert room.lanes.next_turn(lane) is None
    room.time_s += 31.5
    due = room.lanes.next_turn(lane)
    assert due is not None
    assert list(room.lanes.take(lane, due, *MOST)) == [waits]


def test_rows_that_differ_in_size_are_weighed() -> None:
    """Texts of 4 kB each: two go together where 10 kB may."""
    lanes = Lanes(kind_finder(SPEC, 256), lambda: 1, lambda: 0.0)
    kind = (None, None, True, 5, ("y",), (("text", np.dtype(object), ()),))
    for _ in range(5):
        text = np.array(["x" * 4000], object)
        deadline = Deadline(30.0, lambda: 0.0)
        call = Call(deadline=deadline, request_id="id", key=None, feeds={"text": text}, rows=1)
        lane, _, _ = lanes.enter(kind, call, never)
    assert len(lane.take(256, 10_000)) == 2
    assert len(lane.take(256, 1)) == 1


def test_a_call_that_was_alone_counts_when_another_comes() -> None:
    """It has a lane from then on, and the third call waits behind it and the second."""
    room = Room()
    lone = room.lanes.alone(room.call())
    assert lone is not None
    assert room.lanes.alone(room.call()) is None
    lane, second, turn = room.enter()
    assert turn is not None
    assert list(room.lanes.take(lane, turn, *MOST)) == [second]
    _, third, none = room.enter()
    assert none is None
    assert room.lanes.leave(lone, answered=True) is lane
    due = room.lanes.end(lane, lone, answered=True)
    assert due is not None
    assert list(room.lanes.take(lane, due, *MOST)) == [third]


def test_a_large_call_that_was_alone_is_in_nobodys_way() -> None:
    """Who comes beside it has a turn of its own."""
    room = Room()
    lone = room.lanes.alone(room.call(rows=1000))
    _, turn, _ = room.enter()
    assert isinstance(turn, Turn)
    assert lone is not None
    assert room.lanes.leave(lone, answered=True) is None


def test_calls_that_are_alone_one_after_the_other_leave_nothing() -> None:
    """Neither a lane, nor a key."""
    room = Room()
    for _ in range(40):
        lone = room.lanes.alone(room.call())
        assert lone is not None
        assert room.lanes.leave(lone, answered=True) is None
    assert room.lanes._lanes == {}
    assert room.lanes._lone is None
    assert room.lanes.counts["requests"] == 40


def test_a_turn_that_was_lost_slows_nobody_for_ever() -> None:
    """An interrupt kept it from ending: long after its time, calls are alone again."""
    room = Room()
    lost, _, _ = room.enter()
    room.time_s += 30.5
    lane, member, turn = room.enter()
    assert lane is lost
    assert isinstance(member, Member)
    assert turn is not None
    assert list(room.lanes.take(lane, turn, *MOST)) == [member]
    assert room.lanes.end(lane, turn, answered=True) is None
    room.time_s += 1.0
    lane, member, turn = room.enter()
    assert turn is not None
    room.lanes.take(lane, turn, *MOST)
    room.lanes.end(lane, turn, answered=True)
    assert room.lanes.alone(room.call()) is not None


def test_a_lane_whose_loop_has_ended_goes_with_its_keys() -> None:
    """A loop may be closed with all that waits on it; the next who comes finds that."""
    room = Room()
    call = room.call()
    kind = kind_finder(SPEC, 256)(call, "a loop that was closed")
    assert kind is not None
    for _ in range(3):
        room.lanes.enter(kind, call, never)
    room.time_s += 31.5
    lane, own, _ = room.enter()
    assert isinstance(own, Turn)
    assert list(room.lanes._lanes.values()) == [lane]


def test_who_is_lost_is_freed_when_others_may_come() -> None:
    """A coroutine that is freed with it ends its call, and enters here again for that."""
    room = Room()
    ended: list[Any] = []

    class Ends:
        """Something that a lost turn keeps alive."""

        def __del__(self) -> None:
            ended.append(room.lanes._lock.locked())

    for kind in ("the same", "another"):
        lane, turn, _ = room.enter()
        assert isinstance(turn, Turn)
        turn.request_id = Ends()  # type: ignore[assignment]
        del turn
        if kind == "another":
            lane.kind = ("gone",)
            room.lanes._lanes = {lane.kind: lane}
        del lane
        room.time_s += 31.5
        room.enter()
        room.lanes.reset()
    assert ended == [False, False]
