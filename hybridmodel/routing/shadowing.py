"""Shadow mode: one route answers, the other is asked in the background, and both are compared."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from hybridmodel.compare.comparison import Comparison
from hybridmodel.data.answer import Answer
from hybridmodel.process.background import Background
from hybridmodel.process.per_process import reset_in_child
from hybridmodel.remote.redaction import escaped
from hybridmodel.routing.policies import Shadow
from hybridmodel.routing.routes import Request, Routes
from hybridmodel.switch import AZURE, LOCAL

Array = np.ndarray[Any, Any]

MAX_PENDING_BYTES = 1 << 26
"""Most data that may wait for comparison; a call that would exceed it is not compared."""

_NAMES = {LOCAL: "the local model", AZURE: "the endpoint"}

_log = logging.getLogger("hybridmodel")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """A call that was answered."""

    request: Request
    answer: Answer
    elapsed_s: float


class ShadowRunner:
    """Carries out shadow mode for one model; one thread of the process compares.

    Parameters
    ----------
    routes : Routes
        The model's two routes.
    random : callable, optional
        Returns a number from 0 to 1, for the choice of calls to compare.

    Attributes
    ----------
    comparison : Comparison
        Of both routes, whichever of them answered.
    """

    def __init__(self, routes: Routes, random: Callable[[], float] | None = None) -> None:
        self._routes = routes
        self._random = random
        self.reset()
        reset_in_child(self)

    def reset(self) -> None:
        """Forget what was compared and what waits, as a forked child does."""
        self.comparison = Comparison(self._routes.spec)
        self._background = Background("hybridmodel-shadow")
        # A forked child needs a new generator: it would choose the same calls as its parent.
        self._draw = self._random or np.random.default_rng().random
        self._known_errors: set[str] = set()

    def answer(self, policy: Shadow, request: Request) -> Answer:
        """Answer a request by the route that the policy names, and compare the routes later.

        Raises
        ------
        InputMismatch, EndpointError, SpecMismatch
            As that route raises them. A comparison that fails is never an error.
        """
        started = time.perf_counter()
        is_remote = policy.answer == AZURE
        answer = self._routes.remote(request) if is_remote else self._routes.local(request)
        elapsed_s = time.perf_counter() - started
        try:
            self._offer(policy, _Call(request=request, answer=answer, elapsed_s=elapsed_s))
        except Exception as error:  # noqa: BLE001 - the caller gets the answer all the same
            self._note(error, "a call cannot be compared")
        return answer

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until all accepted calls are compared, and return whether they are."""
        return self._background.wait(timeout_s)

    def stats(self) -> dict[str, float]:
        """Return the numbers of the comparison by name; none before the first call."""
        found = {f"shadow.{name}": count for name, count in self.comparison.counts().items()}
        pending = self._background.pending
        return {**found, "shadow.pending": pending} if found or pending else {}

    def _offer(self, policy: Shadow, call: _Call) -> None:
        if self._draw() >= policy.share:
            return
        comparison = self.comparison
        accepted = self._background.offer(
            lambda: partial(self._compare, _own(call), comparison),
            _size_bytes(call),
            most=policy.max_pending,
            most_bytes=MAX_PENDING_BYTES,
            can_be_left=call.answer.route == LOCAL,
        )
        if not accepted:
            comparison.add_shed()

    def _compare(self, call: _Call, comparison: Comparison) -> None:
        """Ask the other route, and compare; runs in the background."""
        first = call.answer.route
        other = LOCAL if first == AZURE else AZURE
        started = time.perf_counter()
        try:
            answers = {first: call.answer.outputs, other: self._ask(other, call.request)}
            seconds = {first: call.elapsed_s, other: time.perf_counter() - started}
            comparison.add(
                answers[LOCAL],
                answers[AZURE],
                rows=call.request.bound.rows,
                index=call.request.bound.frame_index,
                local_s=seconds[LOCAL],
                azure_s=seconds[AZURE],
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, only the comparison fails
            comparison.add_failure(type(error).__name__)
            self._note(error, f"{_NAMES[other]} cannot be compared with")

    def _ask(self, route: str, request: Request) -> dict[str, Array]:
        """Ask a route for what no caller gets, so that it is not counted."""
        if route == LOCAL:
            return self._routes.run_local(request, count=False)
        return self._routes.remote(request, retry=False, count=False).outputs

    def _note(self, error: Exception, what: str) -> None:
        """Warn of the first error of a kind; the others are details, and counted."""
        kind = type(error).__name__
        level = logging.DEBUG if kind in self._known_errors else logging.WARNING
        self._known_errors.add(kind)
        _log.log(level, "shadow mode: %s (%s): %s", what, kind, escaped(str(error))[:2000])


def _own(call: _Call) -> _Call:
    """Copy the data, which the caller may change; the background has the endpoint's own timeout."""
    bound = call.request.bound._replace(feeds=_copies(call.request.bound.feeds))
    request = call.request._replace(bound=bound, timeout_s=None)
    answer = replace(call.answer, outputs=_copies(call.answer.outputs))
    return replace(call, request=request, answer=answer)


def _copies(arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {name: array.copy() for name, array in arrays.items()}


def _size_bytes(call: _Call) -> int:
    bound = call.request.bound
    index = bound.frame_index
    arrays = [*bound.feeds.values(), *call.answer.outputs.values()]
    texts = sum(sum(map(len, array.flat)) for array in arrays if array.dtype == object)
    return texts + sum(array.nbytes for array in arrays) + (0 if index is None else index.nbytes)
