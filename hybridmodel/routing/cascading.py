"""Cascades and budgets: the endpoint answers some rows, and both routes make one answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from hybridmodel.cascade.judges import Outputs
from hybridmodel.data.answer import MIXED, Answer, Reasons
from hybridmodel.data.tensors import Array
from hybridmodel.exceptions import EndpointUnavailable
from hybridmodel.remote.resilience import Deadline
from hybridmodel.routing.audit import Audit
from hybridmodel.routing.audited import AuditedCall
from hybridmodel.routing.budget import Budget
from hybridmodel.routing.choosing import (
    LEAST_SURE,
    OVER,
    SURE,
    SURER,
    UNSURE,
    RowChooser,
)
from hybridmodel.routing.policies import Cascade
from hybridmodel.routing.routes import Request, Routes, merge, pick
from hybridmodel.switch import AZURE, LOCAL


class _LocalPass(NamedTuple):
    """The local model's outputs for all rows, and what follows from their scores.

    `doubtful`, `gone` and `audited` are those of `Chosen`, `escalated` is the number of rows that
    go, and `request_rows` how many rows a request has where that was counted on. `texts` are the
    reasons to keep and to escalate a row, and `compared` the outputs by which an audit judges. A
    tuple, because one is made for each call: 0.2 µs, and 0.6 µs for a frozen dataclass.
    """

    outputs: dict[str, Array]
    scores: Array
    doubtful: Array
    gone: Array
    escalated: int
    audited: Array | None
    request_rows: int | None
    texts: tuple[str, str]
    compared: tuple[str, ...]

    @property
    def all_sure(self) -> bool:
        """Whether no row is doubtful and none is audited."""
        return not self.escalated and self.audited is None and self.gone is self.doubtful

    def sent(self) -> Array:
        """Return the positions of the rows that are sent, in order."""
        return np.flatnonzero(self.gone if self.audited is None else self.gone | self.audited)

    def asked(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Return the outputs that the endpoint is asked for, which may lack that of the score."""
        return names if self.audited is None else tuple(dict.fromkeys((*names, *self.compared)))

    def answer(self, names: tuple[str, ...], reason: str | Reasons) -> Answer:
        """Return the answer in which all rows are kept."""
        outputs = {name: self.outputs[name] for name in names}
        return Answer(outputs, LOCAL, scores=self.scores, row_count=len(self.scores), reason=reason)

    def reasons(self, unsure: str | None = None) -> Reasons:
        """Return the reason of each row."""
        codes = 2 * self.doubtful.view(np.uint8) - self.gone.view(np.uint8)
        sure, usual = self.texts
        return Reasons(codes=codes, texts=(sure, unsure or usual, OVER))

    def merged(self, remote: Answer, sent: Array, names: tuple[str, ...]) -> Answer:
        """Return the answer with the endpoint's outputs in the escalated rows."""
        outputs = {name: self.outputs[name] for name in names}
        if self.escalated:
            rows, part = sent, remote.outputs
            if self.audited is not None:
                rows, part = np.flatnonzero(self.gone), pick(part, self.gone[sent])
            merge(outputs, rows, part)
        return replace(
            remote,
            outputs=outputs,
            route={0: LOCAL, len(self.gone): AZURE}.get(self.escalated, MIXED),
            scores=self.scores,
            row_count=len(self.scores),
            remote_rows=self.gone if self.escalated else None,
            reason=self.reasons(),
        )


class CascadeRunner:
    """Carries out cascades and budgets of one model.

    Parameters
    ----------
    routes : Routes
        The model's two routes.
    random : callable, optional
        Returns so many numbers from 0 to 1, for the choice of rows to audit.
    """

    def __init__(self, routes: Routes, random: Callable[[int], Array] | None = None) -> None:
        self._routes = routes
        self._chooser = RowChooser(random or np.random.default_rng().random)
        self.audit = Audit()

    def answer(self, policy: Cascade | Budget, request: Request) -> Answer:
        """Answer a request.

        Raises
        ------
        EndpointUnavailable
            If rows have to be escalated, cannot be, and the policy says so.
        InputMismatch, ConfigurationError, EndpointError, SpecMismatch
            As the two routes and the score raise them; a SpecMismatch also where only one route
            gives probabilities.
        """
        deadline = Deadline(self._routes.timeout_of(request))
        first = self._run_local(policy, request)
        if first.all_sure:
            return first.answer(request.names, first.texts[0])
        sent = first.sent()
        if not len(sent):
            self._note(policy, first, {}, None)
            return first.answer(request.names, first.reasons())
        try:
            remote = self._send(policy, request, first, sent, deadline)
        except EndpointUnavailable as error:
            if first.escalated and policy.on_unavailable == "raise":
                raise
            self._routes.counters.add("cascade.kept_unavailable", first.escalated)
            self._note(policy, first, None, None)
            return first.answer(request.names, first.reasons(type(error).__name__))
        self._note(policy, first, remote.outputs, remote.request_id)
        return first.merged(remote, sent, request.names)

    def _run_local(self, policy: Cascade | Budget, request: Request) -> _LocalPass:
        spec, rows, counters = self._routes.spec, request.bound.rows or 0, self._routes.counters
        compared = self.audit.judge(policy, spec).needs if policy.audit_rate else ()
        needed = {*policy.score.needs(spec), *compared}
        self._routes.check_rows(request.names)
        names = (*request.names, *sorted(needed.difference(request.names)))
        outputs = self._routes.run_local(Request(request.bound, names, None))
        scores = policy.score.of(outputs, rows)
        request_rows, texts = None, (SURE, UNSURE)
        if isinstance(policy, Cascade):
            chosen = self._chooser.of_cascade(policy, scores, bool(compared))
        else:
            request_rows, texts = self._request_rows(policy, request), (SURER, LEAST_SURE)
            chosen = self._chooser.of_budget(policy, scores, bool(compared), request_rows)
        doubtful, gone, audited = chosen
        count = int(np.count_nonzero(gone))
        counters.add("cascade.rows", rows)
        counters.add("cascade.escalated", count)
        if gone is not doubtful:
            counters.add("cascade.over_limit", int(doubtful.sum()) - count)
        return _LocalPass(
            outputs, scores, doubtful, gone, count, audited, request_rows, texts, compared
        )

    def _request_rows(self, policy: Budget, request: Request) -> int | None:
        """Return how many rows each request has to have, where the budget counts requests."""
        if not policy.counts_requests:
            return None
        bound, timeout_s = request.bound, self._routes.timeout_of(request)
        return self._routes.client.request_rows(bound.feeds, bound.rows or 1, timeout_s)

    def _send(
        self,
        policy: Cascade | Budget,
        request: Request,
        first: _LocalPass,
        sent: Array,
        deadline: Deadline,
    ) -> Answer:
        """Ask the endpoint for the rows that are escalated or audited."""
        if len(sent) < len(first.gone):
            request = request.of_rows(sent)
        names, left_s = first.asked(request.names), deadline.check("running the local model")
        request = request._replace(names=names, timeout_s=left_s)
        retry = policy.on_unavailable == "raise"
        remote = self._routes.remote(request, retry=retry, request_rows=first.request_rows)
        policy.score.check_endpoint(remote.outputs)
        return remote

    def _note(
        self, policy: Cascade | Budget, first: _LocalPass, outputs: Outputs | None, name: str | None
    ) -> None:
        """Pass a call to the audit; `outputs` are the endpoint's, None where it is unavailable."""
        if first.audited is not None:
            rate, local = policy.audit_rate, first.outputs
            call = AuditedCall(rate, first.gone, first.audited, local, outputs, name)
            self.audit.note(call)
