"""Who waits, and which requests are under way. No I/O, and no thread is started here.

One lock is held for moments. An interrupt may come between any two steps, so a request is a member
of a set that it leaves twice without harm, and whoever waits looks again by itself.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import Context, copy_context

from hybridmodel.data.answer import Answer
from hybridmodel.data.tensors import size_of
from hybridmodel.process.loops import current_loop
from hybridmodel.process.per_process import reset_in_child
from hybridmodel.process.tickets import Ticket
from hybridmodel.process.tracing import active_tracer
from hybridmodel.remote.exchange import Call
from hybridmodel.remote.gathering.matching import Kind, KindOf
from hybridmodel.remote.gathering.pace import Pace
from hybridmodel.remote.gathering.parts import Part
from hybridmodel.remote.resilience import Clock, Deadline
from hybridmodel.remote.sizes import rows_within

_NOTED = 16
"""Of so many calls that were alone, the time of one is looked at."""

_OVERDUE_S = 1.0
"""A request counts as ended so long after its deadline, even if nobody said so."""

Ask = Callable[[Call], Answer]
Found = Answer | Part | int
"""What comes of waiting; a number for a call that has to ask by itself, after so many requests."""


class Turn:
    """One request under way, since `since` by the lanes' clock: for its members, or for nobody."""

    __slots__ = ("deadline", "lane", "members", "request_id", "since")

    def __init__(self, deadline: Deadline, since: float) -> None:
        self.deadline = deadline
        self.lane: Lane | None = None
        self.since = since
        self.members: Sequence[Member] = ()
        self.request_id: str | None = None

    def is_for_nobody(self) -> bool:
        """Tell whether all members have what they waited for, or wait no longer."""
        return all(member.ticket.done for member in self.members)


class Lone(Turn):
    """The turn of a call that came when nobody else was about, and was not looked at."""

    __slots__ = ("call", "loop")

    def __init__(self, call: Call, loop: object, since: float) -> None:
        super().__init__(call.deadline, since)
        self.call = call
        self.loop = loop


class Member:
    """One call that waits, and how it is asked if it goes alone; `turn` is its request.

    `context` has the span of its caller, None where nobody traces. Who waits no longer wakes its
    `follower`.
    """

    __slots__ = ("ask", "call", "context", "follower", "ticket", "turn")

    def __init__(self, call: Call, ask: Ask) -> None:
        self.call = call
        self.ask = ask
        self.context: Context | None = None if active_tracer() is None else copy_context()
        self.ticket: Ticket[Found] = Ticket()
        self.turn: Turn | None = None
        self.follower: Member | None = None


class Lane:
    """Calls of one kind: those that wait, in order, and the requests under way."""

    __slots__ = ("kind", "running", "waiting")

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.waiting: deque[Member] = deque()
        self.running: set[Turn] = set()

    def drop_lost(self) -> list[Turn]:
        """Forget the turns that ought to have ended long ago, and return them."""
        lost = [turn for turn in self.running if turn.deadline.over_s() > _OVERDUE_S]
        self.running.difference_update(lost)
        return lost

    def is_lost(self) -> bool:
        """Tell whether nobody is there who still has time, as where a loop was closed."""
        waiting = [member.call.deadline.over_s() for member in self.waiting]
        return not self.running and all(over_s > _OVERDUE_S for over_s in waiting)

    def take(self, most: int, most_bytes: float) -> list[Member]:
        """Return the next members who still wait: as many as these limits allow, but at least one.

        `most` counts rows.
        """
        taken: list[Member] = []
        has_texts = any(dtype.kind == "O" for _, dtype, _ in self.kind[-1])
        if self.waiting and not has_texts:
            most = self._most_alike(most, most_bytes)
        rows = size_bytes = 0
        while self.waiting:
            member = self.waiting[0]
            if not member.ticket.done:
                rows += member.call.rows or 0
                size_bytes += size_of(member.call.feeds) if has_texts else 0
                if taken and (rows > most or size_bytes > most_bytes):
                    break
                taken.append(member)
            self.waiting.popleft()
        return taken

    def _most_alike(self, most: int, most_bytes: float) -> int:
        """Return how many rows these limits allow where rows have all the same size."""
        first = self.waiting[0].call
        return min(most, rows_within(first.feeds, first.rows or 1, most_bytes))


