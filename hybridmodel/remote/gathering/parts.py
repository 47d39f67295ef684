"""One call made of several, and its answer or its error made into theirs. No I/O, no threads."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from hybridmodel.data.answer import Answer
from hybridmodel.exceptions import EndpointError, EndpointRefused, ProtocolError, SpecMismatch
from hybridmodel.remote.exchange import Call
from hybridmodel.remote.faults import fault_of

_OF_ALL = ("3xx", "404", "501")
"""Rows of the fault table that say nothing about the rows of a request."""


class Part(NamedTuple):
    """The rows of a shared answer that belong to one call, from `start` on."""

    answer: Answer
    start: int

    def answer_to(self, call: Call) -> Answer:
        """Return the call's own answer.

        Its arrays are copies: a row that somebody keeps must not keep the rows of all others.
        """
        shared, stop = self.answer, self.start + (call.rows or 0)
        return Answer(
            {name: array[self.start : stop].copy() for name, array in shared.outputs.items()},
            shared.route,
            shared.attempts,
            model_version=shared.model_version,
            request_id=call.request_id,
            endpoint=shared.endpoint,
            shared_request_id=shared.request_id,
            row_count=stop - self.start,
        )


def together(calls: Sequence[Call], request_id: str) -> Call:
    """Return one call with the rows of all, and as much time as the most patient has."""
    patient = max(calls, key=lambda call: call.deadline.remaining_s())
    feeds = {name: np.concatenate([call.feeds[name] for call in calls]) for name in patient.feeds}
    return replace(
        patient,
        deadline=patient.deadline.another(),
        request_id=request_id,
        feeds=feeds,
        rows=sum(call.rows or 0 for call in calls),
    )


def error_of(error: BaseException, call: Call) -> BaseException:
    """Return a call's own copy of the error of the request that it shared."""
    try:
        own = copy.copy(error)
    except Exception:  # noqa: BLE001 - an error of any library
        return error
    own.__cause__, own.__suppress_context__ = error.__cause__, error.__suppress_context__
    if isinstance(own, EndpointError):
        own.shared_request_id, own.request_id = own.request_id, call.request_id
    return own


def is_about_rows(error: BaseException) -> bool:
    """Tell whether some of the rows may be the reason, and others be answered without them."""
    if isinstance(error, EndpointRefused):
        return error.status is not None and fault_of(error).name not in _OF_ALL
    return isinstance(error, (SpecMismatch, ProtocolError))
