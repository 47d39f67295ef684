"""A job waits where an endpoint is asked too much, or away for a moment; a call would give up."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from hybridmodel.exceptions import EndpointTimeout, EndpointUnavailable, RateLimited

T = TypeVar("T")

_FIRST_S, _LONGEST_S = 0.25, 10.0
"""Pauses, which double in between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Asks again, with longer and longer pauses. Safe to share between threads.

    After a 429 the client lowers the number of its requests, so that there are few of them. A
    request that ran out of time is not repeated: the work may still be going on.
    """

    busy_s: float = 600.0
    away_s: float = 30.0
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    draw: Callable[[], float] = random.random

    def __call__(self, ask: Callable[[], T]) -> tuple[T, int]:
        """Return the answer, and how often there was none before.

        Raises `EndpointUnavailable` if there is none for too long.
        """
        started, tries, pause_s = self.clock(), 0, _FIRST_S
        while True:
            try:
                return ask(), tries
            except EndpointTimeout:
                raise
            except EndpointUnavailable as error:
                # Half of a pause is drawn, so that threads do not come back together.
                wait_s = max(error.retry_after_s or 0.0, pause_s * (1 + self.draw()) / 2)
                longest_s = self.busy_s if isinstance(error, RateLimited) else self.away_s
                if self.clock() + wait_s - started > longest_s:
                    raise
            self.sleep(wait_s)
            tries, pause_s = tries + 1, min(2 * pause_s, _LONGEST_S)
