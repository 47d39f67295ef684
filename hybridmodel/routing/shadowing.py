"""Shadow mode: one route answers, the other runs in the background, and both are compared."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from hybridmodel.compare.comparison import Comparison
from hybridmodel.data.answer import Answer, set_elapsed
from hybridmodel.data.tensors import Array
from hybridmodel.process.background import Background
from hybridmodel.process.per_process import reset_in_child
from hybridmodel.remote.redaction import escaped
from hybridmodel.routing.policies import Shadow
from hybridmodel.routing.routes import Request, Routes
from hybridmodel.switch import AZURE, LOCAL

MAX_PENDING_BYTES = 1 << 26
"""Limit of the data that wait for comparison; a call beyond it is not compared."""

_NAMES = {LOCAL: "the local model", AZURE: "the endpoint"}

_log = logging.getLogger("hybridmodel")


class ShadowRunner:
    """Carries out shadow mode for one model; one background thread of the process compares.

    `random` returns a number from 0 to 1, for the choice of calls to compare.
    """

    def __init__(self, routes: Routes, random: Callable[[], float] | None = None) -> None:
        self._routes = routes
        self._random = random
        self.reset()
        reset_in_child(self)

    def reset(self) -> None:
        """Forget all comparisons and waiting calls, in a forked child."""
        self.comparison = Comparison(self._routes.spec, vectors=self._routes.vectors)
        self._background = Background("hybridmodel-shadow")
        # A forked child needs a new generator: it would choose the same calls as its parent.
        self._draw = self._random or np.random.default_rng().random
        self._known_errors: set[str] = set()

    def answer(self, policy: Shadow, request: Request) -> Answer:
        """Answer a request by the route that the policy names, and compare the routes later.

        Raises what that route raises, but never because a comparison fails.
        """
        started = time.perf_counter()
        is_remote = policy.answer == AZURE
        answer = self._routes.remote(request) if is_remote else self._routes.local(request)
        set_elapsed(answer, time.perf_counter() - started)
        try:
            self._offer(policy, request, answer)
        except Exception as error:  # noqa: BLE001 - the caller gets the answer all the same
            self._note(error, "a call cannot be compared")
        return answer

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until all accepted calls are compared, and return whether they are."""
        return self._background.wait(timeout_s)

    def stats(self) -> dict[str, float]:
        """Return the numbers of the comparison by name, none before the first call."""
        found = {f"shadow.{name}": count for name, count in self.comparison.counts().items()}
        pending = self._background.pending
        return {**found, "shadow.pending": pending} if found or pending else {}

    def _offer(self, policy: Shadow, request: Request, answer: Answer) -> None:
        if self._draw() >= policy.share:
            return
        comparison = self.comparison
        accepted = self._background.offer(
            lambda: partial(self._compare, *_copied(request, answer), comparison),
            _size_bytes(request, answer),
            most=policy.max_pending,
            most_bytes=MAX_PENDING_BYTES,
            can_be_left=answer.route == LOCAL,
        )
        if not accepted:
            comparison.add_shed()

    def _compare(self, request: Request, answer: Answer, comparison: Comparison) -> None:
        """Ask the other route, and compare; runs in the background."""
        other = LOCAL if answer.route == AZURE else AZURE
        started = time.perf_counter()
        try:
            found, version = self._ask(other, request)
            answers = {answer.route: answer.outputs, other: found}
            seconds = {answer.route: answer.elapsed_s, other: time.perf_counter() - started}
            comparison.add(
                answers[LOCAL],
                answers[AZURE],
                rows=request.bound.rows,
                index=request.bound.frame_index,
                local_s=seconds[LOCAL],
                azure_s=seconds[AZURE],
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, only the comparison fails
            comparison.add_failure(type(error).__name__)
            self._note(error, f"comparing with {_NAMES[other]} failed")
            return
        if comparison.on_answer is None:
            return
        try:
            version = answer.model_version if other == LOCAL else version
            comparison.on_answer(request.bound.feeds, answers[AZURE], version)
        except Exception as error:  # noqa: BLE001 - the comparison is done all the same
            self._note(error, "an answer of the endpoint cannot be kept")

    def _ask(self, route: str, request: Request) -> tuple[dict[str, Array], str | None]:
        """Ask a route for outputs that no caller gets, uncounted; with the endpoint's version."""
        if route == LOCAL:
            return self._routes.run_local(request, count=False), None
        remote = self._routes.remote(request, retry=False, count=False)
        return remote.outputs, remote.model_version

    def _note(self, error: Exception, what: str) -> None:
        """Warn of the first error of a type; log the others at debug level."""
        kind = type(error).__name__
        level = logging.DEBUG if kind in self._known_errors else logging.WARNING
        self._known_errors.add(kind)
        _log.log(level, "shadow mode: %s (%s): %s", what, kind, escaped(str(error))[:2000])


def _copied(request: Request, answer: Answer) -> tuple[Request, Answer]:
    """Copy the data, which the caller may change; the background uses the endpoint's timeout."""
    bound = request.bound._replace(feeds=_copies(request.bound.feeds))
    copied = request._replace(bound=bound, timeout_s=None)
    return copied, replace(answer, outputs=_copies(answer.outputs))


def _copies(arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {name: array.copy() for name, array in arrays.items()}


def _size_bytes(request: Request, answer: Answer) -> int:
    index = request.bound.frame_index
    arrays = [*request.bound.feeds.values(), *answer.outputs.values()]
    texts = sum(sum(map(len, array.flat)) for array in arrays if array.dtype == object)
    return texts + sum(array.nbytes for array in arrays) + (0 if index is None else index.nbytes)
