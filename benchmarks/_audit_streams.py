"""Streams of audited rows whose risk is known, and when an audit gives an alarm."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from hybridmodel.cascade.sequential import ChangeDetector, log_capital
from hybridmodel.cascade.watch import LOWER_ALPHA, Composition, Evidence, Watch

Array = np.ndarray[Any, Any]

QUIET_ROWS = 50_000
NEVER = math.inf

_LEVEL = -math.log(LOWER_ALPHA * 0.8)
"""What the level alarm of `Watch` asks for, where no row was left here by an outage."""


@dataclass(frozen=True)
class History:
    """What went before a change: so many audited rows, of so many times the bound."""

    name: str
    rows: int = 0
    times: float = 0.0


HISTORIES = (
    History("nothing", 0),
    History("20,000 rows at .8 of the bound", 20_000, 0.8),
    History("50,000 rows at .5", QUIET_ROWS, 0.5),
    History("50,000 rows at .1", QUIET_ROWS, 0.1),
)


def draw(random: np.random.Generator, rows: int, share: float) -> Array:
    """Return losses of audited rows."""
    return (random.random(rows) < share).astype(np.float64)


def first_alarm(losses: Array, bound: float) -> float:
    """Return after which row the audit gives an alarm, if it is looked at after every row.

    Nothing is escalated, so that every audited row stands for one row.
    """
    _, place = ChangeDetector(bound=bound).after(losses)
    found = NEVER if place is None else place + 1.0
    # The level can only rise above the bound where a row is lost.
    lost = np.flatnonzero(losses)
    over = log_capital(np.arange(1, len(lost) + 1), lost + 1, bound) >= _LEVEL
    return min(found, float(lost[over][0] + 1) if over.any() else NEVER)


def first_alarm_before(losses: Array, bound: float) -> float:
    """Return after which row a 95 % interval, made anew after each row, lies above the bound."""
    over = np.flatnonzero(np.cumsum(losses) >= _critical(len(losses), bound))
    return float(over[0] + 1) if over.size else NEVER


@cache
def _critical(rows: int, bound: float) -> Array:
    """Return by the number of rows which number of losses puts the interval above the bound."""
    from scipy.stats import binom

    return np.asarray(binom.ppf(0.975, np.arange(1, rows + 1), bound) + 1)


def delays(
    random: np.random.Generator, bound: float, history: History, streams: int, rows: int
) -> Iterator[tuple[float, float]]:
    """Yield the rows from a change to twice the bound to the alarm: now, and with an interval.

    Streams with an alarm before the change are drawn again; the interval's are left out.
    """
    for _ in range(streams):
        while True:
            before = draw(random, history.rows, history.times * bound)
            losses = np.concatenate((before, draw(random, rows, 2 * bound)))
            found = first_alarm(losses, bound) - history.rows
            if found > 0:
                break
        old = first_alarm_before(losses, bound) - history.rows
        yield found, old if old > 0 else math.nan


@dataclass(frozen=True)
class Calls:
    """Calls of a cascade that keeps a share of its rows, and audits some of these.

    Attributes
    ----------
    kept : float
        Share of the rows that is kept.
    rows : int
        Of a call.
    rate : float
        Share of the kept rows that is audited.
    """

    kept: float = 0.4
    rows: int = 1_000
    rate: float = 0.1

    def alarm(
        self, random: np.random.Generator, bound: float, parts: tuple[tuple[int, float], ...]
    ) -> float:
        """Return after which audited row there is an alarm.

        `parts` are numbers of audited rows, and how many times the bound the risk of all rows is.
        """
        watch, composition = Watch.of(bound), Composition()
        until = 0
        for audited, times in parts:
            until += audited
            while watch.kept.count < until:
                kept = int(random.binomial(self.rows, self.kept))
                seen = draw(random, random.binomial(kept, self.rate), times * bound / self.kept)
                composition = composition + Composition(rows=self.rows, kept=kept)
                zeros = self.rate * (self.rows - kept)
                watch = watch.seen(Evidence(kept=seen, zeros=zeros), composition, 0.0)
                if watch.alarm is not None:
                    return watch.alarm.row
        return NEVER