class Lanes:
    """The lanes of one client; a lane lasts while somebody is in it, and so do the keys it holds.

    Safe to share between threads; a forked child begins anew. `most` tells how many requests may be
    under way at all.
    """

    def __init__(self, kind_of: KindOf, most: Callable[[], int], clock: Clock) -> None:
        self._kind_of = kind_of
        self._most = most
        self._clock = clock
        self.reset()
        reset_in_child(self)

    def reset(self) -> None:
        """Forget everyone."""
        self._lock = threading.Lock()
        self._lanes: dict[Kind, Lane] = {}
        self._lone: Lone | None = None
        self._pace = Pace()
        self.counts = dict.fromkeys(("calls", "requests", "sorted_out", "left"), 0)

    def count(self, name: str) -> None:
        """Add one to a count."""
        with self._lock:
            self.counts[name] += 1

    def alone(self, call: Call) -> Lone | None:
        """Give a call a turn if nobody else is about, without a look at it; else return None.

        Most calls of a model with few callers are such, and each step here costs them time.
        """
        if self._lanes or self._lone is not None:
            return None
        with self._lock:
            if self._lanes or self._lone is not None:
                return None
            self.counts["calls"] += 1
            self.counts["requests"] += 1
            self._lone = Lone(call, current_loop(), self._clock())
            return self._lone

    def leave(self, turn: Lone, *, answered: bool) -> Lane | None:
        """End the turn of a call that was alone; return its lane if others have come to that.

        There it has to be ended then.
        """
        with self._lock:
            if self._lone is turn:
                self._lone = None
                if answered and not self.counts["calls"] % _NOTED:
                    self._pace.note(self._clock() - turn.since, 1)
            return turn.lane

    def _settle(self, lone: Lone) -> None:
        """Put the call that was alone into its lane, because another has come."""
        self._lone = None
        kind = self._kind_of(lone.call, lone.loop)
        if kind is not None:
            lone.lane = self._lanes.setdefault(kind, Lane(kind))
            lone.lane.running.add(lone)

    def enter(self, kind: Kind, call: Call, ask: Ask) -> tuple[Lane, Turn | Member, Turn | None]:
        """Give a call a turn of its own, if few requests are under way; else let it wait.

        A turn beside a member that waits is one that somebody has to send for.
        """
        # Freed after the lock, which may be needed by the coroutines that are freed with them.
        lost: list[tuple[Lane, list[Turn]]]
        with self._lock:
            self.counts["calls"] += 1
            if self._lone is not None:
                self._settle(self._lone)
            lane = self._lanes.get(kind)
            if lane is None:
                lost = self._drop_lost()
                lane = self._lanes[kind] = Lane(kind)
            else:
                running, most = len(lane.running), self._pace.at_a_time(self._most())
                # One turn is left to those who would have to wait.
                if lane.waiting or running >= max(1, most - 1):
                    member = Member(call, ask)
                    lane.waiting.append(member)
                    due = running < most and len(lane.waiting) >= self._enough(lane)
                    lost = [(lane, lane.drop_lost())] if due else []  # noqa: F841 - see above
                    return lane, member, self._begin(lane, call.deadline) if due else None
            self.counts["requests"] += 1
            return lane, self._begin(lane, call.deadline), None

    def next_turn(self, lane: Lane) -> Turn | None:
        """Return a turn for those who have waited for long, if one is free.

        Somebody has to send for it, as for what the others here return.
        """
        with self._lock:
            lost = lane.drop_lost()  # noqa: F841 - as in `enter`
            return self._due(lane, 1)

    def end(self, lane: Lane, turn: Turn, *, answered: bool) -> Turn | None:
        """End a turn, the second time without effect; return the next if one is due.

        `answered` says that its request was answered just now.
        """
        with self._lock:
            if answered:
                self._pace.note(self._clock() - turn.since, len(lane.running))
            lane.running.discard(turn)
            if lane.running or lane.waiting:
                return self._due(lane, self._enough(lane))
            if self._lanes.get(lane.kind) is lane:
                del self._lanes[lane.kind]
            return None

    def first(self, lane: Lane) -> Call | None:
        """Return the call that waits for the longest time."""
        with self._lock:
            return lane.waiting[0].call if lane.waiting else None

    def take(self, lane: Lane, turn: Turn, most: int, most_bytes: float) -> Sequence[Member]:
        """Return who goes with a turn, as `Lane.take` does; where too few wait, it ends.

        For its first members, that there are enough was known when it began.
        """
        with self._lock:
            lane.running.discard(turn)
            is_due = not turn.members or len(lane.waiting) >= self._enough(lane)
            turn.members = members = lane.take(most, most_bytes) if is_due else ()
            if not members:
                return ()
            lane.running.add(turn)
            self.counts["requests"] += 1
            turn.deadline, turn.since = members[0].call.deadline, self._clock()
            for member in members:
                member.turn = turn
            return members

    def let_go(self, lane: Lane) -> None:
        """Let all who wait ask by themselves."""
        with self._lock:
            members = list(lane.waiting)
            lane.waiting.clear()
        for member in members:
            member.ticket.set_result(0)

    def answered(self, lane: Lane, turn: Turn) -> None:
        """Note that the request of a turn, which goes on with others, was answered now."""
        with self._lock:
            self._pace.note(self._clock() - turn.since, len(lane.running))

    def _drop_lost(self) -> list[tuple[Lane, list[Turn]]]:
        """Forget lanes in which nobody is who still has time; return all, with lost turns."""
        found = [(lane, lane.drop_lost()) for lane in self._lanes.values()]
        for lane, _ in found:
            if lane.is_lost():
                del self._lanes[lane.kind]
        return found

    def _due(self, lane: Lane, least: int) -> Turn | None:
        """Begin a turn for those who wait, if they are enough and it is free."""
        free = len(lane.running) < self._pace.at_a_time(self._most())
        if not free or len(lane.waiting) < least:
            return None
        return self._begin(lane, lane.waiting[0].call.deadline)

    def _enough(self, lane: Lane) -> int:
        """Return how many have to wait before they get a turn beside those under way.

        Where requests are short, as many as are in a request under way: it ends soon, and a request
        costs as much for one row as for many.
        """
        if not self._pace.is_near or not lane.running:
            return 1
        return max(1, min([len(turn.members) for turn in lane.running]))

    def _begin(self, lane: Lane, deadline: Deadline) -> Turn:
        turn = Turn(deadline, self._clock())
        lane.running.add(turn)
        return turn
