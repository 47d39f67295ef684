"""Calls wait while as many requests are under way as help, and then go together in the next one.

A call that comes when few are under way asks by itself, in its own thread, and at once: nothing
waits for others to come. `hybridmodel.remote.client` says how one call is asked.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial

from hybridmodel.data.answer import Answer
from hybridmodel.data.tensors import ModelSpec
from hybridmodel.exceptions import EndpointError
from hybridmodel.process.loops import current_loop
from hybridmodel.remote.attempts import EndpointState
from hybridmodel.remote.exchange import Call, Exchanger
from hybridmodel.remote.faults import LATE, NO_PERMIT, new_error
from hybridmodel.remote.gathering.lanes import Ask, Lane, Lanes, Member, Turn
from hybridmodel.remote.gathering.matching import kind_finder
from hybridmodel.remote.gathering.parts import Part
from hybridmodel.remote.gathering.sharing import Sharing
from hybridmodel.remote.resilience import LONGEST_WAIT_S, Clock
from hybridmodel.remote.sizes import RequestSizes

_LEFT = InterruptedError("left")
"""The outcome of a ticket whose caller waits no longer; nobody sees it."""

_log = logging.getLogger("hybridmodel")


class Gatherer:
    """Puts the calls of one client together, up to the endpoint's `coalesce_rows` a request.

    Safe to share between threads and coroutines; a forked child begins anew.
    """

    def __init__(
        self,
        spec: ModelSpec,
        exchanger: Exchanger,
        state: EndpointState,
        sizes: RequestSizes,
        clock: Clock,
    ) -> None:
        self._most_rows = exchanger.endpoint.coalesce_rows
        self._kind_of = kind_finder(spec, self._most_rows)
        self._exchanger = exchanger
        self._sizes = sizes
        self._workers = state.senders
        self._lanes = Lanes(self._kind_of, partial(_most_at_a_time, state), clock)
        self._sharing = Sharing(state, sizes, self._lanes)

    def ask(self, call: Call, ask: Ask) -> Answer:
        """Return the answer to a call, or raise what it would get alone.

        `ask` sends one request. It is not kept, because whoever owns it owns this.
        """
        turn = self._lanes.alone(call)
        if turn is None:
            return self._ask_among_others(call, ask)
        answered = False
        try:
            answer = ask(call)
            answered = True
            return answer
        finally:
            lane = self._lanes.leave(turn, answered=answered)
            if lane is not None:
                self._start(lane, self._lanes.end(lane, turn, answered=answered))

    def _ask_among_others(self, call: Call, ask: Ask) -> Answer:
        """Let a call wait while others are asked, where it may go with more of them."""
        kind = self._kind_of(call, current_loop())
        if kind is None or self._sharing.is_apart():
            self._lanes.count("calls")
            self._lanes.count("requests")
            return ask(call)
        lane, place, turn = self._lanes.enter(kind, call, ask)
        if isinstance(place, Member):
            return self._wait(lane, place, turn)
        answered = False
        try:
            answer = ask(call)
            answered = True
            return answer
        finally:
            self._start(lane, self._lanes.end(lane, place, answered=answered))

    def stats(self) -> dict[str, float]:
        """Return counts by name, and how many calls there were for each request."""
        counts = self._lanes.counts.copy()
        found: dict[str, float] = {f"gathered.{name}": count for name, count in counts.items()}
        if counts["requests"]:
            found["gathered.calls_per_request"] = counts["calls"] / counts["requests"]
        return found

    def _start(self, lane: Lane, turn: Turn | None) -> None:
        """Let a thread send for those who wait, if there is a turn for them."""
        if turn is not None and not self._workers.run(partial(self._serve, lane, turn)):
            self._lanes.let_go(lane)
            self._lanes.end(lane, turn, answered=False)

    def _serve(self, lane: Lane, turn: Turn) -> None:
        """Send requests as long as somebody waits."""
        try:
            while self._take(lane, turn):
                if self._sharing.send(turn):
                    self._lanes.answered(lane, turn)
        except Exception:  # noqa: BLE001 - nobody may wait for nothing
            _log.exception("a request for several calls could not be made; each asks by itself")
            self._lanes.let_go(lane)
        except BaseException:
            # The sender is ended, not the request of those who wait: a loop ends its tasks so.
            self._lanes.let_go(lane)
            raise
        finally:
            for member in turn.members:
                member.ticket.set_result(0)
            self._start(lane, self._lanes.end(lane, turn, answered=False))

    def _take(self, lane: Lane, turn: Turn) -> bool:
        """Let the next members go with a turn, and tell whether there are any."""
        first = self._lanes.first(lane)
        if first is not None and self._sharing.is_apart():
            self._lanes.let_go(lane)
            first = None
        limits = (1, 0.0) if first is None else self._sizes.limits(first, self._most_rows)
        return bool(self._lanes.take(lane, turn, *limits))

    def _wait(self, lane: Lane, member: Member, turn: Turn | None) -> Answer:
        """Start a turn, if there is one, and return what comes of a call within its own time."""
        call, ticket = member.call, member.ticket
        try:
            self._start(lane, turn)
            while not ticket.wait(min(call.deadline.remaining_s(), LONGEST_WAIT_S)):
                if call.deadline.remaining_s() == 0:
                    raise self._too_late(member)
                # A sender may be missing, because an interrupt came between two steps.
                self._start(lane, self._lanes.next_turn(lane))
        finally:
            if not ticket.done:
                self._leave(member)
            if member.follower is not None:
                member.follower.ticket.wake()
        found = ticket.result()
        if isinstance(found, Part):
            return found.answer_to(call)
        return found if isinstance(found, Answer) else self._by_itself(member, found)

    def _by_itself(self, member: Member, attempts: int) -> Answer:
        """Ask for a call alone after all, which took so many requests already."""
        self._lanes.count("requests")
        try:
            answer = member.ask(member.call)
        except EndpointError as error:
            error.attempts += attempts
            raise
        return replace(answer, attempts=answer.attempts + attempts) if attempts else answer

    def _leave(self, member: Member) -> None:
        """Withdraw a call that still waits; a request that nobody waits for is given up."""
        if member.ticket.set_error(_LEFT):
            self._lanes.count("left")
            if member.turn is not None and member.turn.is_for_nobody():
                member.turn.deadline.end()

    def _too_late(self, member: Member) -> EndpointError:
        call, turn = member.call, member.turn
        seconds = f"the deadline of {call.deadline.timeout_s:g} s"
        if turn is None:
            text = f"{seconds} passed while waiting for requests of other calls to end"
            return self._exchanger.with_context(call, new_error(NO_PERMIT, text))
        text = f"no answer within {seconds}, to a request that others wait for as well"
        error = self._exchanger.with_context(call, new_error(LATE, text))
        error.shared_request_id = turn.request_id
        return error


def _most_at_a_time(state: EndpointState) -> int:
    """Return how many requests may be under way: each may need a token, to be sorted out."""
    return min(state.limiter.limit, max(1, state.budget.spare))
