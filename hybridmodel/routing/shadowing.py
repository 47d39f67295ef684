"""Shadow mode: one side answers, the other is asked in the background, and both are compared."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from hybridmodel.compare.comparison import Comparison
from hybridmodel.data.binding import Bound
from hybridmodel.process.background import Background
from hybridmodel.process.per_process import reset_in_child
from hybridmodel.remote.redaction import escaped
from hybridmodel.routing.policies import Shadow
from hybridmodel.routing.routed import Ask, Routed, Sides
from hybridmodel.switch import AZURE, LOCAL

Array = np.ndarray[Any, Any]

MAX_PENDING_BYTES = 1 << 26
"""Data that waits to be compared, at the most; more calls are not compared."""

_NAMES = {LOCAL: "the local model", AZURE: "the endpoint"}

_log = logging.getLogger("hybridmodel")


class _Call(NamedTuple):
    """A call that was answered, with data of its own."""

    bound: Bound
    outputs: dict[str, Array]
    by: str
    elapsed_s: float


class ShadowRunner:
    """Carries out shadow mode for one model; one thread of the process compares.

    Parameters
    ----------
    sides : Sides
        The model's two routes.
    random : callable, optional
        Returns a number from 0 to 1, for the choice of calls to compare.

    Attributes
    ----------
    comparison : Comparison
        Of both sides, whichever answered: a change of policy does not change the sides.
    """

    def __init__(self, sides: Sides, random: Callable[[], float] | None = None) -> None:
        self._sides = sides
        self._random = random
        self.reset()
        reset_in_child(self)

    def reset(self) -> None:
        """Forget what was compared and what waits, as a forked child does."""
        self.comparison = Comparison(self._sides.spec)
        self._background = Background("hybridmodel-shadow")
        # Made anew in a forked child, which would choose the same calls as its parent otherwise.
        self._draw = self._random or np.random.default_rng().random
        self._known_errors: set[str] = set()

    def answer(self, policy: Shadow, ask: Ask) -> Routed:
        """Answer one call as the route that the policy names does, and compare it later.

        Raises
        ------
        InputMismatch, EndpointError, SpecMismatch
            As that route raises them. What becomes of the comparison is never an error.
        """
        started = time.perf_counter()
        bound = ask.bound
        if policy.answer == AZURE:
            routed = self._sides.azure(bound.feeds, ask.names, bound.rows, ask.timeout_s)
        else:
            routed = self._sides.local(bound.feeds, ask.names, bound.rows)
        elapsed_s = time.perf_counter() - started
        try:
            self._offer(policy, _Call(bound, routed.outputs, policy.answer, elapsed_s))
        except Exception as error:  # noqa: BLE001 - the answer is there, and is what was asked for
            self._note(error, "a call cannot be compared")
        return routed

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until all accepted calls are compared, and tell whether that is so.

        Parameters
        ----------
        timeout_s : float, optional
            At most so many seconds.
        """
        return self._background.wait(timeout_s)

    def stats(self) -> dict[str, float]:
        """Return what was found, by name; nothing before the first call."""
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
            can_be_left=call.by == LOCAL,
        )
        if not accepted:
            comparison.add_shed()

    def _compare(self, call: _Call, comparison: Comparison) -> None:
        """Ask the other side, and compare; runs in the background."""
        started = time.perf_counter()
        try:
            other = self._other(call)
            seconds = {call.by: call.elapsed_s, other.route: time.perf_counter() - started}
            answers = {call.by: call.outputs, other.route: other.outputs}
            comparison.add(
                answers[LOCAL],
                answers[AZURE],
                rows=call.bound.rows,
                index=call.bound.frame_index,
                local_s=seconds[LOCAL],
                azure_s=seconds[AZURE],
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, only the comparison fails
            comparison.add_failure(type(error).__name__)
            other_side = _NAMES[LOCAL if call.by == AZURE else AZURE]
            self._note(error, f"{other_side} cannot be compared with")

    def _other(self, call: _Call) -> Routed:
        """Ask the side that has not answered; not counted among the answers of the model."""
        feeds, names, rows = call.bound.feeds, tuple(call.outputs), call.bound.rows
        if call.by == AZURE:
            return self._sides.local(feeds, names, rows, count=False)
        return self._sides.azure(feeds, names, rows, None, retry=False, count=False)

    def _note(self, error: Exception, what: str) -> None:
        """Warn of the first error of a kind; the others are details, and counted."""
        kind = type(error).__name__
        level = logging.DEBUG if kind in self._known_errors else logging.WARNING
        self._known_errors.add(kind)
        _log.log(level, "shadow mode: %s (%s): %s", what, kind, escaped(str(error))[:2000])


def _own(call: _Call) -> _Call:
    """Copy the data, which belongs to the caller."""
    bound = call.bound._replace(feeds=_copies(call.bound.feeds))
    return call._replace(bound=bound, outputs=_copies(call.outputs))


def _copies(arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {name: array.copy() for name, array in arrays.items()}


def _size_bytes(call: _Call) -> int:
    index = call.bound.frame_index
    arrays = [*call.bound.feeds.values(), *call.outputs.values()]
    texts = sum(sum(map(len, array.flat)) for array in arrays if array.dtype == object)
    return texts + sum(array.nbytes for array in arrays) + (0 if index is None else index.nbytes)
