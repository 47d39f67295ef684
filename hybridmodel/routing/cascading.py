"""The cascade at work: which rows go on, and what became of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from hybridmodel.cascade.scores import escalated
from hybridmodel.exceptions import EndpointUnavailable
from hybridmodel.remote.resilience import Deadline
from hybridmodel.routing.audit import Audit
from hybridmodel.routing.policies import Cascade
from hybridmodel.routing.routed import MIXED, Ask, Reasons, Routed, Sides, check_rows, merge, pick
from hybridmodel.switch import AZURE, LOCAL

Array = np.ndarray[Any, Any]

SURE, UNSURE, OVER = "sure", "unsure", "over the limit"
"""Why a row was kept, escalated, or kept in spite of its score."""


class _Look(NamedTuple):
    """What the local model says of a call: its answers, and the rows that are to go on.

    `audited` are rows that stay and are sent nevertheless, None where the policy wants none.
    """

    outputs: dict[str, Array]
    scores: Array
    doubtful: Array
    gone: Array
    escalated: int
    audited: Array | None

    @property
    def settled(self) -> bool:
        """Whether all rows stay because they are sure, and none is sent."""
        return not self.escalated and self.audited is None and self.gone is self.doubtful

    @property
    def sent(self) -> Array:
        """Positions of the rows that are sent, in order."""
        return np.flatnonzero(self.gone if self.audited is None else self.gone | self.audited)

    def taken(self, sent: Array, there: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
        """Return the positions of the rows whose answer is the endpoint's, and these answers."""
        if self.audited is None:
            return sent, there
        return np.flatnonzero(self.gone), pick(there, self.gone[sent])

    def reasons(self, unsure: str = UNSURE) -> Reasons:
        """Return why each row was answered by whom it was."""
        codes = 2 * self.doubtful.view(np.uint8) - self.gone.view(np.uint8)
        return Reasons(codes, (SURE, unsure, OVER))


class CascadeRunner:
    """Carries out cascades of one model.

    Parameters
    ----------
    sides : Sides
        The model's two routes.
    random : callable, optional
        Returns so many numbers from 0 to 1, for the choice of rows to audit.
    """

    def __init__(self, sides: Sides, random: Callable[[int], Array] | None = None) -> None:
        self._sides = sides
        self._draw = random or np.random.default_rng().random
        self._lock = threading.Lock()
        self._left_over = 0.0
        self.audit = Audit()

    def answer(self, policy: Cascade, ask: Ask) -> Routed:
        """Answer one call.

        Raises
        ------
        EndpointUnavailable
            If rows have to be escalated, cannot be, and the policy says so.
        InputMismatch, ConfigurationError, EndpointError, SpecMismatch
            As the two routes and the score raise them; a SpecMismatch also where only one side's
            probabilities are some.
        """
        deadline = Deadline(self._sides.time_of(ask))
        look = self._look(policy, ask)
        outputs = {name: look.outputs[name] for name in ask.names}
        if look.settled:
            return Routed(outputs, LOCAL, scores=look.scores, reasons=SURE)
        kept = Routed(outputs, LOCAL, scores=look.scores, reasons=look.reasons())
        sent = look.sent
        if not len(sent):
            self._note(look, {}, sent)
            return kept
        try:
            there = self._send(policy, ask, look, sent, deadline)
        except EndpointUnavailable as error:
            if look.escalated and policy.on_unavailable == "raise":
                raise
            self._sides.counters.add("cascade.kept_unavailable", look.escalated)
            return kept._replace(reasons=look.reasons(type(error).__name__))
        self._note(look, there.outputs, sent)
        if not look.escalated:
            return kept._replace(there=there.there)
        merge(outputs, *look.taken(sent, there.outputs))
        route = AZURE if look.escalated == len(look.gone) else MIXED
        return kept._replace(route=route, there=there.there, from_azure=look.gone)

    def _look(self, policy: Cascade, ask: Ask) -> _Look:
        spec, rows = self._sides.spec, ask.bound.rows or 0
        check_rows(spec, ask.names)
        compared = self.audit.judge(policy, spec).needs if policy.audit_rate else ()
        names = tuple(dict.fromkeys((*ask.names, *policy.score.needs(spec), *compared)))
        outputs = self._sides.local(ask.bound.feeds, names, rows).outputs
        scores = policy.score.of(outputs, rows)
        doubtful = escalated(scores, policy.limit)
        gone = self._limited(policy, scores, doubtful)
        audited = (self._draw(rows) < policy.audit_rate) & ~gone if compared else None
        count = int(np.count_nonzero(gone))
        self._sides.counters.add("cascade.rows", rows)
        self._sides.counters.add("cascade.escalated", count)
        if gone is not doubtful:
            self._sides.counters.add("cascade.over_limit", int(doubtful.sum()) - count)
        return _Look(outputs, scores, doubtful, gone, count, audited)

    def _send(
        self, policy: Cascade, ask: Ask, look: _Look, sent: Array, deadline: Deadline
    ) -> Routed:
        """Ask the endpoint for the rows that go on, and for those that are audited."""
        feeds = ask.bound.feeds
        if len(sent) < len(look.gone):
            feeds = pick(feeds, sent)
        names = ask.names if look.audited is None else tuple(look.outputs)
        left_s = deadline.check("running the local model")
        retry = policy.on_unavailable == "raise"
        there = self._sides.azure(feeds, names, len(sent), left_s, retry=retry)
        policy.score.check_endpoint(there.outputs)
        return there

    def _note(self, look: _Look, there: dict[str, Array], sent: Array) -> None:
        """Let the audit take in the call, with both answers to the audited rows."""
        if look.audited is None:
            return
        rows, kept = len(look.gone), len(look.gone) - look.escalated
        if there and look.audited.any():
            big = pick(there, look.audited[sent])
            self.audit.note(rows, kept, pick(look.outputs, look.audited), big)
        else:
            self.audit.note(rows, kept, {}, {})

    def _limited(self, policy: Cascade, scores: Array, doubtful: Array) -> Array:
        """Return which of the doubtful rows may go on, the most doubtful first."""
        if policy.max_escalation is None:
            return doubtful
        with self._lock:
            allowed = policy.max_escalation * len(scores) + self._left_over
            self._left_over = allowed % 1.0
        candidates = np.flatnonzero(doubtful)
        if len(candidates) <= int(allowed):
            return doubtful
        doubt = np.where(np.isnan(scores), -np.inf, scores)[candidates]
        gone = np.zeros(len(scores), bool)
        gone[candidates[np.argsort(doubt, kind="stable")[: int(allowed)]]] = True
        return gone
