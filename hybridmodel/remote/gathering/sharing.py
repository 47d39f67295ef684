"""One request for several calls, and what each of them learns of its end."""

from __future__ import annotations

import contextvars
from collections.abc import Sequence
from contextlib import suppress

from hybridmodel.data.answer import Answer
from hybridmodel.data.tensors import size_of
from hybridmodel.exceptions import EndpointRefused
from hybridmodel.remote.attempts import EndpointState
from hybridmodel.remote.exchange import Call, new_request_id
from hybridmodel.remote.gathering.lanes import Lanes, Member, Turn
from hybridmodel.remote.gathering.parts import Part, error_of, is_about_rows, together
from hybridmodel.remote.gathering.tracing import requesting
from hybridmodel.remote.sizes import RequestSizes


class Sharing:
    """Sends for the members of a turn."""

    def __init__(self, state: EndpointState, sizes: RequestSizes, lanes: Lanes) -> None:
        self._state = state
        self._sizes = sizes
        self._lanes = lanes

    def is_apart(self) -> bool:
        """Tell whether calls go alone for now.

        While the endpoint is left alone, none is held up; and without a token in the budget of
        retries, no request could be sorted out.
        """
        return self._state.breaker.is_open or not self._state.budget.spare

    def send(self, turn: Turn) -> bool:
        """Send the request of a turn, tell each member, and return whether it was answered.

        Raises what is no error of the request, such as a cancellation; nobody is told of that.
        """
        members = turn.members
        if len(members) == 1:
            return _send_alone(members[0])
        call = together([member.call for member in members], new_request_id())
        turn.deadline, turn.request_id = call.deadline, call.request_id
        # Whoever left before could not end this deadline.
        if turn.is_for_nobody():
            return False
        try:
            with requesting(members, call):
                answer = members[0].ask(call)
        except Exception as error:  # noqa: BLE001 - raised by those who wait
            self._failed(members, call, error)
            return False
        _hand_out(members, answer)
        self._sizes.answered_together(size_of(call.feeds))
        return True

    def _failed(self, members: Sequence[Member], call: Call, error: BaseException) -> None:
        """Give each its own copy of an error; where it may be about some rows, let each ask alone.

        That takes one token of the budget of retries.
        """
        if not is_about_rows(error) or not self._state.budget.take():
            for member in members:
                member.ticket.set_error(error_of(error, member.call))
            return
        attempts = getattr(error, "attempts", 1)
        for member in members:
            member.ticket.set_result(attempts)
        self._lanes.count("sorted_out")
        if isinstance(error, EndpointRefused):
            # Only what it learns counts: nothing is sent again here.
            with suppress(EndpointRefused):
                self._sizes.fewer_rows(call, error, call.rows or 1, call.rows or 1)


def _hand_out(members: Sequence[Member], answer: Answer) -> None:
    """Give each its part; the first is woken here, and each wakes the next.

    All at once, they would fight for the interpreter's lock, and with the sender of the next
    request.
    """
    start, follower = sum(member.call.rows or 0 for member in members), None
    for member in reversed(members):
        start -= member.call.rows or 0
        member.follower = follower
        if member.ticket.set_result(Part(answer, start), wakes=False):
            follower = member
    if follower is not None:
        follower.ticket.wake()


def _send_alone(member: Member) -> bool:
    """Send the request of a single member, as the member itself would; see `Sharing.send`."""
    run = contextvars.Context().run if member.context is None else member.context.run
    try:
        answer = run(member.ask, member.call)
    except Exception as error:  # noqa: BLE001 - raised by the one who waits
        member.ticket.set_error(error)
        return False
    member.ticket.set_result(answer)
    return True
