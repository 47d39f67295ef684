"""One job for each submission: a request whose answer was lost is never repeated blindly.

An endpoint may make a job and then fail to say so. The job has the client's own name, so after
such a failure it is looked for, several times, because an endpoint may show it late. Only when
it is not there is it asked for again, under the same name.
"""

from __future__ import annotations

import logging
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace

from hybridmodel.exceptions import EndpointError, SubmissionUnknown
from hybridmodel.remote.attempts import RetryPolicy
from hybridmodel.remote.batch_endpoint.asking import Jobs
from hybridmodel.remote.batch_endpoint.bodies import Order, Told, read_job
from hybridmodel.remote.batch_endpoint.outcomes import Outcome, hinted, outcome_of
from hybridmodel.remote.exchange import Call, Exchanger, new_request_id
from hybridmodel.remote.resilience import Deadline

_REPEATED = "repeatability-request-id"
"""Header with the same value in each request of a submission; Azure's SDK spells it otherwise."""
_AS_THE_SDK = "repeatability_request-id"

_LOOKS_S = (0.0, 0.5, 1.0, 2.0, 4.0)
"""Pauses before each look for a job: a server shows it late, or is still making it."""

_log = logging.getLogger("hybridmodel")


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitter:
    """Sends submissions of one client. `sleep` and `random` are replaced by tests."""

    exchanger: Exchanger
    jobs: Jobs
    sleep: Callable[[float], None]
    random: Callable[[], float] = random.random

    def submit(self, order: Order, deadline: Deadline) -> Told:
        """Have the endpoint make one job, and return what it says of it.

        Raises
        ------
        SubmissionUnknown
            If nobody can tell whether there is a job.
        EndpointError
            If there is none.
        """
        policy = RetryPolicy(self.exchanger.endpoint.max_attempts, random=self.random)
        call = self.exchanger.begin(None, new_request_id(), deadline)
        repeated = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self.jobs.url}/{order.name}"))
        attempt, may_be_there = 0, False
        while True:
            attempt += 1
            try:
                return self._post(order, call, repeated)
            except EndpointError as error:
                error.attempts = attempt
                outcome = outcome_of(error)
                # The job of an earlier attempt may show after all looks for it.
                may_be_there = may_be_there or outcome is Outcome.UNKNOWN
                if may_be_there and (found := self._found(order, error, deadline)):
                    return found
                call = self._next_call(call, error, outcome)
                self._pause(policy, error, attempt, deadline)

    def _post(self, order: Order, call: Call, repeated: str) -> Told:
        call = replace(call, deadline=self.jobs.share_of(call.deadline))
        reply = self.exchanger.exchange(
            call,
            self.jobs.url,
            order.message(),
            creates=True,
            more_headers={_REPEATED: repeated, _AS_THE_SDK: repeated},
        )
        return self.jobs.note(self.jobs.read(call, reply, read_job), order.name, call)

    def _found(self, order: Order, error: EndpointError, deadline: Deadline) -> Told | None:
        """Look for the job of a request whose answer was lost; None if it is not there.

        Raises `SubmissionUnknown` where the endpoint does not say.
        """
        _log.info("job %s: %s; it is looked for before anything else", order.name, error)
        said: EndpointError | None = None
        for pause_s in _LOOKS_S:
            try:
                if pause_s:
                    self._sleep_within(pause_s, deadline)
                told = self.jobs.submitted_as(order.name, deadline, certainly=True)
                said = None
            except EndpointError as unanswered:
                said = unanswered
                continue
            if told is not None:
                return told
        if said is not None:
            raise self._unknown(order, error, said) from None
        error.hint = "; ".join(filter(None, (error.hint, f"no job {order.name} is there")))
        return None

    def _sleep_within(self, pause_s: float, deadline: Deadline) -> None:
        left = deadline.check("the endpoint was asked for the job")
        self.sleep(min(pause_s, left / 2))

    def _next_call(self, call: Call, error: EndpointError, outcome: Outcome) -> Call:
        """Return what the next attempt is made with; raise the error if there is to be none."""
        if outcome is Outcome.NEW_KEY and not call.renewed:
            key = self.exchanger.keys.other_than(call.key, call.deadline)
            if key is not None:
                return replace(call, key=key, earlier_key=call.key, renewed=True)
        if outcome in (Outcome.REFUSED, Outcome.NEW_KEY):
            raise hinted(error)
        return call

    def _pause(
        self, policy: RetryPolicy, error: EndpointError, attempt: int, deadline: Deadline
    ) -> None:
        """Wait before another attempt; raise the error where there is no time or attempt left."""
        if error.status == 401:
            return
        pause_s = policy.drawn_s(error, attempt)
        if attempt >= policy.max_attempts or pause_s >= deadline.remaining_s():
            raise hinted(error)
        _log.info("%s; it is submitted again in %.3f s", error, pause_s)
        self.sleep(pause_s)

    def _unknown(
        self, order: Order, error: EndpointError, said: EndpointError
    ) -> SubmissionUnknown:
        raised = SubmissionUnknown(
            f"whether the job {order.name} was made is not known: {error.message}; and it could "
            f"not be looked for: {said.message}. Submit it again under this name: then it is "
            "looked for first",
            endpoint=error.endpoint,
            status=error.status,
            attempts=error.attempts,
            request_id=error.request_id,
        )
        raised.job = order.name
        return raised
