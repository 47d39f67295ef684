"""A job waits longer than a single call when an endpoint is overloaded or briefly unavailable."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from hybridmodel.exceptions import CircuitOpen, EndpointTimeout, EndpointUnavailable, RateLimited

T = TypeVar("T")

_FIRST_S, _LONGEST_S = 0.25, 10.0
"""Pauses, which double in between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Repeats a request with growing pauses, for `busy_s` after a 429 and `away_s` otherwise.

    Safe to share between threads. After a 429 the client lowers the number of its requests. A
    request that timed out is not repeated, since the server may still be working on it. What a
    circuit breaker held back was not sent, so it is tried again at once and not counted.
    """

    busy_s: float = 600.0
    away_s: float = 30.0
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    draw: Callable[[], float] = random.random

    def __call__(self, ask: Callable[[], T]) -> tuple[T, int]:
        """Return the answer, and the number of failed tries before it that were sent.

        Raises `EndpointUnavailable` if there is no answer in that time.
        """
        started, tries, pause_s = self.clock(), 0, _FIRST_S
        while True:
            try:
                return ask(), tries
            except EndpointTimeout:
                raise
            except EndpointUnavailable as error:
                is_held = isinstance(error, CircuitOpen)
                told_s = 0.0 if is_held else error.retry_after_s or 0.0
                # Half of each pause is random, so that threads do not retry at the same time.
                wait_s = max(told_s, pause_s * (1 + self.draw()) / 2)
                longest_s = self.busy_s if isinstance(error, RateLimited) else self.away_s
                if self.clock() + wait_s - started > longest_s:
                    raise
            self.sleep(wait_s)
            tries, pause_s = tries + (not is_held), min(2 * pause_s, _LONGEST_S)
